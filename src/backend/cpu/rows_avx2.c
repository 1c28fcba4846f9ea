/*
 * backend/cpu/rows_avx2.c: the row kernels with AVX2 and FMA; the bodies are in rows_vector.h.
 */
#include <immintrin.h>
#include <string.h>

#include "backend/cpu/rows_select.h"

#define LANES 8
typedef __m256 vec;

#define load(p) _mm256_loadu_ps(p)
#define store(p, v) _mm256_storeu_ps(p, v)
#define set(x) _mm256_set1_ps(x)
#define add_v(a, b) _mm256_add_ps(a, b)
#define sub_v(a, b) _mm256_sub_ps(a, b)
#define mul_v(a, b) _mm256_mul_ps(a, b)
#define div_v(a, b) _mm256_div_ps(a, b)
#define fma_v(a, b, c) _mm256_fmadd_ps(a, b, c)
#define fnma_v(a, b, c) _mm256_fnmadd_ps(a, b, c)
#define min_v(a, b) _mm256_min_ps(a, b)
#define max_v(a, b) _mm256_max_ps(a, b)
#define round_v(a) _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)

/* In two factors, for each must be a normal number. */
static inline vec pow2_v(vec p, vec n)
{
    __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1), bias = _mm256_set1_epi32(127);
    __m256i other = _mm256_sub_epi32(whole, half);
    vec a = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
    vec b = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(other, bias), 23));
    return mul_v(mul_v(p, a), b);
}

static inline float sum_v(vec v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

static inline __m256i first(int64_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline vec load_part(const float *p, int64_t n)
{
    return _mm256_maskload_ps(p, first(n));
}

static inline void store_part(float *p, vec v, int64_t n)
{
    _mm256_maskstore_ps(p, first(n), v);
}

/* To nearest, ties to even, as fam_to_bf16 does. */
static inline __m128i rounded(vec v)
{
    __m256i bits = _mm256_castps_si256(v);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i up = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    up = _mm256_srli_epi32(_mm256_blendv_epi8(up, quiet, nan), 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(up), _mm256_extracti128_si256(up, 1));
}

static inline void narrow(uint16_t *p, vec v)
{
    _mm_storeu_si128((__m128i *)p, rounded(v));
}

static inline void narrow_part(uint16_t *p, vec v, int64_t n)
{
    __m128i all = rounded(v);
    memcpy(p, &all, (size_t)n * sizeof *p);
}

#include "backend/cpu/rows_vector.h"

void fam_cpu_rows_avx2(fam_cpu_kernels *out, fam_dtype dtype)
{
    FAM_ROW_KERNELS_SET(out, dtype)
}
