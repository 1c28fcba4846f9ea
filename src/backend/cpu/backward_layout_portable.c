/*
 * backend/cpu/backward_layout_portable.c: see fam_cpu_turn_strip in kernels.h; plain C.
 */
#include "backend/cpu/kernels.h"
#include "base/float16.h"

void fam_cpu_turn_strip_portable(void *turned, uint16_t *narrowed, const float *dout, int64_t stride, int64_t count,
                                 int64_t depth, int64_t columns)
{
    for (int64_t i = 0; i < depth; i++)
        for (int64_t c = 0; c < columns; c++) {
            float value = i < count ? dout[i * stride + c] : 0;
            if (!narrowed) {
                ((float *)turned)[c * depth + i] = value;
                continue;
            }
            ((uint16_t *)turned)[c * depth + i] = fam_to_bf16(value);
            if (i < count)
                narrowed[i * stride + c] = fam_to_bf16(value);
        }
}
