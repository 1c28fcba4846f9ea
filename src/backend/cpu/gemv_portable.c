/*
 * backend/cpu/gemv_portable.c: one-row products in plain C, for all types: what the vector versions are tested against.
 * Weights become float32 exactly as fam_type_dequantize says; sums are double.
 */
#include <string.h>

#include "backend/cpu/gemv_select.h"
#include "base/float16.h"

enum { RUN = 256 /* elements dequantised at a time */ };

void fam_cpu_gemv_prepare_f32(void *prepared, const void *activations, int64_t columns)
{
    memcpy(prepared, activations, (size_t)columns * sizeof(float));
}

void fam_cpu_gemv_prepare_bf16(void *prepared, const void *activations, int64_t columns)
{
    const uint16_t *from = activations;
    float *to = prepared;
    for (int64_t i = 0; i < columns; i++)
        to[i] = fam_from_bf16(from[i]);
}

size_t fam_cpu_gemv_prepared_floats(int64_t columns)
{
    return ((size_t)columns * sizeof(float) + 63) / 64 * 64;
}

static void gemv(float *out, const uint8_t *w, const float *x, int64_t rows, int64_t columns, fam_type type)
{
    for (int64_t r = 0; r < rows; r++) {
        double sum = 0;
        for (int64_t at = 0; at < columns; at += RUN) {
            float values[RUN];
            int64_t count = columns - at < RUN ? columns - at : RUN;
            fam_type_dequantize(values, w, type, count);
            w += (size_t)(count / fam_type_block_elements(type)) * fam_type_block_bytes(type);
            for (int64_t i = 0; i < count; i++)
                sum += (double)values[i] * x[at + i];
        }
        out[r] = (float)sum;
    }
}

#define GEMV(name, text, gguf_id, elements, bytes)                                                                     \
    static void gemv_##name(float *out, const void *w, const void *x, int64_t rows, int64_t columns)                   \
    {                                                                                                                  \
        gemv(out, w, x, rows, columns, name);                                                                          \
    }
FAM_TYPE_LIST(GEMV)
#undef GEMV

void fam_cpu_gemv_portable(fam_cpu_kernels *out, fam_dtype dtype)
{
#define SET(name, text, gguf_id, elements, bytes) out->gemv[name].run = gemv_##name;
    FAM_TYPE_LIST(SET)
#undef SET
    for (int t = 0; t < FAM_TYPE_COUNT; t++) {
        out->gemv[t].prepare = dtype == FAM_DTYPE_F32 ? fam_cpu_gemv_prepare_f32 : fam_cpu_gemv_prepare_bf16;
        out->gemv[t].prepared_bytes = fam_cpu_gemv_prepared_floats;
    }
}
