/*
 * backend/cpu/gemv_avx512vnni.c: one-row products of Q8_0 weights in whole numbers (vpdpbusd), for bfloat16
 * activations, which become two planes of int8 (gemv_whole.h), R = 128.
 *
 * Prepared layout, a group of two blocks after the other (block b in half b of each vector): hi[64], lo[64], start[16],
 * scale[16]: s. A missing second block is zero, and so is its scale.
 */
#include "backend/cpu/gemv_whole.h"

enum { Q8_BYTES = 34 };

enum { Q8_HI, Q8_LO, Q8_START, Q8_SCALE, Q8_VECTORS };

static inline void sum4(float *out, const __m512 v[4])
{
    __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
    __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3]));
    __m512 abcd = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(abcd), _mm512_extractf32x8_ps(abcd, 1));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
}

static size_t q8_prepared_bytes(int64_t columns)
{
    return (size_t)((columns / BLOCK + 1) / 2) * Q8_VECTORS * VECTOR;
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

static inline __attribute__((always_inline)) void some_rows(float *out, const uint8_t *w, const __m512i *x,
                                                            int64_t blocks, int rows)
{
    __m512 sum[4];
    int64_t row_bytes = blocks * Q8_BYTES, b = 0;
    for (int r = 0; r < rows; r++)
        sum[r] = _mm512_setzero_ps();
    for (; b + 2 <= blocks; b += 2, x += Q8_VECTORS) {
        fetch(w + rows * b * Q8_BYTES, rows * 2 * Q8_BYTES);
        for (int r = 0; r < rows; r++)
            sum[r] = q8_group(sum[r], w + r * row_bytes + b * Q8_BYTES, 2, x);
    }
    for (int r = 0; b < blocks && r < rows; r++)
        sum[r] = q8_group(sum[r], w + r * row_bytes + b * Q8_BYTES, 1, x);
    if (rows == 4)
        sum4(out, sum);
    else
        *out = _mm512_reduce_add_ps(sum[0]);
}

static void gemv(float *out, const void *w, const void *x, int64_t rows, int64_t columns)
{
    const uint8_t *row = w;
    int64_t blocks = columns / BLOCK, row_bytes = blocks * Q8_BYTES, r = 0;
    for (; r + 4 <= rows; r += 4)
        some_rows(out + r, row + r * row_bytes, x, blocks, 4);
    for (; r < rows; r++)
        some_rows(out + r, row + r * row_bytes, x, blocks, 1);
}

void fam_cpu_gemv_avx512vnni(fam_cpu_kernels *out)
{
    out->gemv[FAM_TYPE_Q8_0] = (fam_cpu_gemv_kernel){gemv, q8_prepare, q8_prepared_bytes};
    fam_cpu_gemv_q4_avx512vnni(out);
}
