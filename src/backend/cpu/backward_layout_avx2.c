/*
 * backend/cpu/backward_layout_avx2.c: see fam_cpu_turn_strip in kernels.h; AVX2.
 */
#include "backend/cpu/attention_vec256.h"

#include "backend/cpu/backward_layout.h"

void fam_cpu_turn_strip_avx2(void *turned, uint16_t *narrowed, const float *dout, int64_t stride, int64_t count,
                             int64_t depth, int64_t columns)
{
    turn_strip(turned, narrowed, dout, stride, count, depth, columns);
}
