/*
 * backend/cpu/attention_pairs.h: weights as pairs of bfloat16 for products that take two keys at once (AVX512-BF16, AMX).
 */
#ifndef FAM_BACKEND_CPU_ATTENTION_PAIRS_H
#define FAM_BACKEND_CPU_ATTENTION_PAIRS_H

/* Weights lie in [0, 1] (or are NaN): halves round up, nothing overflows. */
static inline vec pair_of(vec even, vec odd)
{
    __m512i half = _mm512_set1_epi32(0x8000);
    __m512i low = _mm512_srli_epi32(_mm512_add_epi32(_mm512_castps_si512(even), half), 16);
    __m512i high = _mm512_add_epi32(_mm512_castps_si512(odd), half);
    /* low | (high & 0xffff0000) */
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(low, high, _mm512_set1_epi32((int)0xffff0000), 0xf8));
}

static inline vec dot_pairs(vec a, vec b, vec sum)
{
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}

static inline vec add_pair(vec sum, vec pair)
{
    return dot_pairs(pair, _mm512_castsi512_ps(_mm512_set1_epi32(0x3f803f80)), sum); /* times 1, 1 */
}

/* 16 columns of two rows of bfloat16, interleaved: one word a column. A NULL row is zero. */
static inline __m512i interleave(const uint16_t *even, const uint16_t *odd, __mmask16 columns)
{
    __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(columns, even));
    __m512i high = _mm512_setzero_si512();
    if (odd)
        high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(columns, odd)), 16);
    return _mm512_or_si512(low, high);
}

#endif
