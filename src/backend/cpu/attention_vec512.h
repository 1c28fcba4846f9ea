/*
 * backend/cpu/attention_vec512.h: the vector operations that attention is written in, for AVX-512 (F, BW, VL, DQ).
 *
 * attention_vec256.h offers the same names for AVX2. A file includes one of them.
 */
#ifndef FAM_BACKEND_CPU_ATTENTION_VEC_H
#define FAM_BACKEND_CPU_ATTENTION_VEC_H

#include <immintrin.h>

#include "backend/cpu/attention.h"

typedef __m512 vec;

enum { LANES = 16 };

static inline vec vec_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

static inline void vec_store(float *p, vec a)
{
    _mm512_storeu_ps(p, a);
}

static inline vec vec_set(float value)
{
    return _mm512_set1_ps(value);
}

/* The four bytes at p, at any address, in every lane. */
static inline vec vec_spread(const void *p)
{
    float word;
    memcpy(&word, p, sizeof word);
    return _mm512_set1_ps(word);
}

static inline vec vec_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}

static inline vec vec_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}

static inline vec vec_div(vec a, vec b)
{
    return _mm512_div_ps(a, b);
}

static inline vec vec_max(vec a, vec b)
{
    return _mm512_max_ps(a, b);
}

static inline vec vec_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}

/* a * b - c */
static inline vec vec_fms(vec a, vec b, vec c)
{
    return _mm512_fmsub_ps(a, b, c);
}

static inline bool vec_any_above(vec a, vec b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ) != 0;
}

/* s where lower <= key < upper, else -infinity. */
static inline vec vec_hide(vec s, const int32_t *lower, const int32_t *upper, int32_t key)
{
    __m512i k = _mm512_set1_epi32(key);
    __mmask16 seen = _mm512_cmple_epi32_mask(_mm512_loadu_si512(lower), k);
    seen = _mm512_mask_cmplt_epi32_mask(seen, k, _mm512_loadu_si512(upper));
    return _mm512_mask_mov_ps(_mm512_set1_ps(-__builtin_inff()), seen, s);
}

/* 2^x for x <= 0 or little more; relative error 3e-8 and the rounding. -infinity gives 0. */
static inline vec vec_exp2(vec x)
{
    vec whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    vec f = _mm512_sub_ps(_mm512_max_ps(_mm512_set1_ps(-200), x), _mm512_max_ps(_mm512_set1_ps(-200), whole));
    vec p = _mm512_set1_ps(0.000153534117f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.00133988774f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.0096184372f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.0555033246f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.240226479f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.693147203f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1));
    return _mm512_scalef_ps(p, whole);
}

/* The same with a relative error of 9e-5, for weights that are rounded to bfloat16 afterwards; 2^0 is exactly 1. */
static inline vec vec_exp2_rough(vec x)
{
    vec f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); /* x - floor(x) */
    vec p = _mm512_fmadd_ps(_mm512_set1_ps(0.0770674097f), f, _mm512_set1_ps(0.22764459f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.695116877f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1));
    return _mm512_scalef_ps(p, x); /* scales by 2^floor(x) */
}

static inline vec vec_widen(const uint16_t *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p)), 16));
}

/* Rounds to nearest, ties to even; a NaN stays a NaN. */
static inline void vec_narrow(uint16_t *p, vec a)
{
    __m512i bits = _mm512_castps_si512(a), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    __mmask16 nan = _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
    rounded = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x400000));
    _mm256_storeu_si256((void *)p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
}

/* Lane i of r[j] and lane j of r[i] change places. */
static inline void vec_transpose(vec r[LANES])
{
    vec t[LANES];
    for (int i = 0; i < LANES; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < LANES; i += 4)
        for (int j = 0; j < 2; j++) {
            __m512d a = _mm512_castps_pd(t[i + j]), b = _mm512_castps_pd(t[i + j + 2]);
            r[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            r[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    /* r[4i + c] now holds columns c, 4+c, 8+c, 12+c of rows 4i .. 4i+3, 128 bits each. */
    for (int c = 0; c < 4; c++) {
        vec low = _mm512_shuffle_f32x4(r[c], r[4 + c], 0x88), high = _mm512_shuffle_f32x4(r[8 + c], r[12 + c], 0x88);
        vec low_odd = _mm512_shuffle_f32x4(r[c], r[4 + c], 0xdd), high_odd = _mm512_shuffle_f32x4(r[8 + c], r[12 + c], 0xdd);
        t[c] = _mm512_shuffle_f32x4(low, high, 0x88);
        t[8 + c] = _mm512_shuffle_f32x4(low, high, 0xdd);
        t[4 + c] = _mm512_shuffle_f32x4(low_odd, high_odd, 0x88);
        t[12 + c] = _mm512_shuffle_f32x4(low_odd, high_odd, 0xdd);
    }
    for (int i = 0; i < LANES; i++)
        r[i] = t[i];
}

/* Lane i of the result is the sum of all lanes of r[i]. */
static inline vec vec_sums(const vec r[LANES])
{
    vec quad[4];
    for (int i = 0; i < 4; i++) {
        const vec *a = r + 4 * i;
        vec x = _mm512_add_ps(_mm512_unpacklo_ps(a[0], a[1]), _mm512_unpackhi_ps(a[0], a[1]));
        vec y = _mm512_add_ps(_mm512_unpacklo_ps(a[2], a[3]), _mm512_unpackhi_ps(a[2], a[3]));
        __m512d p = _mm512_castps_pd(x), q = _mm512_castps_pd(y);
        quad[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(p, q)), _mm512_castpd_ps(_mm512_unpackhi_pd(p, q)));
    }
    vec x = _mm512_add_ps(_mm512_shuffle_f32x4(quad[0], quad[1], 0x88), _mm512_shuffle_f32x4(quad[0], quad[1], 0xdd));
    vec y = _mm512_add_ps(_mm512_shuffle_f32x4(quad[2], quad[3], 0x88), _mm512_shuffle_f32x4(quad[2], quad[3], 0xdd));
    return _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x88), _mm512_shuffle_f32x4(x, y, 0xdd));
}

#endif
