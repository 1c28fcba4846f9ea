/*
 * backend/cpu/gemv_avx512.c: one-row products with AVX-512 F, BW, VL, DQ; the bodies are in gemv_vector.h.
 */
#include <immintrin.h>

#include "backend/cpu/gemv_select.h"

#define LANES 16
typedef __m512 vec;

#define set(x) _mm512_set1_ps(x)
#define add_v(a, b) _mm512_add_ps(a, b)
#define mul_v(a, b) _mm512_mul_ps(a, b)
#define fma_v(a, b, c) _mm512_fmadd_ps(a, b, c)
#define load(p) _mm512_loadu_ps(p)
#define sum_v(v) _mm512_reduce_add_ps(v)

static inline void sum4_v(float *out, const vec v[4])
{
    vec ab = _mm512_add_ps(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
    vec cd = _mm512_add_ps(_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3]));
    vec abcd = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(abcd), _mm512_extractf32x8_ps(abcd, 1));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
}

static inline __mmask16 first(int64_t n)
{
    return (__mmask16)((1u << n) - 1);
}

static inline vec load_F32(const uint8_t *p)
{
    return _mm512_loadu_ps(p);
}

static inline vec widen_bf16(__m256i v)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16));
}

static inline vec load_BF16(const uint8_t *p)
{
    return widen_bf16(_mm256_loadu_si256((const __m256i *)p));
}

static inline vec load_F16(const uint8_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

static inline vec load_part_F32(const uint8_t *p, int64_t n)
{
    return _mm512_maskz_loadu_ps(first(n), p);
}

static inline vec load_part_BF16(const uint8_t *p, int64_t n)
{
    return widen_bf16(_mm256_maskz_loadu_epi16(first(n), p));
}

static inline vec load_part_F16(const uint8_t *p, int64_t n)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first(n), p));
}

static inline vec signed_bytes(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}

static inline void nibbles(vec v[2], const uint8_t *p)
{
    __m128i all = _mm_loadu_si128((const __m128i *)p), mask = _mm_set1_epi8(15);
    v[0] = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_and_si128(all, mask)));
    v[1] = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_and_si128(_mm_srli_epi16(all, 4), mask)));
}

#include "backend/cpu/gemv_vector.h"

void fam_cpu_gemv_avx512(fam_cpu_kernels *out)
{
    set_all(out);
}
