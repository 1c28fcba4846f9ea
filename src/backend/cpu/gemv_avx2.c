/*
 * backend/cpu/gemv_avx2.c: one-row products with AVX2, FMA and F16C; the bodies are in gemv_vector.h.
 */
#include <immintrin.h>
#include <string.h>

#include "backend/cpu/gemv_select.h"

#define LANES 8
typedef __m256 vec;

#define set(x) _mm256_set1_ps(x)
#define add_v(a, b) _mm256_add_ps(a, b)
#define mul_v(a, b) _mm256_mul_ps(a, b)
#define fma_v(a, b, c) _mm256_fmadd_ps(a, b, c)
#define load(p) _mm256_loadu_ps(p)

static inline float sum_v(vec v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

static inline void sum4_v(float *out, const vec v[4])
{
    vec pairs = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1)));
}

static inline vec load_F32(const uint8_t *p)
{
    return _mm256_loadu_ps((const float *)p);
}

static inline vec widen_bf16(__m128i v)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
}

static inline vec load_BF16(const uint8_t *p)
{
    return widen_bf16(_mm_loadu_si128((const __m128i *)p));
}

static inline vec load_F16(const uint8_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

static inline vec load_part_F32(const uint8_t *p, int64_t n)
{
    __m256i first = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    return _mm256_maskload_ps((const float *)p, first);
}

static inline __m128i part_of_halves(const uint8_t *p, int64_t n)
{
    __m128i v = _mm_setzero_si128();
    memcpy(&v, p, (size_t)n * 2);
    return v;
}

static inline vec load_part_BF16(const uint8_t *p, int64_t n)
{
    return widen_bf16(part_of_halves(p, n));
}

static inline vec load_part_F16(const uint8_t *p, int64_t n)
{
    return _mm256_cvtph_ps(part_of_halves(p, n));
}

static inline vec signed_bytes(const uint8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}

static inline void nibbles(vec v[4], const uint8_t *p)
{
    __m128i all = _mm_loadu_si128((const __m128i *)p), mask = _mm_set1_epi8(15);
    __m128i low = _mm_and_si128(all, mask), high = _mm_and_si128(_mm_srli_epi16(all, 4), mask);
    v[0] = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(low));
    v[1] = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(low, 8)));
    v[2] = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(high));
    v[3] = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(high, 8)));
}

#include "backend/cpu/gemv_vector.h"

void fam_cpu_gemv_avx2(fam_cpu_kernels *out)
{
    set_all(out);
}
