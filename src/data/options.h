/*
 * data/options.h: where training sequences come from, as plain data: one entry of a recipe. Knows only words.
 */
#ifndef FAM_DATA_OPTIONS_H
#define FAM_DATA_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

/* Where sequences come from. Numbers that a kind does not use must not be given. */
typedef enum fam_data_kind {
    FAM_DATA_PASSKEY,          /* the paper's wording (Mohtashami and Jaggi's filler, five digits) */
    FAM_DATA_PASSKEY_LANDMARK, /* Landmark attention's wording: random prefix and suffix of filler, the key between */
    FAM_DATA_NEEDLE,           /* needles in real text */
    FAM_DATA_RECALL,           /* key-value pairs, then questions */
    FAM_DATA_OVERWRITE,        /* key-value pairs that are overwritten; the last value counts */
    FAM_DATA_TEXT,             /* plain text files */
    FAM_DATA_JSONL             /* documents: "text", "prompt" and "completion", or "messages" */
} fam_data_kind;

typedef enum fam_too_long { FAM_TOO_LONG_SPLIT, FAM_TOO_LONG_REFUSE, FAM_TOO_LONG_SKIP } fam_too_long;

/* One entry of a recipe's `data`. Strings belong to whoever made it. */
typedef struct fam_data_options {
    int line; /* of the entry in the recipe, for messages; 0: none */
    fam_data_kind kind;
    double share;     /* of the sequences that come from it; shares are divided by their sum */
    char *name;       /* in metrics; default: the kind */

    char *path;       /* text, jsonl: the file; needle: the text that needles lie in */
    /* passkey, passkey_landmark, needle, recall, overwrite */
    int64_t digits;   /* of a key or value; default 5 */
    int64_t keys;     /* needle, recall, overwrite: how many are said; default 1 */
    int64_t asked;    /* how many are asked for; default 1 */
    double depth_from, depth_to; /* where the key stands, drawn uniformly; 0 is the start. Default passkey 0 to 0, others 0 to 1 */
    double rest_weight; /* loss weight of each token that is no answer; default 0 */
    double rest_share;  /* instead: all tokens that are no answer weigh this much of the answers together; default 0 */
    /* text, jsonl */
    double weight;      /* loss weight of a token of text, or of a completion; default 1 */
    int64_t repeat_tokens; /* random-repeat task (paper, section 4): so many consecutive tokens are repeated at the end */
    double repeat_weight;  /* default 0.1 */
    bool shuffle;       /* jsonl: in an order drawn from the seed (keeps 8 bytes a record in memory) */
    int64_t skip_bad;   /* jsonl: so many bad lines are skipped and counted; default 0 */
    fam_too_long too_long; /* jsonl with prompt and completion or messages: longer than a sequence; default refuse */
    bool pack;          /* jsonl: fill sequences with several documents (no mask between them); default true */
} fam_data_options;

/* "passkey", "passkey_landmark", ...; NULL outside of the enumeration. */
const char *fam_data_kind_name(int kind);

#endif
