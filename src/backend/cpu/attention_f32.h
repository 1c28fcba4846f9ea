/*
 * backend/cpu/attention_f32.h: attention with float32 products, once for every width of vectors: included by a version's file
 * after its vectors (attention_vec*.h), PAIRS and the sizes of its register blocks.
 */
#ifndef FAM_BACKEND_CPU_ATTENTION_F32_H
#define FAM_BACKEND_CPU_ATTENTION_F32_H

#include "backend/cpu/attention_rows.h"

static inline vec vec_mac(vec a, vec b, vec sum)
{
    return vec_fma(a, b, sum);
}

#include "backend/cpu/attention_decode.h"
#include "backend/cpu/attention_mac.h"

static inline vec load_words(const uint8_t *row, int64_t word, fam_dtype dtype)
{
    if (dtype == FAM_DTYPE_F32)
        return vec_load((const float *)(const void *)row + word);
    return vec_widen((const uint16_t *)(const void *)row + word);
}

static int64_t rows(const fam_attention_shape *shape)
{
    return call_rows(shape->head_dim);
}

static size_t scratch_bytes(const fam_attention_shape *shape, fam_dtype dtype)
{
    decode_call call;
    size_t many = rows_scratch_bytes(shape, dtype), one = carve_decode(&call, shape, dtype, NULL);
    return many > one ? many : one;
}

static void run_f32(const fam_attention_job *job, const fam_attention_shape *shape, int64_t kv_head, int64_t row_begin,
                    int64_t row_end, void *scratch)
{
    attend_rows(job, shape, kv_head, row_begin, row_end, scratch, FAM_DTYPE_F32);
}

static void partial_f32(float *out, const fam_attention_job *job, const fam_attention_shape *shape, int64_t kv_head,
                        int64_t query, int64_t key_begin, int64_t key_end, void *scratch)
{
    attend_one(out, job, shape, kv_head, query, key_begin, key_end, scratch, FAM_DTYPE_F32);
}

static size_t scratch_bytes_f32(const fam_attention_shape *shape)
{
    return scratch_bytes(shape, FAM_DTYPE_F32);
}

static void run_bf16(const fam_attention_job *job, const fam_attention_shape *shape, int64_t kv_head, int64_t row_begin,
                     int64_t row_end, void *scratch)
{
    attend_rows(job, shape, kv_head, row_begin, row_end, scratch, FAM_DTYPE_BF16);
}

static void partial_bf16(float *out, const fam_attention_job *job, const fam_attention_shape *shape, int64_t kv_head,
                         int64_t query, int64_t key_begin, int64_t key_end, void *scratch)
{
    attend_one(out, job, shape, kv_head, query, key_begin, key_end, scratch, FAM_DTYPE_BF16);
}

static size_t scratch_bytes_bf16(const fam_attention_shape *shape)
{
    return scratch_bytes(shape, FAM_DTYPE_BF16);
}

#endif
