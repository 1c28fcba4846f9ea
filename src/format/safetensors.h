/*
 * format/safetensors.h: one safetensors file, mapped or in memory; and writing one.
 */
#ifndef FAM_FORMAT_SAFETENSORS_H
#define FAM_FORMAT_SAFETENSORS_H

#include "base/memory.h"
#include "format/tensor.h"

typedef struct fam_safetensors fam_safetensors;

fam_status fam_safetensors_open(fam_safetensors **out, fam_memory *memory, const char *path, fam_error *error);
fam_status fam_safetensors_parse(fam_safetensors **out, fam_memory *memory, const char *name, const uint8_t *data,
                                 size_t size, fam_error *error);
void fam_safetensors_free(fam_safetensors *file);

const fam_tensor *fam_safetensors_tensor(const fam_safetensors *file, const char *name); /* hashed; NULL if absent */
const fam_tensor *fam_safetensors_tensor_at(const fam_safetensors *file, int64_t index); /* NULL past the end */

/* Writes `count` tensors (data in memory, of type F32, F16 or BF16) atomically, in the given order, with
 * "__metadata__": {"format": "pt"}. */
fam_status fam_safetensors_write(const char *path, fam_memory *memory, const fam_tensor *tensors, int64_t count,
                                 fam_error *error);

#endif
