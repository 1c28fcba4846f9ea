/*
 * backend/cpu/attention_vec256.h: the vector operations that attention is written in, for AVX2 with FMA.
 *
 * The same names as attention_vec512.h, where they are explained.
 */
#ifndef FAM_BACKEND_CPU_ATTENTION_VEC_H
#define FAM_BACKEND_CPU_ATTENTION_VEC_H

#include <immintrin.h>

#include "backend/cpu/attention.h"

typedef __m256 vec;

enum { LANES = 8 };

static inline vec vec_load(const float *p)
{
    return _mm256_loadu_ps(p);
}

static inline void vec_store(float *p, vec a)
{
    _mm256_storeu_ps(p, a);
}

static inline vec vec_set(float value)
{
    return _mm256_set1_ps(value);
}

static inline vec vec_spread(const void *p)
{
    float word;
    memcpy(&word, p, sizeof word);
    return _mm256_set1_ps(word);
}

static inline vec vec_add(vec a, vec b)
{
    return _mm256_add_ps(a, b);
}

static inline vec vec_mul(vec a, vec b)
{
    return _mm256_mul_ps(a, b);
}

static inline vec vec_div(vec a, vec b)
{
    return _mm256_div_ps(a, b);
}

static inline vec vec_max(vec a, vec b)
{
    return _mm256_max_ps(a, b);
}

static inline vec vec_fma(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}

static inline vec vec_fms(vec a, vec b, vec c)
{
    return _mm256_fmsub_ps(a, b, c);
}

static inline bool vec_any_above(vec a, vec b)
{
    return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)) != 0;
}

static inline vec vec_hide(vec s, const int32_t *lower, const int32_t *upper, int32_t key)
{
    __m256i k = _mm256_set1_epi32(key);
    __m256i before = _mm256_cmpgt_epi32(_mm256_loadu_si256((const void *)lower), k);
    __m256i within = _mm256_cmpgt_epi32(_mm256_loadu_si256((const void *)upper), k);
    return _mm256_blendv_ps(_mm256_set1_ps(-__builtin_inff()), s, _mm256_castsi256_ps(_mm256_andnot_si256(before, within)));
}

/* Below 2^-126 the result is 0. */
static inline vec vec_exp2(vec x)
{
    x = _mm256_max_ps(_mm256_set1_ps(-127), x); /* in this order a NaN stays a NaN */
    vec whole = _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), f = _mm256_sub_ps(x, whole);
    vec p = _mm256_set1_ps(0.000153534117f);
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0.00133988774f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0.0096184372f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0.0555033246f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0.240226479f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0.693147203f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1));
    __m256i power = _mm256_add_epi32(_mm256_cvtps_epi32(whole), _mm256_set1_epi32(127));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(power, 23)));
}

static inline vec vec_exp2_rough(vec x)
{
    x = _mm256_max_ps(_mm256_set1_ps(-127), x);
    vec whole = _mm256_floor_ps(x), f = _mm256_sub_ps(x, whole);
    vec p = _mm256_fmadd_ps(_mm256_set1_ps(0.0770674097f), f, _mm256_set1_ps(0.22764459f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0.695116877f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1));
    __m256i power = _mm256_add_epi32(_mm256_cvtps_epi32(whole), _mm256_set1_epi32(127));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(power, 23)));
}

static inline vec vec_widen(const uint16_t *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p)), 16));
}

static inline void vec_narrow(uint16_t *p, vec a)
{
    __m256i bits = _mm256_castps_si256(a), odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    __m256 nan = _mm256_cmp_ps(a, a, _CMP_UNORD_Q);
    __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    rounded = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(nan)), 16);
    __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(rounded, rounded), 0x08);
    _mm_storeu_si128((void *)p, _mm256_castsi256_si128(packed));
}

static inline void vec_transpose(vec r[LANES])
{
    vec t[LANES];
    for (int i = 0; i < LANES; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < LANES; i += 4)
        for (int j = 0; j < 2; j++) {
            __m256d a = _mm256_castps_pd(t[i + j]), b = _mm256_castps_pd(t[i + j + 2]);
            r[i + 2 * j] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, b));
            r[i + 2 * j + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, b));
        }
    for (int c = 0; c < 4; c++) {
        t[c] = _mm256_permute2f128_ps(r[c], r[4 + c], 0x20);
        t[4 + c] = _mm256_permute2f128_ps(r[c], r[4 + c], 0x31);
    }
    for (int i = 0; i < LANES; i++)
        r[i] = t[i];
}

static inline vec vec_sums(const vec r[LANES])
{
    vec quad[2];
    for (int i = 0; i < 2; i++) {
        const vec *a = r + 4 * i;
        vec x = _mm256_add_ps(_mm256_unpacklo_ps(a[0], a[1]), _mm256_unpackhi_ps(a[0], a[1]));
        vec y = _mm256_add_ps(_mm256_unpacklo_ps(a[2], a[3]), _mm256_unpackhi_ps(a[2], a[3]));
        __m256d p = _mm256_castps_pd(x), q = _mm256_castps_pd(y);
        quad[i] = _mm256_add_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(p, q)), _mm256_castpd_ps(_mm256_unpackhi_pd(p, q)));
    }
    return _mm256_add_ps(_mm256_permute2f128_ps(quad[0], quad[1], 0x20), _mm256_permute2f128_ps(quad[0], quad[1], 0x31));
}

#endif
