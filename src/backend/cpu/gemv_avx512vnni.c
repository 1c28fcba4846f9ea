/*
 * backend/cpu/gemv_avx512vnni.c: one-row products of quantised weights in whole numbers (vpdpbusd), for bfloat16
 * activations.
 *
 * The activations become whole numbers once per product: in each block of 32, x = s (R hi + lo), hi and lo int8, s
 * float32, R = 128 or 256: 15 or 16 bits of the block's largest, so bfloat16's own 8 are kept wherever it matters. Then
 * sum w x = d s (R sum w hi + sum w lo), exact but for the two scales.
 *
 * Prepared layout, a group after the other, each a row of 64-byte vectors:
 *   Q8_0, 2 blocks a group: hi[64] lo[64] start[16] scale[16]        block b in 32-byte half b
 *   Q4,   4 blocks a group: hi of elements 0-15 [64], hi of 16-31 [64], lo of 0-15, lo of 16-31, sum[16], scale[16]
 *                                                                    block b in 16-byte quarter b
 * scale: s of the lane's block. Missing blocks of the last group are zero, and so are their scales.
 */
#include <immintrin.h>

#include "backend/cpu/gemv_select.h"

enum { BLOCK = 32, AHEAD = 4096, Q8_BYTES = 34, Q4_0_BYTES = 18, Q4_1_BYTES = 20, VECTOR = 64 };

enum { Q8_HI, Q8_LO, Q8_START, Q8_SCALE, Q8_VECTORS };
enum { Q4_HI_A, Q4_HI_B, Q4_LO_A, Q4_LO_B, Q4_SUM, Q4_SCALE, Q4_VECTORS };

static inline void fetch(const uint8_t *p)
{
    _mm_prefetch((const char *)p + AHEAD, _MM_HINT_T0);
}

static inline void sum4(float *out, const __m512 v[4])
{
    __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
    __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3]));
    __m512 abcd = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(abcd), _mm512_extractf32x8_ps(abcd, 1));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
}

/* ---- preparing ---------------------------------------------------------------------------------------------------- */

typedef struct whole_block {
    __m512i a, b; /* elements 0-15 and 16-31: x / s, whole */
    float scale;  /* s; NaN if any of the 32 is not finite */
} whole_block;

static inline whole_block quantize(const uint16_t *x, float largest_whole)
{
    __m512 a = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)x)), 16));
    __m512 b = _mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)(x + 16))), 16));
    __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    /* as bits, so that a NaN counts as larger than all */
    unsigned bits = _mm512_reduce_max_epu32(_mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(a), magnitude),
                                                             _mm512_and_si512(_mm512_castps_si512(b), magnitude)));
    float largest = _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128((int)bits)));
    whole_block w = {_mm512_setzero_si512(), _mm512_setzero_si512(), 0};
    if (bits >= 0x7f800000u) {
        w.scale = __builtin_nanf("");
    } else if (largest > 1e-30f) {
        __m512 inverse = _mm512_set1_ps(largest_whole / largest);
        w.scale = largest / largest_whole;
        w.a = _mm512_cvtps_epi32(_mm512_mul_ps(a, inverse));
        w.b = _mm512_cvtps_epi32(_mm512_mul_ps(b, inverse));
    }
    return w;
}

static inline __m128i high_plane(__m512i whole, int bits)
{
    return _mm512_cvtepi32_epi8(_mm512_srai_epi32(_mm512_add_epi32(whole, _mm512_set1_epi32(1 << (bits - 1))), bits));
}

static inline __m128i low_plane(__m512i whole, __m128i high, int bits)
{
    return _mm512_cvtepi32_epi8(_mm512_sub_epi32(whole, _mm512_slli_epi32(_mm512_cvtepi8_epi32(high), bits)));
}

/* Sums of each four neighbours: what one lane of vpdpbusd adds up. */
static inline __m128i sums_of_four(__m512i v)
{
    __m512i pairs = _mm512_add_epi32(v, _mm512_shuffle_epi32(v, 0xb1));
    __m512i fours = _mm512_add_epi32(pairs, _mm512_shuffle_epi32(pairs, 0x4e));
    return _mm512_castsi512_si128(
        _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), fours));
}

static size_t groups_bytes(int64_t columns, int64_t group, int vectors)
{
    return (size_t)((columns / BLOCK + group - 1) / group) * (size_t)vectors * VECTOR;
}

