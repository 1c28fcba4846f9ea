/*
 * format/session_file.h: the container of a saved session. Versioned, checksummed, replaced atomically. Knows the
 * sections' names and sizes, not their meaning.
 *
 * All numbers little-endian.
 *   0   8  magic "FAMSESS1"
 *   8   4  version (FAM_SESSION_VERSION)          12  4  header bytes, from offset 0 to the body
 *   16     the fields of fam_session_header, in order, packed
 *          section table: FAM_SECTION_COUNT x u64 length, in the order of fam_section
 *          XXH3-64 of everything before
 *   body   the sections, one after the other, no padding
 *   then   XXH3-64 of each MiB of header and body (the last one may be shorter)
 *   then   XXH3-128 (low, high) of everything before, and the end magic "FAMSEND1"
 */
#ifndef FAM_FORMAT_SESSION_FILE_H
#define FAM_FORMAT_SESSION_FILE_H

#include "base/file.h"

#define FAM_SESSION_VERSION 1u
#define FAM_SESSION_BLOCK ((size_t)1 << 20)
#define FAM_SESSION_NOTE_MAX ((size_t)16 << 20)

typedef enum fam_section {
    FAM_SECTION_STATE,   /* [L, F, E] float32; empty but in mode fam */
    FAM_SECTION_RING,    /* visible keys, then values: [L, G, rows, D] */
    FAM_SECTION_HIDDEN,  /* [E] float32, the newest token's last hidden state; empty at position 0 */
    FAM_SECTION_SAMPLER, /* session/sampler.c */
    FAM_SECTION_NOTE,    /* the caller's */
    FAM_SECTION_COUNT
} fam_section;

/* What a session belongs to and where it stands. */
typedef struct fam_session_header {
    uint8_t model[16];     /* fingerprint of model and adapters */
    uint8_t tokenizer[16]; /* fingerprint, zero without one */
    uint32_t dtype, mode, state_norm, positions, with_residual, reserved;
    int64_t layers, hidden_size, kv_heads, head_dim, vocab_size;
    int64_t block_size, memory_segments, fam_length, window, context;
    int64_t position, offset;
} fam_session_header;

/* ---- writing ---- */

typedef struct fam_session_writer fam_session_writer;

fam_status fam_session_writer_begin(fam_session_writer **out, fam_memory *memory, const char *path,
                                    const fam_session_header *header, const uint64_t lengths[FAM_SECTION_COUNT],
                                    fam_error *error);
/* The body, in pieces of any size. */
fam_status fam_session_writer_write(fam_session_writer *writer, const void *data, size_t size, fam_error *error);
/* Both free the writer. Commit replaces the file; it fails with FAM_STATUS_FAILED if the body has another length. */
fam_status fam_session_writer_commit(fam_session_writer *writer, fam_error *error);
void fam_session_writer_abort(fam_session_writer *writer); /* NULL is allowed */

/* ---- reading ---- */

typedef struct fam_session_file {
    fam_mapping mapping; /* empty after fam_session_file_parse */
    uint32_t version;
    fam_session_header header;
    const uint8_t *section[FAM_SECTION_COUNT];
    uint64_t length[FAM_SECTION_COUNT];
    uint64_t file_bytes;
} fam_session_file;

/* Verifies every checksum and every field's range before it returns. */
fam_status fam_session_file_open(fam_session_file *out, const char *path, fam_error *error);
fam_status fam_session_file_parse(fam_session_file *out, const char *name, const uint8_t *data, size_t size,
                                  fam_error *error);
void fam_session_file_close(fam_session_file *file);

#endif
