/*
 * data/source.h: sequences to train on, from files and tasks, mixed by shares; a stream whose exact place can be kept
 * and found again.
 *
 * Memory is bounded, whatever the files' sizes (a shuffled JSONL file takes 8 bytes a record). One thread at a time.
 */
#ifndef FAM_DATA_SOURCE_H
#define FAM_DATA_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/memory.h"
#include "data/options.h"
#include "fam/tokenizer.h"

typedef struct fam_source fam_source;

/* One sequence, in the caller's buffers of T elements each. */
typedef struct fam_sequence {
    int32_t *ids;
    float *weights;   /* of the prediction of token t; number 0 is 0 */
    uint8_t *answers; /* 1 where token t is part of an answer: counted in the accuracy */
    int entry;        /* which entry of the data list it came from */
} fam_sequence;

/* `entries` (count) outlive the source; so does the tokenizer. Opens every file and looks at its beginning. The order
 * of everything depends on the seed and on nothing else. Statuses: NOT_FOUND, IO, BAD_FORMAT, INVALID_ARGUMENT. */
fam_status fam_source_create(fam_source **out, fam_memory *memory, const fam_data_options *entries, int64_t count,
                             const fam_tokenizer *tokenizer, uint64_t seed, fam_error *error);
void fam_source_free(fam_source *source); /* NULL is allowed */

/* The next sequence of exactly `tokens` tokens. What a short document leaves is filled with the end token (or id 0) at
 * weight 0. Files begin again at their end, in another order if shuffled. A file that changed since it was opened: IO.
 * On failure the source is as it was. */
fam_status fam_source_next(fam_source *source, int64_t tokens, fam_sequence *out, fam_error *error);
/* The same from one entry. */
fam_status fam_source_next_of(fam_source *source, int64_t entry, int64_t tokens, fam_sequence *out, fam_error *error);

/* The fewest tokens that a sequence of every entry can have. */
int64_t fam_source_tokens_min(const fam_source *source);

typedef struct fam_source_counts {
    int64_t sequences, epochs, bad_records, skipped_records; /* of one entry */
} fam_source_counts;
void fam_source_counts_get(const fam_source *source, int64_t entry, fam_source_counts *out);

/* The place, as bytes (released with fam_free): seed, files with size and content hash, offsets, random numbers, what
 * is left over of a document. Restoring into a source made of the same entries, whatever its seed, goes on exactly
 * there; files or kinds that are not the same: MISMATCH; anything else that is wrong: BAD_FORMAT. The bytes are not
 * trusted. On failure the source is as it was. The first saving reads every file once, for its hash. */
fam_status fam_source_save(const fam_source *source, uint8_t **out, size_t *size, fam_error *error);
fam_status fam_source_restore(fam_source *source, const uint8_t *data, size_t size, fam_error *error);

/* MISMATCH if an entry of `a` and one of `b` read files with the same content: what is trained on must not be what is
 * measured with. Two haystacks of needles may be the same: what is measured is drawn. */
fam_status fam_source_check_disjoint(const fam_source *a, const fam_source *b, fam_error *error);

#endif