static size_t q8_prepared_bytes(int64_t columns)
{
    return groups_bytes(columns, 2, Q8_VECTORS);
}

static void clear(uint8_t *to, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += VECTOR)
        _mm512_store_si512(to + i, _mm512_setzero_si512());
}

/* start: what the sum of w + 128 over a lane's four is too high by, before hi's sum is shifted by 7. */
static void q8_prepare(void *prepared, const void *activations, int64_t columns)
{
    const uint16_t *x = activations;
    size_t group_bytes = Q8_VECTORS * VECTOR, bytes = q8_prepared_bytes(columns);
    if (columns / BLOCK % 2)
        clear((uint8_t *)prepared + bytes - group_bytes, group_bytes);
    for (int64_t b = 0; b < columns / BLOCK; b++) {
        uint8_t *to = (uint8_t *)prepared + (size_t)(b / 2) * group_bytes + b % 2 * 32;
        whole_block w = quantize(x + b * BLOCK, 127 * 128);
        __m128i high_a = high_plane(w.a, 7), high_b = high_plane(w.b, 7), zero = _mm_setzero_si128();
        __m128i *hi = (__m128i *)(to + Q8_HI * VECTOR), *lo = (__m128i *)(to + Q8_LO * VECTOR);
        __m128i *start = (__m128i *)(to + Q8_START * VECTOR);
        _mm_store_si128(hi, high_a);
        _mm_store_si128(hi + 1, high_b);
        _mm_store_si128(lo, low_plane(w.a, high_a, 7));
        _mm_store_si128(lo + 1, low_plane(w.b, high_b, 7));
        _mm_store_si128(start, _mm_sub_epi32(zero, sums_of_four(w.a)));
        _mm_store_si128(start + 1, _mm_sub_epi32(zero, sums_of_four(w.b)));
        _mm256_store_ps((float *)(to + Q8_SCALE * VECTOR), _mm256_set1_ps(w.scale));
    }
}

static size_t q4_prepared_bytes(int64_t columns)
{
    return groups_bytes(columns, 4, Q4_VECTORS);
}

/* sum: of each lane's eight x; for Q4_0 -8 times it, whole; for Q4_1 s times it, float32. */
static inline void q4_prepare(uint8_t *prepared, const uint16_t *x, int64_t columns, bool with_minimum)
{
    size_t group_bytes = Q4_VECTORS * VECTOR, bytes = q4_prepared_bytes(columns);
    if (columns / BLOCK % 4)
        clear(prepared + bytes - group_bytes, group_bytes);
    for (int64_t b = 0; b < columns / BLOCK; b++) {
        uint8_t *to = prepared + (size_t)(b / 4) * group_bytes + b % 4 * 16;
        whole_block w = quantize(x + b * BLOCK, 127 * 256);
        __m128i high_a = high_plane(w.a, 8), high_b = high_plane(w.b, 8);
        __m128i sum = _mm_add_epi32(sums_of_four(w.a), sums_of_four(w.b));
        __m128 scale = _mm_set1_ps(w.scale);
        _mm_store_si128((__m128i *)(to + Q4_HI_A * VECTOR), high_a);
        _mm_store_si128((__m128i *)(to + Q4_HI_B * VECTOR), high_b);
        _mm_store_si128((__m128i *)(to + Q4_LO_A * VECTOR), low_plane(w.a, high_a, 8));
        _mm_store_si128((__m128i *)(to + Q4_LO_B * VECTOR), low_plane(w.b, high_b, 8));
        if (with_minimum)
            sum = _mm_castps_si128(_mm_mul_ps(_mm_cvtepi32_ps(sum), scale));
        else
            sum = _mm_sub_epi32(_mm_setzero_si128(), _mm_slli_epi32(sum, 3));
        _mm_store_si128((__m128i *)(to + Q4_SUM * VECTOR), sum);
        _mm_store_ps((float *)(to + Q4_SCALE * VECTOR), scale);
    }
}

static void q4_0_prepare(void *prepared, const void *activations, int64_t columns)
{
    q4_prepare(prepared, activations, columns, false);
}

static void q4_1_prepare(void *prepared, const void *activations, int64_t columns)
{
    q4_prepare(prepared, activations, columns, true);
}

/* ---- products ----------------------------------------------------------------------------------------------------- */

