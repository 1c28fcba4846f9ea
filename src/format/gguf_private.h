/*
 * format/gguf_private.h: the inside of an open GGUF file, shared by the reader (gguf_read.c) and the queries (gguf.c).
 */
#ifndef FAM_FORMAT_GGUF_PRIVATE_H
#define FAM_FORMAT_GGUF_PRIVATE_H

#include "base/file.h"
#include "format/gguf.h"
#include "format/names.h"

struct fam_gguf {
    fam_memory *memory;
    char *path;
    fam_mapping mapping; /* empty when the bytes belong to the caller */
    uint32_t version;
    size_t alignment; /* of tensor data */
    fam_gguf_value *values;
    uint64_t value_count;
    fam_tensor *tensors;
    uint64_t tensor_count;
    fam_name_store names;
    fam_name_table value_names, tensor_names;
};

/* Fills a file that has its memory, path and names.memory. On failure it is half-filled and only fit to be freed. */
fam_status fam_gguf_read(fam_gguf *gguf, const uint8_t *data, size_t size, fam_gguf_warn warn, void *warn_context,
                         fam_error *error);

#endif
