/*
 * backend/cpu/rows_avx512.c: the row kernels with AVX-512 F, BW, VL, DQ; the bodies are in rows_vector.h.
 */
#include <immintrin.h>

#include "backend/cpu/rows_select.h"

#define LANES 16
typedef __m512 vec;

#define load(p) _mm512_loadu_ps(p)
#define store(p, v) _mm512_storeu_ps(p, v)
#define set(x) _mm512_set1_ps(x)
#define add_v(a, b) _mm512_add_ps(a, b)
#define sub_v(a, b) _mm512_sub_ps(a, b)
#define mul_v(a, b) _mm512_mul_ps(a, b)
#define div_v(a, b) _mm512_div_ps(a, b)
#define fma_v(a, b, c) _mm512_fmadd_ps(a, b, c)
#define fnma_v(a, b, c) _mm512_fnmadd_ps(a, b, c)
#define min_v(a, b) _mm512_min_ps(a, b)
#define max_v(a, b) _mm512_max_ps(a, b)
#define round_v(a) _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define pow2_v(p, n) _mm512_scalef_ps(p, n)
#define sum_v(v) _mm512_reduce_add_ps(v)

static inline __mmask16 first(int64_t n)
{
    return (__mmask16)((1u << n) - 1);
}

static inline vec load_part(const float *p, int64_t n)
{
    return _mm512_maskz_loadu_ps(first(n), p);
}

static inline void store_part(float *p, vec v, int64_t n)
{
    _mm512_mask_storeu_ps(p, first(n), v);
}

/* To nearest, ties to even, as fam_to_bf16 does (the processor's own conversion would lose denormals). */
static inline __m256i rounded(vec v)
{
    __m512i bits = _mm512_castps_si512(v);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    up = _mm512_mask_or_epi32(up, nan, bits, _mm512_set1_epi32(0x400000));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(up, 16));
}

static inline void narrow(uint16_t *p, vec v)
{
    _mm256_storeu_si256((__m256i *)p, rounded(v));
}

static inline void narrow_part(uint16_t *p, vec v, int64_t n)
{
    _mm256_mask_storeu_epi16(p, first(n), rounded(v));
}

#include "backend/cpu/rows_vector.h"

void fam_cpu_rows_avx512(fam_cpu_kernels *out, fam_dtype dtype)
{
    FAM_ROW_KERNELS_SET(out, dtype)
}
