/*
 * tests/support/tensors.h: random activations and weights of every type, and what they mean in double.
 */
#ifndef TESTS_SUPPORT_TENSORS_H
#define TESTS_SUPPORT_TENSORS_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "base/float16.h"
#include "base/random.h"

/* Around zero, with an outlier now and then: block scales must cope. */
static inline float tensor_value(fam_random *random)
{
    uint64_t bits = fam_random_next(random);
    int32_t sum = (int32_t)(bits & 0xffff) + (int32_t)(bits >> 16 & 0xffff) - 0xffff;
    return (float)sum * (bits >> 58 == 0 ? 20.0f : 1.0f) * 0x1p-16f;
}

static inline uint16_t tensor_half(fam_random *random)
{
    uint64_t bits = fam_random_next(random);
    return (uint16_t)((bits & 0x83ff) | (8 + (bits >> 16) % 8) << 10); /* 2^-7 to 2^0 */
}

/* Activations of `dtype`, and the same as float32. */
static inline void *tensor_activations(fam_random *random, fam_dtype dtype, int64_t count, float **as_float)
{
    uint8_t *out = malloc((size_t)count * 4 + 64);
    *as_float = malloc((size_t)count * 4 + 64);
    for (int64_t i = 0; i < count; i++) {
        float v = tensor_value(random);
        if (dtype == FAM_DTYPE_BF16) {
            ((uint16_t *)out)[i] = fam_to_bf16(v);
            v = fam_from_bf16(fam_to_bf16(v));
        } else {
            ((float *)out)[i] = v;
        }
        (*as_float)[i] = v;
    }
    return out;
}

/* Weights of a type, at an odd address and with nothing readable behind them (to the sanitizer). *whole is freed. */
static inline uint8_t *tensor_weights(fam_random *random, fam_type type, int64_t rows, int64_t columns, uint8_t **whole)
{
    int64_t block = fam_type_block_elements(type), blocks = rows * columns / block;
    size_t bytes = fam_type_block_bytes(type), at = 1;
    *whole = malloc((size_t)blocks * bytes + 1);
    for (int64_t b = 0; b < blocks; b++, at += bytes) {
        uint8_t *p = *whole + at;
        for (size_t i = 0; bytes > 4 && i < bytes; i += 2) {
            uint64_t word = fam_random_next(random);
            memcpy(p + i, &word, 2);
        }
        float v = tensor_value(random) * 0.25f;
        uint16_t bf16 = fam_to_bf16(v), half = tensor_half(random), other = (uint16_t)(half ^ 0x8155);
        switch (type) {
        case FAM_TYPE_F32:
            memcpy(p, &v, 4);
            break;
        case FAM_TYPE_BF16:
            memcpy(p, &bf16, 2);
            break;
        case FAM_TYPE_Q4_1:
            memcpy(p + 2, &other, 2);
            memcpy(p, &half, 2);
            break;
        default:
            memcpy(p, &half, 2);
            break;
        }
    }
    return *whole + 1;
}

#endif
