/*
 * fam/train.h: teaching a model to remember (TransformerFAM, arXiv:2404.09173, section 4 and appendix A).
 *
 * A trainer is one run: a recipe (YAML; docs/RECIPES.md has every key), an output folder, and where the run stands. Step
 * it, or let it run. It keeps checkpoints in its folder and goes on from the newest whole one, with the same numbers as if
 * it had never stopped (same build, machine and recipe; the number of threads does not matter).
 *
 *     fam_trainer_create ── fam_trainer_step ... ── fam_trainer_finish ── fam_trainer_free
 *
 * The output folder:
 *   recipe.yaml      the recipe as used, every key with its value
 *   metrics.jsonl    a line a step (docs/TRAINING.md has the fields)
 *   start/           the fresh adapter or model that the run began with
 *   checkpoints/     step_N/, each with the adapter or model in it, ready for use
 *   result/          after the last step: an adapter directory that PEFT loads, or a Hugging Face model directory
 *
 * Statuses and errors as in fam/status.h. A trainer belongs to one thread at a time.
 */
#ifndef FAM_TRAIN_H
#define FAM_TRAIN_H

#include "fam/fam.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fam_trainer fam_trainer;

typedef enum fam_resume {
    FAM_RESUME_AUTO, /* from the newest whole checkpoint, else from the start; BAD_FORMAT if there are only damaged ones */
    FAM_RESUME_MUST, /* NOT_FOUND if there is none */
    FAM_RESUME_NEVER /* a folder that has checkpoints is refused: INVALID_ARGUMENT */
} fam_resume;

typedef struct fam_trainer_options {
    size_t size;         /* of this struct; set by fam_trainer_options_init */
    const char *out;     /* the output folder; made if need be */
    fam_resume resume;
    const char *const *sets; /* "key=value": as if the recipe said so, in order */
    size_t set_count;
    /* Keys of the recipe that may differ from those of the run that is resumed (else they are refused by name). */
    const char *const *overrides;
    size_t override_count;
    const char *device;  /* as in fam_engine_options, with the four below */
    int threads;
    int dtype;           /* FAM_AUTO: the recipe's, else the best of the machine */
    const char *isa;
    fam_log *log;        /* may be NULL */
    void *log_context;
    /* Asked between the passes of a step; true: the step is given up and changes nothing, STOPPED. May be NULL. */
    bool (*cancelled)(void *context);
    void *context;
} fam_trainer_options;

#define fam_trainer_options_init(options) fam_trainer_options_init_sized((options), sizeof *(options))
FAM_API void fam_trainer_options_init_sized(fam_trainer_options *options, size_t size);

/* Opens or makes the folder, reads the recipe, opens the model and the data, checks that the run can work, and goes to
 * where it stands. Refused before the first step, in words: what cannot work (sequences too short for an answer, a prompt
 * of another length than the adapter's, the same text to train on and to measure with). What the folder holds of a run
 * that is there already changes with the first step or saving, not here. BAD_FORMAT, UNSUPPORTED, MISMATCH,
 * INVALID_ARGUMENT, NOT_FOUND, IO, OUT_OF_MEMORY. */
FAM_API fam_status fam_trainer_create(fam_trainer **out, const char *recipe_path, const fam_trainer_options *options,
                                      fam_error *error);
/* Saves nothing; before the first step or saving a folder that was not there, or empty, is so again. NULL is allowed. */
FAM_API void fam_trainer_free(fam_trainer *trainer);

typedef struct fam_trainer_info {
    const char *out;             /* the folder; strings belong to the trainer */
    const char *result;          /* where fam_trainer_finish writes */
    int64_t step, steps;         /* done, and to be done */
    int64_t resumed_from;        /* step of the checkpoint; -1: a new run */
    int64_t trained_parameters;
    int64_t block_size;          /* 0 in modes without blocks */
    int64_t tokens_longest;      /* of a sequence */
    int64_t sequences_longest;   /* of a pass with such sequences */
    uint64_t memory_bytes;       /* what the run will take at its peak, true to 5% (mapped files not counted) */
    uint64_t memory_none, memory_layer, memory_span; /* the same with each choice of train.recompute */
    uint64_t checkpoint_bytes;   /* on disk, each */
} fam_trainer_info;
FAM_API void fam_trainer_info_get(const fam_trainer *trainer, fam_trainer_info *out);

/* What one step did. Numbers that do not exist are NaN. */
typedef struct fam_step_metrics {
    int64_t step;             /* counted from 1 */
    double loss;              /* sum of weight * nll / sum of weights over the whole step */
    double accuracy;          /* share of answer tokens (digits) that were the most probable one */
    int64_t answer_tokens;
    int64_t blocks;           /* a sequence had; 0 in modes without blocks */
    int64_t level;            /* the longest that the curriculum allows after this step, in blocks; 0 without one */
    int64_t tokens;           /* of this step */
    double gradient_norm;     /* before clipping */
    bool clipped;
    bool skipped;             /* loss or gradient was not finite: nothing was changed */
    double rate, prompt_rate;
    double seconds;
    int64_t bad_in_row;       /* skipped steps in a row, this one included */
    int64_t bad_total;
    bool promoted;            /* the curriculum's level doubled after this step */
    bool validated, saved;    /* after this step */
} fam_step_metrics;

/* One step of the optimizer, and what is due after it: validation, a line of metrics, a checkpoint. metrics may be NULL.
 * STOPPED: cancelled, or nothing is left to do; FAILED: too many steps in a row were not finite (the last good checkpoint
 * is there). On failure nothing of this step counts, unless what failed was due after it. */
FAM_API fam_status fam_trainer_step(fam_trainer *trainer, fam_step_metrics *metrics, fam_error *error);
FAM_API bool fam_trainer_done(const fam_trainer *trainer); /* all steps are */

/* Results of the newest validation: one for each entry of its data. */
typedef struct fam_validation_result {
    const char *name; /* belongs to the trainer */
    int64_t sequences, blocks;
    double loss, accuracy; /* NaN without answers */
    double exact;          /* share of sequences whose answers were all right */
} fam_validation_result;
FAM_API size_t fam_trainer_validation(const fam_trainer *trainer, const fam_validation_result **results);

/* A checkpoint of now. */
FAM_API fam_status fam_trainer_save(fam_trainer *trainer, fam_error *error);
/* The result of now, in the folder's result/. */
FAM_API fam_status fam_trainer_finish(fam_trainer *trainer, fam_error *error);

/* Whether a path looks like a checkpoint or like the folder of a run. Thread-safe, as is the next. */
FAM_API bool fam_train_is_run(const char *path);
/* What a checkpoint holds, or the newest whole one of a run: a JSON object ("kind": "checkpoint" or "run", step, tokens,
 * optimizer_steps, bad_total, level, bytes, files, weights), released with fam_string_free. Every file is verified.
 * BAD_FORMAT names the one that is wrong; NOT_FOUND, IO, OUT_OF_MEMORY. */
FAM_API fam_status fam_train_inspect(char **json, const char *path, fam_error *error);

#ifdef __cplusplus
}
#endif

#endif
