/*
 * format/safetensors.h: one safetensors file, mapped or in memory; and writing one.
 *
 * An open file does not change and may be read by several threads. Data pointers go into the mapped file (or the
 * caller's bytes) and may be unaligned.
 */
#ifndef FAM_FORMAT_SAFETENSORS_H
#define FAM_FORMAT_SAFETENSORS_H

#include "base/memory.h"
#include "format/tensor.h"

typedef struct fam_safetensors fam_safetensors;

enum {
    FAM_SAFETENSORS_HEADER_MAX = 100000000, /* bytes, as the format's own library has it */
    FAM_SAFETENSORS_NAME_MAX = 4096,        /* bytes of a tensor's name */
    FAM_SAFETENSORS_DIMS_MAX = 64
};

/* Opens and checks the whole header: FAM_STATUS_BAD_FORMAT with the tensor's name, FAM_STATUS_NOT_FOUND, FAM_STATUS_IO,
 * FAM_STATUS_OUT_OF_MEMORY. `memory` outlives the file. */
fam_status fam_safetensors_open(fam_safetensors **out, fam_memory *memory, const char *path, fam_error *error);
/* The same from bytes that outlive it; `name` stands for the path in messages. */
fam_status fam_safetensors_parse(fam_safetensors **out, fam_memory *memory, const char *name, const uint8_t *data,
                                 size_t size, fam_error *error);
void fam_safetensors_free(fam_safetensors *file); /* NULL is allowed */
const char *fam_safetensors_path(const fam_safetensors *file);

/* A line of the header. Files also hold types that no model here computes with (I64, F8_E4M3, ...) and shapes of more
 * than FAM_TENSOR_DIMS_MAX dimensions: of those only this is known, `tensor` is NULL. */
typedef struct fam_safetensors_entry {
    const char *name;
    const char *dtype; /* as the format spells it: "F32", "I64" */
    int n_dims;
    size_t bytes;
    const fam_tensor *tensor;
} fam_safetensors_entry;

/* By name (binary search), and by number: those with a tensor first, otherwise in the order of their data. False if
 * there is none. */
bool fam_safetensors_find(const fam_safetensors *file, const char *name, fam_safetensors_entry *out);
bool fam_safetensors_entry_at(const fam_safetensors *file, int64_t index, fam_safetensors_entry *out);

/* Only those with a tensor (F32, F16, BF16); NULL if there is none, NULL past the end. */
const fam_tensor *fam_safetensors_tensor(const fam_safetensors *file, const char *name);
const fam_tensor *fam_safetensors_tensor_at(const fam_safetensors *file, int64_t index);

/* Writes `count` tensors (data in memory, of type F32, F16 or BF16) atomically, in the given order, with
 * "__metadata__": {"format": "pt"}. Their data may lie in the mapped file that is replaced. A tensor of another type, a
 * wrong size or a name that is not unique: FAM_STATUS_INVALID_ARGUMENT. */
fam_status fam_safetensors_write(const char *path, fam_memory *memory, const fam_tensor *tensors, int64_t count,
                                 fam_error *error);

/* The same piece by piece, for tensors that are not in memory: begin writes the header (`data` of the tensors is not
 * looked at), append the data of all tensors in order, in pieces of any size; commit fails if they were not given whole.
 * The file appears at commit. */
typedef struct fam_safetensors_writer fam_safetensors_writer;
fam_status fam_safetensors_begin(fam_safetensors_writer **out, fam_memory *memory, const char *path,
                                 const fam_tensor *tensors, int64_t count, fam_error *error);
fam_status fam_safetensors_append(fam_safetensors_writer *writer, const void *data, size_t size, fam_error *error);
fam_status fam_safetensors_commit(fam_safetensors_writer *writer, fam_error *error); /* frees it, whatever happens */
void fam_safetensors_abort(fam_safetensors_writer *writer);                         /* NULL is allowed */

#endif
