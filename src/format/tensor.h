/*
 * format/tensor.h: named tensors as files hold them, and the exact meaning of their element types.
 *
 * Knows nothing of what a tensor is for. Dequantisation here is the plain reference: bit for bit what the `gguf` Python
 * package computes (float32 products in its order, no fused multiply-add).
 */
#ifndef FAM_FORMAT_TENSOR_H
#define FAM_FORMAT_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* X(enumerator, name, GGUF type id, elements a block, bytes a block). A row is a whole number of blocks. */
#define FAM_TYPE_LIST(X)                                                                                               \
    X(FAM_TYPE_F32, "F32", 0, 1, 4)                                                                                    \
    X(FAM_TYPE_F16, "F16", 1, 1, 2)                                                                                    \
    X(FAM_TYPE_BF16, "BF16", 30, 1, 2)                                                                                 \
    X(FAM_TYPE_Q4_0, "Q4_0", 2, 32, 18)                                                                                \
    X(FAM_TYPE_Q4_1, "Q4_1", 3, 32, 20)                                                                                \
    X(FAM_TYPE_Q8_0, "Q8_0", 8, 32, 34)

typedef enum fam_type {
#define FAM_TYPE_ENUM(name, text, gguf_id, elements, bytes) name,
    FAM_TYPE_LIST(FAM_TYPE_ENUM)
#undef FAM_TYPE_ENUM
        FAM_TYPE_COUNT
} fam_type;

/* All functions here are pure and thread-safe. `type` is below FAM_TYPE_COUNT, but for fam_type_name, which knows
 * "unknown". */
const char *fam_type_name(fam_type type);
int64_t fam_type_block_elements(fam_type type);
size_t fam_type_block_bytes(fam_type type);

/* The type that a GGUF file means by `gguf_id`; false, and *out untouched, if it is none of the list. */
bool fam_type_from_gguf(fam_type *out, uint32_t gguf_id);
uint32_t fam_type_gguf_id(fam_type type);
/* What ggml calls a type id, supported here or not ("IQ4_NL", "Q4_2 (removed from ggml)"); NULL if it has no name. */
const char *fam_gguf_id_name(uint32_t gguf_id);
/* The names of the list, for messages: "F32 F16 BF16 ...". */
const char *fam_type_names(void);

/* Bytes of `elements` consecutive elements (a multiple of the block); false, and *out untouched, on overflow, a broken
 * block or a negative number. */
bool fam_type_row_bytes(size_t *out, fam_type type, int64_t elements);

/* out [elements] float32 = the values of one run of blocks; elements is a multiple of the type's block. `data` may be
 * unaligned. A NaN stays a NaN, of any payload; everything else is exact to the bit, infinities too. */
void fam_type_dequantize(float *out, const void *data, fam_type type, int64_t elements);

enum { FAM_TENSOR_DIMS_MAX = 4 };

/* One tensor of an open file. Shapes are row-major, outermost first (a Linear's weight is [out, in]). The name and the
 * data belong to the file and live as long as it is open; data may be unaligned. */
typedef struct fam_tensor {
    const char *name;
    fam_type type;
    int n_dims;
    int64_t shape[FAM_TENSOR_DIMS_MAX];
    const uint8_t *data;
    size_t bytes;
} fam_tensor;

#endif
