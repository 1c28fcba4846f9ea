/*
 * backend/cpu/gemv_q4_avx512vnni.c: one-row products of Q4_0 and Q4_1 weights in whole numbers (vpdpbusd), for bfloat16
 * activations, which become two planes of int8 (gemv_whole.h), R = 256.
 *
 * Four rows together, four blocks of each at a time (a group): nibbles times planes gives four lanes a block; the lanes
 * of the four rows are added crosswise, so that one vector holds the 16 sums, lane b's element r for block b of row r,
 * and scaling, converting and adding up is done once for all. Measured on an Intel Xeon at 2.6 GHz, rows of 576 and
 * 1536 in cache: Q4_0 23.7 and 26.0 GB/s a core, Q4_1 26.1 and 29.2; each row by itself 20.0 and 24.4, 20.6 and 23.9.
 *
 * Rows of 4k + 2 blocks (576 columns have 18) would end in half a group. Instead two rows, which follow each other in
 * memory, are read as one run: the last two blocks of the first and the first two of the second make a group (the
 * bridge), and the second row's other groups are shifted by two blocks.
 *
 * Prepared layout: sets of six vectors: hi of elements 0-15 [64], hi of 16-31, lo of 0-15, lo of 16-31 (block b in
 * 16-byte quarter b), sum [16], scale [16] (4 b + r). First the groups of a row, the last filled up with zeros; then,
 * for 4k + 2 blocks, k sets shifted by two blocks and the bridge. Sum: of the block's x: for Q4_0 -8 times it, whole;
 * for Q4_1 s times it, float32. In the shifted sets sum and scale serve all four rows: odd r shifted, even r not.
 */
#include "backend/cpu/gemv_whole.h"

enum { Q4_0_BYTES = 18, Q4_1_BYTES = 20 };

enum { HI_A, HI_B, LO_A, LO_B, SUM, SCALE, VECTORS, SET_BYTES = VECTORS * VECTOR };

/* ---- preparing --------------------------------------------------------------------------------------------------- */

static int64_t groups_of(int64_t blocks)
{
    return (blocks + 3) / 4;
}

/* Shifted sets and the bridge. */
static int64_t paired_sets(int64_t blocks)
{
    return blocks % 4 == 2 ? blocks / 4 + 1 : 0;
}

static size_t prepared_bytes(int64_t columns)
{
    int64_t blocks = columns / BLOCK;
    return (size_t)(groups_of(blocks) + paired_sets(blocks)) * SET_BYTES;
}

/* One block, ready to be put where it is wanted. */
typedef struct q4_block {
    __m128i planes[SUM];
    __m128i sum;  /* four times */
    __m128 scale; /* four times */
} q4_block;

static inline q4_block make_block(const uint16_t *x, bool with_minimum)
{
    whole_block w = quantize(x, 127 * 256);
    q4_block b;
    b.planes[HI_A] = high_plane(w.a, 8);
    b.planes[HI_B] = high_plane(w.b, 8);
    b.planes[LO_A] = low_plane(w.a, b.planes[HI_A], 8);
    b.planes[LO_B] = low_plane(w.b, b.planes[HI_B], 8);
    b.scale = _mm_set1_ps(w.scale);
    int sum = _mm512_reduce_add_epi32(_mm512_add_epi32(w.a, w.b));
    b.sum = with_minimum ? _mm_castps_si128(_mm_set1_ps((float)sum * w.scale)) : _mm_set1_epi32(-8 * sum);
    return b;
}

/* Into quarter `quarter` of set `set`; sum and scale only for the rows of `rows` (bit r for row r). */
static inline void put_block(uint8_t *prepared, int64_t set, int quarter, const q4_block *b, __mmask8 rows)
{
    uint8_t *to = prepared + set * SET_BYTES + quarter * 16;
    for (int v = 0; v < SUM; v++)
        _mm_store_si128((__m128i *)(to + v * VECTOR), b->planes[v]);
    _mm_mask_store_epi32(to + SUM * VECTOR, rows, b->sum);
    _mm_mask_store_ps(to + SCALE * VECTOR, rows, b->scale);
}

