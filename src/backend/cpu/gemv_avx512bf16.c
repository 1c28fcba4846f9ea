/*
 * backend/cpu/gemv_avx512bf16.c: one-row products of bfloat16 weights and activations, two terms an instruction
 * (vdpbf16ps). Products and sums are float32; denormals count as zero.
 */
#include <immintrin.h>
#include <string.h>

#include "backend/cpu/gemv_fetch.h"
#include "backend/cpu/gemv_select.h"

enum { STEP = 64 };

static size_t prepared_bytes(int64_t columns)
{
    return (size_t)(columns + STEP - 1) / STEP * STEP * 2;
}

/* As they are, zeros behind. */
static void prepare(void *prepared, const void *activations, int64_t columns)
{
    memcpy(prepared, activations, (size_t)columns * 2);
    memset((uint8_t *)prepared + columns * 2, 0, prepared_bytes(columns) - (size_t)columns * 2);
}

static inline __m512bh bf16(__m512i v)
{
    return (__m512bh)v;
}

static inline void sum4(float *out, const __m512 v[4])
{
    __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
    __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3]));
    __m512 abcd = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(abcd), _mm512_extractf32x8_ps(abcd, 1));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
}

/* One row of each stream. `at`: how far they have come, `length` of each, in bytes. */
static inline __attribute__((always_inline)) void some_rows(__m512 total[4], const uint8_t *w, const uint16_t *x,
                                                            int64_t columns, int streams, int64_t at, int64_t length)
{
    __m512 sum[4][2];
    int64_t i = 0;
    for (int s = 0; s < streams; s++)
        sum[s][0] = sum[s][1] = _mm512_setzero_ps();
    for (; i + STEP <= columns; i += STEP) {
        __m512bh a = bf16(_mm512_load_si512(x + i)), b = bf16(_mm512_load_si512(x + i + 32));
        int64_t distance = fetch_distance(at + 2 * i, length, streams);
        for (int s = 0; s < streams; s++) {
            const uint8_t *p = w + s * length + at + 2 * i;
            _mm_prefetch((const char *)p + distance, _MM_HINT_T1);
            _mm_prefetch((const char *)p + distance + 64, _MM_HINT_T1);
            sum[s][0] = _mm512_dpbf16_ps(sum[s][0], bf16(_mm512_loadu_si512(p)), a);
            sum[s][1] = _mm512_dpbf16_ps(sum[s][1], bf16(_mm512_loadu_si512(p + 64)), b);
        }
    }
    for (; i < columns; i += 32) {
        __mmask32 part = columns - i >= 32 ? ~0u : (1u << (columns - i)) - 1;
        __m512bh a = bf16(_mm512_load_si512(x + i));
        for (int s = 0; s < streams; s++)
            sum[s][0] =
                _mm512_dpbf16_ps(sum[s][0], bf16(_mm512_maskz_loadu_epi16(part, w + s * length + at + 2 * i)), a);
    }
    for (int s = 0; s < streams; s++)
        total[s] = _mm512_add_ps(sum[s][0], sum[s][1]);
}

static void gemv(float *out, const void *w, const void *x, int64_t rows, int64_t columns)
{
    int64_t row_bytes = 2 * columns, quarter = rows / 4;
    __m512 sum[4];
    for (int64_t r = 0; r < quarter; r++) {
        float four[4];
        some_rows(sum, w, x, columns, 4, r * row_bytes, quarter * row_bytes);
        sum4(four, sum);
        for (int s = 0; s < 4; s++)
            out[s * quarter + r] = four[s];
    }
    for (int64_t r = 4 * quarter; r < rows; r++) {
        some_rows(sum, w, x, columns, 1, r * row_bytes, rows * row_bytes);
        out[r] = _mm512_reduce_add_ps(sum[0]);
    }
}

void fam_cpu_gemv_avx512bf16(fam_cpu_kernels *out)
{
    out->gemv[FAM_TYPE_BF16] = (fam_cpu_gemv_kernel){gemv, prepare, prepared_bytes};
}
