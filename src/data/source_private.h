/*
 * data/source_private.h: what a source is made of, for the files that make, read and save it.
 */
#ifndef FAM_DATA_SOURCE_PRIVATE_H
#define FAM_DATA_SOURCE_PRIVATE_H

#include "base/random.h"
#include "data/record.h"
#include "data/source.h"
#include "data/task.h"
#include "data/text_file.h"

/* Where an entry is: plain data, copied before a sequence is made and put back only when it is complete. */
typedef struct fam_place {
    fam_random random; /* draws what is repeated */
    uint64_t draw;     /* tasks: the number of the next one */
    uint64_t epoch;    /* files: how often all was read */
    uint64_t at;   /* text: byte offset of the piece; jsonl: of the record's line, shuffled: its number in the order */
    uint64_t used; /* how many tokens of that piece or record were given out */
    uint64_t bad_now; /* bad lines met in this epoch */
    fam_source_counts counts;
} fam_place;

typedef struct fam_entry {
    const fam_data_options *options;
    fam_memory *memory;
    const fam_tokenizer *tokenizer;
    fam_task *task; /* NULL: a file */
    bool has_file;  /* text, jsonl, and a needle's haystack */
    fam_text_file file;
    fam_record_reader reader;
    fam_id_list marker; /* what stands before a repeated segment */
    uint64_t *index;    /* [records] offsets of lines, shuffled files only */
    uint64_t records;
    uint64_t seed; /* of draws, orders and repeats */
    /* The piece or record that was read last: */
    fam_document document;
    bool loaded;
    uint64_t loaded_offset, loaded_end;
    fam_place place;
} fam_entry;

struct fam_source {
    fam_memory *memory;
    fam_entry *entries; /* [count] */
    int64_t count;
    uint64_t seed;
    double shares;     /* sum */
    fam_random random; /* chooses entries */
};

/* Gives the source another seed, and with it every entry (source.c); places stay. */
void fam_source_seed(fam_source *source, uint64_t seed);

/* ---- files (reader.c) -------------------------------------------------------------------------------------------- */

/* Opens text and jsonl and looks at the beginning. */
fam_status fam_entry_open_file(fam_entry *entry, fam_error *error);
/* Reads the piece or record at `place`, wrapping to the next epoch at the end of the file and going past blank and bad
 * lines, which are counted. On success entry->document is it, and place->used below its length. */
fam_status fam_entry_load(fam_entry *entry, fam_place *place, fam_error *error);
/* To what follows the document that is loaded. */
void fam_entry_advance(const fam_entry *entry, fam_place *place);
/* A failure that has to do with the record that begins at `offset`: file and line go before the message. */
fam_status fam_entry_blame(fam_entry *entry, uint64_t offset, fam_error *error);
/* Where the record begins that is loaded for the place. */
uint64_t fam_entry_offset(const fam_entry *entry, const fam_place *place);
/* Whether a place that was saved can be one of this entry's; its document is read if it was begun. FAM_OK, or
 * BAD_FORMAT for what cannot be, or why it cannot be read. */
fam_status fam_entry_check_place(fam_entry *entry, const fam_place *place, fam_error *error);

/* One sequence of text or jsonl; moves the place (fill.c). */
fam_status fam_entry_fill(fam_entry *entry, fam_place *place, int64_t tokens, fam_sequence *out, fam_error *error);
/* The fewest tokens of a sequence. */
int64_t fam_entry_tokens_min(const fam_entry *entry);

#endif