static inline void put_factors(uint8_t *prepared, int64_t set, int quarter, const q4_block *b, __mmask8 rows)
{
    uint8_t *to = prepared + set * SET_BYTES + quarter * 16;
    _mm_mask_store_epi32(to + SUM * VECTOR, rows, b->sum);
    _mm_mask_store_ps(to + SCALE * VECTOR, rows, b->scale);
}

static inline void prepare(uint8_t *prepared, const uint16_t *x, int64_t columns, bool with_minimum)
{
    enum { ALL = 15, EVEN = 5, ODD = 10 };
    int64_t blocks = columns / BLOCK, groups = groups_of(blocks), pairs = paired_sets(blocks), last = blocks / 4 * 4;
    if (blocks % 4)
        clear(prepared + (groups - 1) * SET_BYTES, SET_BYTES);
    for (int64_t i = 0; i < blocks; i++) {
        q4_block b = make_block(x + i * BLOCK, with_minimum);
        put_block(prepared, i / 4, i % 4, &b, ALL);
        if (!pairs)
            continue;
        if (i < 2)
            put_block(prepared, groups + pairs - 1, (int)i + 2, &b, ALL);
        else
            put_block(prepared, groups + (i - 2) / 4, (i - 2) % 4, &b, ODD);
        if (i < last)
            put_factors(prepared, groups + i / 4, i % 4, &b, EVEN);
        else
            put_block(prepared, groups + pairs - 1, (int)(i - last), &b, ALL);
    }
}

static void prepare_q4_0(void *prepared, const void *activations, int64_t columns)
{
    prepare(prepared, activations, columns, false);
}

static void prepare_q4_1(void *prepared, const void *activations, int64_t columns)
{
    prepare(prepared, activations, columns, true);
}

/* ---- products ---------------------------------------------------------------------------------------------------- */

static inline __m512i dots_of(__m512i packed, const __m512i x[VECTORS])
{
    __m512i mask = _mm512_set1_epi8(15);
    __m512i a = _mm512_and_si512(packed, mask), b = _mm512_and_si512(_mm512_srli_epi16(packed, 4), mask);
    __m512i dot = _mm512_dpbusd_epi32(_mm512_setzero_si512(), a, x[HI_A]);
    dot = _mm512_slli_epi32(_mm512_dpbusd_epi32(dot, b, x[HI_B]), 8);
    return _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(dot, a, x[LO_A]), b, x[LO_B]);
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

/* What differs between the two types; the rest is inlined for each. */
typedef struct layout {
    int bytes; /* of a block */
    bool minimum;
} layout;

static const layout q4_0 = {Q4_0_BYTES, false}, q4_1 = {Q4_1_BYTES, true};

/* The first 64 bytes of a group, zeros from its end on. */
static inline __m512i load_head(const uint8_t *p, int64_t blocks, layout l)
{
    if (blocks >= 4)
        return _mm512_loadu_si512(p);
    return _mm512_maskz_loadu_epi16((__mmask32)((1ull << (blocks * l.bytes / 2)) - 1), p);
}

/* The group's nibbles, block b's in quarter b. */
static inline __m512i unpacked(__m512i head, const uint8_t *p, int64_t blocks, layout l)
{
    __m512i packed = _mm512_permutexvar_epi16(l.minimum ? NIBBLE_WORDS(2, 10) : NIBBLE_WORDS(1, 9), head);
    if (blocks >= 4)
        packed = _mm512_inserti32x4(packed, _mm_loadu_si128((const __m128i *)(p + 4 * l.bytes - 16)), 3);
    return packed;
}

/* The four lanes of each block's products with the set `x`. */
static inline __m512i products(__m512i head, const uint8_t *p, int64_t blocks, layout l, const __m512i *x)
{
    return dots_of(unpacked(head, p, blocks, l), x);
}

/* Element 4 b + r: scale of block b of row r; in the upper half the minima. Where they are in a row's head: */
static inline __m512i factor_words(layout l)
{
    return l.minimum ? _mm512_set_epi16(31, 31, 31, 31, 21, 21, 21, 21, 11, 11, 11, 11, 1, 1, 1, 1, 30, 30, 30, 30, 20,
                                        20, 20, 20, 10, 10, 10, 10, 0, 0, 0, 0)
                     : _mm512_set_epi16(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 27, 27, 27, 27, 18, 18, 18, 18,
                                        9, 9, 9, 9, 0, 0, 0, 0);
}

