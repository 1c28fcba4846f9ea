/*
 * fam/eval.h: how far back a model remembers: passkeys, needles, recall, overwriting, and the loss on text by depth.
 * docs/EVAL.md tells tasks, scoring and the files; `fam eval` is this call.
 *
 * Several systems (a model in another mode, with another adapter) are measured on the same draws. One call runs on the
 * caller's thread and uses its engines as any session does; several calls at once are fine, not with one directory.
 */
#ifndef FAM_EVAL_H
#define FAM_EVAL_H

#include "fam/fam.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum fam_eval_task {
    FAM_EVAL_PASSKEY,          /* a key in filler, asked for at the end */
    FAM_EVAL_PASSKEY_LANDMARK, /* the same in the wording of Landmark attention */
    FAM_EVAL_NEEDLE,           /* needles in real text */
    FAM_EVAL_RECALL,           /* pairs of key and value, then questions */
    FAM_EVAL_OVERWRITE,        /* pairs that are overwritten; the last value counts */
    FAM_EVAL_TEXT              /* no question: the loss on text, by depth */
} fam_eval_task;

/* "passkey", "passkey_landmark", ...; NULL outside of the enumeration. Thread-safe. */
FAM_API const char *fam_eval_task_name(int task);

/* What is measured. Engine and strings outlive the call; the result keeps copies. */
typedef struct fam_eval_system {
    const char *name;    /* in the results; no two are the same */
    fam_engine *engine;
    const char *adapter; /* for the results: where its adapters came from; may be NULL */
} fam_eval_system;

/* ---- what is told while it runs ---------------------------------------------------------------------------------- */

/* Ranges of depth: tokens 0 to 255, then each range as long as all before it. The first token of a range, 0 to
 * FAM_EVAL_RANGES. Thread-safe. */
enum { FAM_EVAL_RANGES = 33 };
FAM_API int64_t fam_eval_range_start(int range);

/* One draw, read by one system. */
typedef struct fam_eval_draw {
    size_t system;                 /* index of the system */
    int64_t length;                /* tokens of the draw, its answers included */
    double depth_from, depth_to;   /* where the keys stand: drawn in this range; 0 start, 1 end */
    int64_t keys, number;          /* how many are said; number of the draw, from 0 */
    int64_t parts, parts_right;    /* answers, and those of which every token was the most probable one */
    int64_t tokens, tokens_right;  /* tokens of all answers, and those that were the most probable one */
    double nll;                    /* nats: mean over the answers' tokens; FAM_EVAL_TEXT: over all but the first */
    double seconds;
    int64_t tokens_read;           /* less than length where a system cannot see what is far back (exhaustive) */
    bool kept;                     /* of an earlier run, from the directory */
} fam_eval_draw;

/* All draws of one system at one length, depth and number of keys. */
typedef struct fam_eval_cell {
    size_t system;
    int64_t length;
    double depth_from, depth_to;
    int64_t keys;
    int64_t draws;                      /* done */
    double exact, exact_low, exact_high; /* share of draws with all answers right; its Wilson interval of 95 %. NaN for
                                           FAM_EVAL_TEXT and without draws, like the next two */
    double parts;                       /* share of answers that are right, mean over draws */
    double digits;                      /* share of the answers' tokens that are right */
    double nll;                         /* nats, mean */
    double seconds;                     /* of all draws together */
    int64_t tokens;                     /* read in all draws together */
} fam_eval_cell;

/* FAM_EVAL_TEXT: one range of depth. The interval (95 %, normal) is that of the mean over draws; NaN below two
 * draws. */
typedef struct fam_eval_depth {
    size_t system;
    int64_t length, from, to; /* tokens `from` to `to` - 1 */
    int64_t draws;
    double nll, nll_low, nll_high;
} fam_eval_depth;

typedef struct fam_eval_progress {
    int64_t draws_done, draws_total;   /* over all systems, those of an earlier run counted */
    int64_t tokens_done, tokens_total; /* of those that this run reads; the total may turn out a little smaller */
} fam_eval_progress;

/* ---- running ----------------------------------------------------------------------------------------------------- */

typedef struct fam_eval_options {
    size_t size;             /* of this struct; set by fam_eval_options_init */
    int task;                /* enum fam_eval_task; default passkey */
    const int64_t *lengths;  /* tokens of a draw, answers included; default 4096 */
    size_t length_count;
    const double *depths;    /* where the keys stand, 0 (start) to 1 (end); NULL: passkey at 0, other tasks drawn in 0
                                to 1. Not for text */
    size_t depth_count;
    const int64_t *keys;     /* needle, recall, overwrite: how many are said; NULL: 1 */
    size_t key_count;
    int64_t asked;           /* how many of them are asked for; default 1 */
    int64_t digits;          /* of a key or value; default 5 */
    int64_t draws;           /* default 100, at least 1. Text: pieces that do not overlap, at most what there is */
    uint64_t seed;           /* default 0 */
    const char *const *files; /* text: the documents, at least one; needle: the text that needles lie in, or none */
    size_t file_count;
    /* false: a system that cannot see back to the beginning of a draw (bswa, swa) is given only what can reach its
     * answers; the result is the same to the bit. true: it reads all. */
    bool exhaustive;
    const char *model;       /* for the results: where the engines came from; may be NULL */
    /* Draws are kept in DIRECTORY/draws.jsonl (made if missing), one line each as soon as it is done, and the
     * results in DIRECTORY/results.json. A later run with the same directory takes what is there and does only the
     * rest; a directory of other questions or of other systems under the same names is refused with MISMATCH. NULL:
     * nothing is kept. */
    const char *directory;
    bool (*cancelled)(void *context); /* asked before each draw; true: stop. These four may be NULL. */
    void (*on_progress)(void *context, const fam_eval_progress *progress); /* some hundred tokens apart */
    void (*on_draw)(void *context, const fam_eval_draw *draw);
    void (*on_cell)(void *context, const fam_eval_cell *cell); /* all draws of it are done */
    void *context;
} fam_eval_options;

#define fam_eval_options_init(options) fam_eval_options_init_sized((options), sizeof *(options))
FAM_API void fam_eval_options_init_sized(fam_eval_options *options, size_t size);

typedef struct fam_eval_result fam_eval_result;

/* Measures; everything that can be refused is refused before the first draw. *out is released with
 * fam_eval_result_free. On CANCELLED *out holds what was done; on any other failure it is NULL. Statuses:
 * INVALID_ARGUMENT (also: a length that is too short for the task, a vocabulary that cannot spell the keys, engines
 * whose tokenizers differ), CONTEXT_FULL (mode full cannot hold a length), NOT_FOUND, IO, BAD_FORMAT and MISMATCH
 * (files, the directory), OUT_OF_MEMORY, DEVICE. */
FAM_API fam_status fam_eval_run(fam_eval_result **out, const fam_eval_system *systems, size_t system_count,
                                const fam_eval_options *options, fam_error *error);
FAM_API void fam_eval_result_free(fam_eval_result *result); /* NULL is allowed */

/* The result is immutable. Order: lengths, depths, keys as given; systems innermost. */
FAM_API const fam_eval_cell *fam_eval_cells(const fam_eval_result *result, size_t *count);
FAM_API const fam_eval_depth *fam_eval_by_depth(const fam_eval_result *result, size_t *count);

/* results.json (docs/EVAL.md has its members) as text, released with fam_string_free. */
FAM_API fam_status fam_eval_json(char **json, const fam_eval_result *result, fam_error *error);

#ifdef __cplusplus
}
#endif

#endif