/* Adds one group's products to a row's sum. `p`: the group's blocks; `left`: how many there are. */
static inline __m512 q8_group(__m512 sum, const uint8_t *p, int64_t left, const __m512i x[Q8_VECTORS])
{
    /* words 0 and 17 of the group are the blocks' scales */
    const __m512i pick = _mm512_set_epi16(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 17, 17, 17, 17, 17, 17, 17,
                                          17, 0, 0, 0, 0, 0, 0, 0, 0);
    __m512i w, head;
    if (left >= 2) {
        w = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(p + 2))),
                               _mm256_loadu_si256((const __m256i *)(p + Q8_BYTES + 2)), 1);
        head = _mm512_loadu_si512(p);
    } else {
        w = _mm512_zextsi256_si512(_mm256_loadu_si256((const __m256i *)(p + 2)));
        head = _mm512_maskz_loadu_epi16(1, p);
    }
    w = _mm512_xor_si512(w, _mm512_set1_epi8((char)0x80)); /* + 128 */
    __m512i dot = _mm512_dpbusd_epi32(x[Q8_START], w, x[Q8_HI]);
    dot = _mm512_dpbusd_epi32(_mm512_slli_epi32(dot, 7), w, x[Q8_LO]);
    __m512 scale = _mm512_cvtph_ps(_mm512_castsi512_si256(_mm512_permutexvar_epi16(pick, head)));
    return _mm512_fmadd_ps(_mm512_mul_ps(scale, _mm512_castsi512_ps(x[Q8_SCALE])), _mm512_cvtepi32_ps(dot), sum);
}

static inline __m512i q4_dot(__m512i packed, const __m512i x[Q4_VECTORS])
{
    __m512i mask = _mm512_set1_epi8(15);
    __m512i a = _mm512_and_si512(packed, mask), b = _mm512_and_si512(_mm512_srli_epi16(packed, 4), mask);
    __m512i dot = _mm512_dpbusd_epi32(_mm512_setzero_si512(), a, x[Q4_HI_A]);
    dot = _mm512_slli_epi32(_mm512_dpbusd_epi32(dot, b, x[Q4_HI_B]), 8);
    return _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(dot, a, x[Q4_LO_A]), b, x[Q4_LO_B]);
}

/* The words of four blocks' nibbles, as a permutation of the first 64 bytes of the group; the fourth block's lie (in
 * part) behind them and come by a load of their own. */
#define NIBBLE_WORDS(first, step)                                                                                      \
    _mm512_set_epi16(0, 0, 0, 0, 0, 0, 0, 0, (first) + 2 * (step) + 7, (first) + 2 * (step) + 6,                       \
                     (first) + 2 * (step) + 5, (first) + 2 * (step) + 4, (first) + 2 * (step) + 3,                     \
                     (first) + 2 * (step) + 2, (first) + 2 * (step) + 1, (first) + 2 * (step), (first) + (step) + 7,   \
                     (first) + (step) + 6, (first) + (step) + 5, (first) + (step) + 4, (first) + (step) + 3,           \
                     (first) + (step) + 2, (first) + (step) + 1, (first) + (step), (first) + 7, (first) + 6,           \
                     (first) + 5, (first) + 4, (first) + 3, (first) + 2, (first) + 1, (first))

static inline __m512i q4_group_head(const uint8_t *p, int64_t left, int words)
{
    return left >= 4 ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi16((__mmask32)((1ull << (left * words)) - 1), p);
}

static inline __m512 q4_0_group(__m512 sum, const uint8_t *p, int64_t left, const __m512i x[Q4_VECTORS])
{
    const __m512i pick = _mm512_set_epi16(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 27, 27, 27, 27, 18, 18, 18,
                                          18, 9, 9, 9, 9, 0, 0, 0, 0);
    __m512i head = q4_group_head(p, left, 9), packed = _mm512_permutexvar_epi16(NIBBLE_WORDS(1, 9), head);
    if (left >= 4)
        packed = _mm512_inserti32x4(packed, _mm_loadu_si128((const __m128i *)(p + 3 * Q4_0_BYTES + 2)), 3);
    __m512 scale = _mm512_cvtph_ps(_mm512_castsi512_si256(_mm512_permutexvar_epi16(pick, head)));
    __m512i dot = _mm512_add_epi32(q4_dot(packed, x), x[Q4_SUM]);
    return _mm512_fmadd_ps(_mm512_mul_ps(scale, _mm512_castsi512_ps(x[Q4_SCALE])), _mm512_cvtepi32_ps(dot), sum);
}