static inline __m512 scaled(__m512 total, __m512i dots, __m512i factors, layout l, const __m512i *x)
{
    __m512 scale = _mm512_mul_ps(_mm512_cvtph_ps(_mm512_castsi512_si256(factors)), _mm512_castsi512_ps(x[SCALE]));
    if (l.minimum)
        total =
            _mm512_fmadd_ps(_mm512_cvtph_ps(_mm512_extracti64x4_epi64(factors, 1)), _mm512_castsi512_ps(x[SUM]), total);
    else
        dots = _mm512_add_epi32(dots, x[SUM]);
    return _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(dots), total);
}

/* One group of each of four rows. `even` and `odd`: the sets for rows 0 and 2, 1 and 3; sum and scale are odd's. */
static inline __attribute__((always_inline)) __m512 group_of_four(__m512 total, const uint8_t *const p[4],
                                                                  int64_t blocks, layout l, const __m512i *even,
                                                                  const __m512i *odd)
{
    __m512i words = factor_words(l), factors = _mm512_setzero_si512(), mask = _mm512_set1_epi8(15);
    __m512i head[4], low[4], high[4], dots[4];
    /* step by step for all four, not row by row: the processor looks no further ahead than a row or two */
    for (int r = 0; r < 4; r++)
        head[r] = load_head(p[r], blocks, l);
    for (int r = 0; r < 4; r++)
        high[r] = unpacked(head[r], p[r], blocks, l);
    for (int r = 0; r < 4; r++)
        low[r] = _mm512_and_si512(high[r], mask);
    for (int r = 0; r < 4; r++)
        dots[r] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), low[r], (r % 2 ? odd : even)[HI_A]);
    for (int r = 0; r < 4; r++)
        high[r] = _mm512_and_si512(_mm512_srli_epi16(high[r], 4), mask);
    for (int r = 0; r < 4; r++)
        dots[r] = _mm512_dpbusd_epi32(dots[r], high[r], (r % 2 ? odd : even)[HI_B]);
    for (int r = 0; r < 4; r++)
        factors = _mm512_mask_permutexvar_epi16(factors, 0x11111111u << r, words, head[r]);
    for (int r = 0; r < 4; r++)
        dots[r] = _mm512_slli_epi32(dots[r], 8);
    for (int r = 0; r < 4; r++)
        dots[r] = _mm512_dpbusd_epi32(dots[r], low[r], (r % 2 ? odd : even)[LO_A]);
    for (int r = 0; r < 4; r++)
        dots[r] = _mm512_dpbusd_epi32(dots[r], high[r], (r % 2 ? odd : even)[LO_B]);
    __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(dots[0], dots[1]), _mm512_unpackhi_epi32(dots[0], dots[1]));
    __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(dots[2], dots[3]), _mm512_unpackhi_epi32(dots[2], dots[3]));
    __m512i all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    return scaled(total, all, factors, l, odd);
}

static inline __m128 quarter(__m512 v, int i)
{
    return i == 0   ? _mm512_castps512_ps128(v)
           : i == 1 ? _mm512_extractf32x4_ps(v, 1)
           : i == 2 ? _mm512_extractf32x4_ps(v, 2)
                    : _mm512_extractf32x4_ps(v, 3);
}

/* Four rows anywhere. */
static inline __attribute__((always_inline)) __m128 four_rows(const uint8_t *const rows[4], const __m512i *x,
                                                              int64_t blocks, layout l)
{
    __m512 total = _mm512_setzero_ps();
    const uint8_t *p[4] = {rows[0], rows[1], rows[2], rows[3]};
    for (int64_t b = 0; b < blocks; b += 4, x += VECTORS) {
        if (b + 4 <= blocks)
            total = group_of_four(total, p, 4, l, x, x);
        else
            total = group_of_four(total, p, blocks - b, l, x, x);
        fetch(rows[0] + 4 * b * l.bytes, 16 * l.bytes);
        for (int r = 0; r < 4; r++)
            p[r] += 4 * l.bytes;
    }
    return _mm_add_ps(_mm_add_ps(quarter(total, 0), quarter(total, 1)),
                      _mm_add_ps(quarter(total, 2), quarter(total, 3)));
}

