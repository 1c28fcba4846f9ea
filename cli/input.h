/*
 * cli/input.h: what a verb reads, as one stream of token ids in bounded memory: files in order, then the prompt, nothing
 * added between. Text of neighbouring sources is encoded as one text. Every source counts and hashes (XXH3-128) the
 * bytes it gave, so that a session can remember them and an interrupted reading can go on.
 */
#ifndef CLI_INPUT_H
#define CLI_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fam/tokenizer.h"
#include "options.h"

typedef enum source_kind { SOURCE_FILE, SOURCE_IDS_FILE, SOURCE_PROMPT, SOURCE_IDS } source_kind;

typedef struct cli_source {
    source_kind kind;
    const char *name;    /* a path ("-": standard input), or the text itself */
    int64_t size;        /* bytes; -1: not known (a pipe) */
    uint64_t bytes;      /* given so far */
    char hash[33];       /* of these bytes, in hexadecimal; set by input_hashes */
    int64_t ids_before;  /* ids that were certain before this source began */
    bool begun;
    /* What a session remembers of it: its first expected_bytes must have expected_hash, else MISMATCH. */
    bool expected;
    uint64_t expected_bytes;
    char expected_hash[33];
} cli_source;

/* The sources that the options name, in reading order; files are looked at (missing, unreadable, a directory: an error
 * now and not after the model is loaded). Released with free. */
fam_status sources_create(cli_source **out, size_t *count, const cli_options *options, fam_error *error);
bool sources_need_tokenizer(const cli_source *sources, size_t count);
bool source_is_file(const cli_source *source); /* a path, be it of text or ids */
const char *source_label(const cli_source *source); /* for messages: the path, "standard input", "--prompt" */

/* Hash of the first `bytes` of a file (or all of it: UINT64_MAX; *bytes_read tells how many). */
fam_status source_hash_file(char hash[33], uint64_t *bytes_read, const char *path, uint64_t bytes, fam_error *error);
void source_hash_text(char hash[33], const char *text, size_t length);

typedef struct cli_input cli_input;

typedef struct input_plan {
    cli_source *sources; /* borrowed, updated while reading */
    size_t count;
    const fam_tokenizer *tokenizer; /* may be NULL if no source is text */
    int64_t vocab_size;             /* ids from files must be below */
    bool special;                   /* text of special tokens is those tokens */
    bool bos;                       /* begin with BOS if the tokenizer does so and the first source is text */
} input_plan;

fam_status input_create(cli_input **out, const input_plan *plan, fam_error *error);
void input_free(cli_input *input); /* NULL is allowed */

/* Up to `capacity` ids; fewer only at the end of the input. CANCELLED if a stop was asked for while waiting. */
fam_status input_read(cli_input *input, int32_t *ids, size_t capacity, size_t *count, fam_error *error);
/* Leaves out the first `ids` of the input, which a session has read, and sees to it that all expectations hold. */
fam_status input_skip(cli_input *input, int64_t ids, fam_error *error);

int64_t input_ids_given(const cli_input *input); /* without BOS, with what was skipped */
bool input_has_bos(const cli_input *input);
void input_hashes(cli_input *input);             /* brings the sources' hashes up to date */
void input_bytes(const cli_input *input, double *done, double *total); /* total -1: not known */
uint64_t input_dropped(const cli_input *input, uint64_t *first_offset);
/* Says, if so, how many bytes had no token. */
void input_tell_dropped(const cli_input *input);

#endif
