/*
 * train/recipe.h: what a training run is: a YAML file, read into plain data, every key known and checked.
 *
 * Knows no model and no data, only the words. One table (recipe_keys.c) has each key with its type, range, default and
 * meaning: parsing, `--set`, writing and docs/RECIPES.md come from it.
 */
#ifndef FAM_TRAIN_RECIPE_H
#define FAM_TRAIN_RECIPE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/memory.h"
#include "data/options.h"
#include "fam/modes.h"

enum { FAM_RECIPE_DATA_MAX = 32 };

typedef enum fam_train_what { FAM_TRAIN_WHAT_ADAPTER, FAM_TRAIN_WHAT_PROMPT, FAM_TRAIN_WHAT_ALL } fam_train_what;
typedef enum fam_optimizer_kind { FAM_OPTIMIZER_ADAMW, FAM_OPTIMIZER_ADAFACTOR } fam_optimizer_kind;
typedef enum fam_schedule_kind { FAM_SCHEDULE_CONSTANT, FAM_SCHEDULE_COSINE } fam_schedule_kind;
typedef enum fam_prompt_init {
    FAM_PROMPT_INIT_TOKENS, /* embeddings of tokens drawn at random */
    FAM_PROMPT_INIT_NORMAL  /* drawn from a normal distribution of init_std */
} fam_prompt_init;

typedef struct fam_recipe {
    fam_memory *memory;
    char *path; /* of the file, for messages */

    struct {
        char *path;     /* a pretrained model; or NULL and `new_*`: from nothing */
        char *adapter;  /* the adapter to go on with, or NULL */
        int64_t layers, hidden_size, intermediate_size, heads, kv_heads, head_dim, context_length;
        double rope_theta, rms_norm_eps, init_std;
        bool tied_embeddings;
        bool is_new;    /* model.new is there. Its tokens are bytes, and one more ends a text: V = 257 */
    } model;

    struct { /* FAM settings; -1: what the model or adapter says */
        int mode, state_norm, fam_positions;
        int64_t block_size, memory_segments, fam_length, window;
        fam_prompt_init prompt_init;
        double prompt_std;
    } fam;

    struct {
        fam_train_what what;
        int64_t rank;
        double alpha;
        bool rslora;
        unsigned targets; /* bit i: projection number i of q, k, v, o, gate, up, down */
    } adapt;

    struct {
        fam_optimizer_kind kind;
        double learning_rate, prompt_learning_rate; /* prompt: -1: the same */
        double beta1, beta2, epsilon, weight_decay;
        double clip;          /* norm of all gradients together; 0: not */
        fam_schedule_kind schedule;
        int64_t warmup_steps;
        double final_fraction; /* cosine: of the rate, at the last step */
        int64_t bad_steps_max; /* steps in a row with a loss or gradient that is not finite; default 10 */
    } optimizer;

    struct {
        int64_t steps;
        int64_t sequences;      /* B of one pass */
        int64_t tokens_per_step; /* 0: sequences; else about so many, in several passes (B grows where T is small) */
        int64_t accumulate;     /* passes a step where tokens_per_step is 0; default 1 */
        int64_t blocks;         /* blocks a sequence (T = blocks x block_size), without a curriculum */
        int64_t tokens;         /* instead of blocks: T, modes without blocks */
        int64_t carry;          /* sequences of one document in a row, the state handed on, the gradient cut */
        bool stop_gradient_segments;
        double state_passing_probability; /* RSP */
        int64_t state_passing_start;      /* first step of it */
        bool random_position_offset;      /* RPO */
        double state_noise;     /* standard deviation, of a row's RMS, added after each update */
        int64_t state_noise_start;
        int recompute;          /* enum fam_recompute */
        uint64_t seed;
        int dtype;              /* enum fam_dtype, or FAM_AUTO */
    } train;

    struct {
        bool on;
        int64_t from_blocks, to_blocks; /* the level's range, in blocks a sequence */
        double accuracy;        /* the running answer-token accuracy at which the level doubles */
        int64_t window;         /* steps over which it runs */
        double at_level;        /* probability that a step is at the level; else drawn from from_blocks to it */
        int64_t recover_steps;  /* after a promotion the rate climbs back from recover_fraction of itself; 0: not */
        double recover_fraction;
    } curriculum;

    fam_data_options data[FAM_RECIPE_DATA_MAX];
    int64_t data_count;

    struct {
        int64_t every;          /* steps; 0: never */
        int64_t sequences;      /* draws each time, for each entry */
        int64_t blocks;         /* a sequence; 0: as training's longest */
        uint64_t seed;          /* differs from train.seed, so that draws are held out */
        fam_data_options data[FAM_RECIPE_DATA_MAX];
        int64_t data_count;     /* 0: the training entries, drawn with validation.seed (never text or jsonl) */
    } validation;

    struct {
        int64_t every;          /* steps between checkpoints; 0: only at the end and when asked */
        int64_t seconds;        /* or so much time; 0: not */
        int64_t keep;           /* at least 2 */
        int64_t log_every;      /* steps between lines of metrics; default 1 */
    } output;
} fam_recipe;

/* Reads a recipe, laid over the one that its `extends` names. `sets` are "key=value" with the key's path
 * ("optimizer.learning_rate=1e-4", "data.0.path=book.txt"), in order, as if the file had said so; the value is YAML. A
 * null value is as if the key were not there. Unknown keys, wrong types, values out of range and keys that contradict
 * one another are refused with line and column: BAD_FORMAT; in a `set`: INVALID_ARGUMENT. NOT_FOUND, IO, OUT_OF_MEMORY.
 * Paths are relative to the folder of the recipe that has them, in a set to the working directory; in *out they begin
 * at the root. */
fam_status fam_recipe_read(fam_recipe **out, fam_memory *memory, const char *path, const char *const *sets,
                           int64_t set_count, fam_error *error);
/* The same from bytes; `name` stands for the path. Relative paths stay as they are; `extends` is refused. */
fam_status fam_recipe_parse(fam_recipe **out, fam_memory *memory, const char *name, const char *text, size_t size,
                            const char *const *sets, int64_t set_count, fam_error *error);
void fam_recipe_free(fam_recipe *recipe); /* NULL is allowed */

/* The whole recipe as YAML, every key with the value in force; reading it gives the same recipe. *out is released with
 * fam_free. */
fam_status fam_recipe_write(char **out, const fam_recipe *recipe, fam_error *error);

/* Calls `say` once for every key in which two recipes differ and that must not change in a run that is resumed, with
 * the key's path and both values as text (checkpoint row C6). */
typedef void fam_recipe_difference(void *context, const char *key, const char *saved, const char *given);
fam_status fam_recipe_compare(const fam_recipe *saved, const fam_recipe *given, fam_recipe_difference *say,
                              void *context, fam_error *error);
/* Whether there is such a key: "train.seed", "data.0.share". */
bool fam_recipe_has_key(const char *path);

#endif
