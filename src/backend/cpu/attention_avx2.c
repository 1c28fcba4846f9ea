/*
 * backend/cpu/attention_avx2.c: attention in float32 on AVX2. Under bfloat16 a tile of keys and values
 * is widened to float32 once for all rows of a call; nothing is rounded but the result.
 */
#include "backend/cpu/attention_vec256.h"

#define PAIRS 0
enum {
    GRAIN = 1,       /* keys that a product takes together */
    SPREAD_KEYS = 6, /* times 2 vectors of rows: accumulators of scores in registers */
    SPREAD_DIMS = 6, /* the same of values */
    VALUE_VECS = 2   /* times 4 heads: accumulators of values in decoding */
};

#include "backend/cpu/attention_f32.h"

const fam_cpu_attention_kernel fam_cpu_attention_f32_avx2 = {run_f32, rows, scratch_bytes_f32, partial_f32};

const fam_cpu_attention_kernel fam_cpu_attention_bf16_avx2 = {run_bf16, rows, scratch_bytes_bf16, partial_bf16};