/* The bridges of two pairs of rows: element 4 b of the result for block b of the first, 4 b + 1 of the second. */
static inline __m512 bridges(const uint8_t *first, const uint8_t *second, layout l, const __m512i *x)
{
    __m512i words = factor_words(l), one = load_head(first, 4, l), two = load_head(second, 4, l);
    __m512i factors = _mm512_maskz_permutexvar_epi16(0x55555555u, words, one);
    factors = _mm512_mask_permutexvar_epi16(factors, 0xaaaaaaaau, words, two);
    __m512i a = products(one, first, 4, l, x), b = products(two, second, 4, l, x);
    __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    ab = _mm512_add_epi32(ab, _mm512_shuffle_epi32(ab, 0x4e));
    return scaled(_mm512_setzero_ps(), ab, factors, l, x);
}

/* Four rows of 4k + 2 blocks that follow each other. */
static inline __attribute__((always_inline)) __m128 two_pairs(const uint8_t *row, const __m512i *x, int64_t blocks,
                                                              layout l)
{
    int64_t row_bytes = blocks * l.bytes, groups = blocks / 4;
    const __m512i *shifted = x + (groups + 1) * VECTORS, *bridge = shifted + groups * VECTORS;
    const uint8_t *p[4] = {row, row + row_bytes + 2 * l.bytes, row + 2 * row_bytes, row + 3 * row_bytes + 2 * l.bytes};
    __m512 total = _mm512_setzero_ps();
    for (int64_t g = 0; g < groups; g++) {
        total = group_of_four(total, p, 4, l, x + g * VECTORS, shifted + g * VECTORS);
        fetch(row + 16 * g * l.bytes, 16 * l.bytes);
        for (int r = 0; r < 4; r++)
            p[r] += 4 * l.bytes;
    }
    fetch(row + 16 * groups * l.bytes, 8 * l.bytes);
    __m512 ends = bridges(p[0], p[2], l, bridge);
    __m128 sum =
        _mm_add_ps(_mm_add_ps(quarter(total, 0), quarter(total, 1)), _mm_add_ps(quarter(total, 2), quarter(total, 3)));
    __m128 of_even = _mm_add_ps(quarter(ends, 0), quarter(ends, 1)); /* elements 0 and 1: rows 0 and 2 */
    __m128 of_odd = _mm_add_ps(quarter(ends, 2), quarter(ends, 3));  /* rows 1 and 3 */
    return _mm_add_ps(sum, _mm_unpacklo_ps(of_even, of_odd));
}

static inline __attribute__((always_inline)) void gemv(float *out, const uint8_t *w, const __m512i *x, int64_t rows,
                                                       int64_t columns, layout l)
{
    int64_t blocks = columns / BLOCK, row_bytes = blocks * l.bytes, r = 0;
    if (blocks % 4 == 2)
        for (; r + 4 <= rows; r += 4)
            _mm_storeu_ps(out + r, two_pairs(w + r * row_bytes, x, blocks, l));
    for (; r < rows; r += 4) {
        int64_t count = rows - r < 4 ? rows - r : 4;
        const uint8_t *row = w + r * row_bytes, *four[4];
        for (int64_t i = 0; i < 4; i++)
            four[i] = row + (i < count ? i : 0) * row_bytes;
        _mm_mask_storeu_ps(out + r, (__mmask8)((1 << count) - 1), four_rows(four, x, blocks, l));
    }
}

static void gemv_q4_0(float *out, const void *w, const void *x, int64_t rows, int64_t columns)
{
    gemv(out, w, x, rows, columns, q4_0);
}

static void gemv_q4_1(float *out, const void *w, const void *x, int64_t rows, int64_t columns)
{
    gemv(out, w, x, rows, columns, q4_1);
}

void fam_cpu_gemv_q4_avx512vnni(fam_cpu_kernels *out)
{
    out->gemv[FAM_TYPE_Q4_0] = (fam_cpu_gemv_kernel){gemv_q4_0, prepare_q4_0, prepared_bytes};
    out->gemv[FAM_TYPE_Q4_1] = (fam_cpu_gemv_kernel){gemv_q4_1, prepare_q4_1, prepared_bytes};
}
