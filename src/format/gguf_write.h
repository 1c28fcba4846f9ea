/*
 * format/gguf_write.h: writing a GGUF file, version 3: metadata first, then tensors piece by piece.
 *
 *     create ── put keys ── begin (header and tensor table go out) ── append data ── commit
 *
 * Knows the container only. A writer belongs to one thread. Keys must be new: that is for the caller to see to.
 */
#ifndef FAM_FORMAT_GGUF_WRITE_H
#define FAM_FORMAT_GGUF_WRITE_H

#include "format/checkpoint.h"
#include "format/gguf.h"

typedef struct fam_gguf_writer fam_gguf_writer;

fam_status fam_gguf_writer_create(fam_gguf_writer **out, fam_memory *memory, fam_error *error);

/* Metadata, before begin. A lack of memory is kept and told by begin. */
void fam_gguf_put_u32(fam_gguf_writer *writer, const char *key, uint32_t value);
void fam_gguf_put_f32(fam_gguf_writer *writer, const char *key, float value);
void fam_gguf_put_bool(fam_gguf_writer *writer, const char *key, bool value);
void fam_gguf_put_string(fam_gguf_writer *writer, const char *key, const char *text, size_t length);
/* A value of an open file as it is there. */
void fam_gguf_put_copy(fam_gguf_writer *writer, const fam_gguf_value *value);
/* An array of `count` elements, which follow: strings one by one, scalars as their bytes. */
void fam_gguf_put_array(fam_gguf_writer *writer, const char *key, fam_gguf_type element, uint64_t count);
void fam_gguf_put_element(fam_gguf_writer *writer, const char *text, size_t length);
void fam_gguf_put_elements(fam_gguf_writer *writer, const void *data, size_t size);

/* The keys fam.* of what is set (settings.c). */
void fam_gguf_put_settings(fam_gguf_writer *writer, const fam_settings *settings);

/* Begins the file (atomically: it appears at commit) with the tensors' table; their `data` is not looked at. Wrong
 * names, shapes or sizes: FAM_STATUS_INVALID_ARGUMENT. */
fam_status fam_gguf_writer_begin(fam_gguf_writer *writer, const char *path, const fam_tensor *tensors, int64_t count,
                                 fam_error *error);
/* The data of all tensors in order, in pieces that do not reach from one into the next; padding is put between. */
fam_status fam_gguf_writer_append(fam_gguf_writer *writer, const void *data, size_t size, fam_error *error);
/* Fails if data is missing. Frees the writer, whatever happens. */
fam_status fam_gguf_writer_commit(fam_gguf_writer *writer, fam_error *error);
void fam_gguf_writer_abort(fam_gguf_writer *writer); /* NULL is allowed */

#endif
