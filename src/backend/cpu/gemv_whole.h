/*
 * backend/cpu/gemv_whole.h: activations as whole numbers, for the quantised one-row products of AVX-512 VNNI.
 *
 * In each block of 32, x = s (R hi + lo), hi and lo int8, s float32, R = 128 or 256: 15 or 16 bits of the block's
 * largest, so bfloat16's own 8 are kept wherever it matters. Then sum w x = d s (R sum w hi + sum w lo), exact but for
 * the two scales.
 */
#ifndef FAM_BACKEND_CPU_GEMV_WHOLE_H
#define FAM_BACKEND_CPU_GEMV_WHOLE_H

#include <immintrin.h>

#include "backend/cpu/gemv_fetch.h"
#include "backend/cpu/gemv_select.h"

enum { BLOCK = 32, VECTOR = 64 };

typedef struct whole_block {
    __m512i a, b; /* elements 0-15 and 16-31: x / s, whole */
    float scale;  /* s; NaN if any of the 32 is not finite */
} whole_block;

static inline whole_block quantize(const uint16_t *x, float largest_whole)
{
    __m512 a = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)x)), 16));
    __m512 b =
        _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)(x + 16))), 16));
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

static inline void clear(uint8_t *to, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += VECTOR)
        _mm512_store_si512(to + i, _mm512_setzero_si512());
}

#endif