static inline __m512 q4_1_group(__m512 sum, const uint8_t *p, int64_t left, const __m512i x[Q4_VECTORS])
{
    /* scales in the low half, minima in the high half */
    const __m512i pick = _mm512_set_epi16(31, 31, 31, 31, 21, 21, 21, 21, 11, 11, 11, 11, 1, 1, 1, 1, 30, 30, 30, 30,
                                          20, 20, 20, 20, 10, 10, 10, 10, 0, 0, 0, 0);
    __m512i head = q4_group_head(p, left, 10), packed = _mm512_permutexvar_epi16(NIBBLE_WORDS(2, 10), head);
    if (left >= 4)
        packed = _mm512_inserti32x4(packed, _mm_loadu_si128((const __m128i *)(p + 3 * Q4_1_BYTES + 4)), 3);
    __m512i pairs = _mm512_permutexvar_epi16(pick, head);
    __m512 scale = _mm512_cvtph_ps(_mm512_castsi512_si256(pairs));
    __m512 minimum = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(pairs, 1));
    sum = _mm512_fmadd_ps(minimum, _mm512_castsi512_ps(x[Q4_SUM]), sum);
    return _mm512_fmadd_ps(_mm512_mul_ps(scale, _mm512_castsi512_ps(x[Q4_SCALE])),
                           _mm512_cvtepi32_ps(q4_dot(packed, x)), sum);
}

/* Rows of one type: a function for a few rows, which share the loads of x, and the gemv. */
#define BLOCK_TYPE(name, group_function, group_blocks, block_bytes, vectors)                                           \
    static inline __attribute__((always_inline)) void rows_##name(float *out, const uint8_t *w, const __m512i *x,      \
                                                                  int64_t blocks, int rows)                            \
    {                                                                                                                  \
        __m512 sum[4];                                                                                                 \
        int64_t row_bytes = blocks * (block_bytes), b = 0;                                                             \
        for (int r = 0; r < rows; r++)                                                                                 \
            sum[r] = _mm512_setzero_ps();                                                                              \
        for (; b + (group_blocks) <= blocks; b += (group_blocks), x += (vectors)) {                                    \
            for (int r = 0; r < rows; r++) {                                                                           \
                const uint8_t *p = w + r * row_bytes + b * (block_bytes);                                              \
                fetch(p);                                                                                              \
                sum[r] = group_function(sum[r], p, group_blocks, x);                                                   \
            }                                                                                                          \
        }                                                                                                              \
        for (int r = 0; b < blocks && r < rows; r++)                                                                   \
            sum[r] = group_function(sum[r], w + r * row_bytes + b * (block_bytes), blocks - b, x);                     \
        if (rows == 4)                                                                                                 \
            sum4(out, sum);                                                                                            \
        else                                                                                                           \
            *out = _mm512_reduce_add_ps(sum[0]);                                                                       \
    }                                                                                                                  \
    static void gemv_##name(float *out, const void *w, const void *x, int64_t rows, int64_t columns)                   \
    {                                                                                                                  \
        const uint8_t *row = w;                                                                                        \
        int64_t blocks = columns / BLOCK, row_bytes = blocks * (block_bytes), r = 0;                                   \
        for (; r + 4 <= rows; r += 4)                                                                                  \
            rows_##name(out + r, row + r * row_bytes, x, blocks, 4);                                                   \
        for (; r < rows; r++)                                                                                          \
            rows_##name(out + r, row + r * row_bytes, x, blocks, 1);                                                   \
    }

BLOCK_TYPE(q8_0, q8_group, 2, Q8_BYTES, Q8_VECTORS)
BLOCK_TYPE(q4_0, q4_0_group, 4, Q4_0_BYTES, Q4_VECTORS)
BLOCK_TYPE(q4_1, q4_1_group, 4, Q4_1_BYTES, Q4_VECTORS)

void fam_cpu_gemv_avx512vnni(fam_cpu_kernels *out)
{
    out->gemv[FAM_TYPE_Q8_0] = (fam_cpu_gemv_kernel){gemv_q8_0, q8_prepare, q8_prepared_bytes};
    out->gemv[FAM_TYPE_Q4_0] = (fam_cpu_gemv_kernel){gemv_q4_0, q4_0_prepare, q4_prepared_bytes};
    out->gemv[FAM_TYPE_Q4_1] = (fam_cpu_gemv_kernel){gemv_q4_1, q4_1_prepare, q4_prepared_bytes};
}
