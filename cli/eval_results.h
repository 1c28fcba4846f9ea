/*
 * cli/eval_results.h: results.json of `fam eval` (docs/EVAL.md has the members), checked and of bounded size.
 */
#ifndef CLI_EVAL_RESULTS_H
#define CLI_EVAL_RESULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fam/status.h"

enum {
    EVAL_FILE_BYTES = 32 << 20,
    EVAL_NAME_BYTES = 256,
    EVAL_SYSTEMS = 64,
    EVAL_CELLS = 32768,
    EVAL_NUMBERS = 256, /* lengths; numbers of keys; depths */
    EVAL_NOTES = 64
};

typedef struct eval_system {
    char name[EVAL_NAME_BYTES];
    char about[EVAL_NAME_BYTES * 2]; /* its settings in words */
    int64_t reach;                   /* tokens; 0: no limit */
} eval_system;

typedef struct eval_cell {
    size_t system;
    int64_t length, keys, draws, tokens;
    double depth_from, depth_to; /* the same where one depth was asked */
    bool one_depth;
    double exact, exact_low, exact_high, parts, digits, nll; /* NaN: none */
    double seconds;
} eval_cell;

typedef struct eval_range {
    size_t system;
    int64_t length, from, to, draws;
    double nll, nll_low, nll_high; /* NaN: none */
} eval_range;

typedef struct eval_results {
    char task[EVAL_NAME_BYTES], model[EVAL_NAME_BYTES * 4], seed[EVAL_NAME_BYTES];
    int64_t draws, digits, asked;
    bool complete;
    eval_system systems[EVAL_SYSTEMS];
    size_t system_count, cell_count, range_count, note_count;
    eval_cell *cells;
    eval_range *ranges;
    char *notes[EVAL_NOTES];
} eval_results;

/* `name` is for messages. BAD_FORMAT: it is not what it should be; UNSUPPORTED: of a later version. *out is
 * released with eval_results_free, whatever comes back. */
fam_status eval_results_parse(eval_results **out, const char *text, size_t size, const char *name, fam_error *error);
void eval_results_free(eval_results *results);

/* "LABEL: NAME" for each system. */
void eval_results_label(eval_results *results, const char *label);
/* Adds systems, cells and ranges of `other`, whose task must be the same. MISMATCH, UNSUPPORTED (too many),
 * OUT_OF_MEMORY. */
fam_status eval_results_append(eval_results *into, const eval_results *other, const char *name, fam_error *error);

/* The numbers (lengths, keys) that cells have, rising, each once, at most EVAL_NUMBERS; released with free; NULL:
 * out of memory. */
typedef int64_t eval_number(const eval_cell *cell);
int64_t eval_cell_length(const eval_cell *cell);
int64_t eval_cell_keys(const eval_cell *cell);
int64_t *eval_numbers(const eval_results *results, eval_number *number, size_t *count);
/* The same of the depths that one was asked at. */
double *eval_depths(const eval_results *results, size_t *count);

/* The 95 % Wilson interval of a share of so many draws, as fam eval has it. */
void eval_wilson(double share, double draws, double *low, double *high);

#endif
