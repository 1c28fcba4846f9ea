/*
 * train/trainer_private.h: the struct behind fam_trainer, for trainer*.c alone.
 */
#ifndef FAM_TRAIN_TRAINER_PRIVATE_H
#define FAM_TRAIN_TRAINER_PRIVATE_H

#include <time.h>

#include "data/source.h"
#include "fam/train.h"
#include "model/training.h"
#include "session/engine.h"
#include "train/metrics_file.h"
#include "train/optimizer.h"
#include "train/plan.h"
#include "train/snapshot.h"

/* The documents of the round at hand: passes x B of them, each of `carry` x T tokens. */
typedef struct fam_round {
    bool begun;           /* plan and place are those of the round at hand */
    int64_t count;        /* documents drawn; the round can be worked on when all are */
    bool drawn;
    int64_t part;         /* the next step works on part number so, from 0 to carry - 1 */
    fam_round_plan plan;
    int64_t capacity;     /* tokens that the buffers hold */
    int32_t *ids;         /* [documents, carry T], also of the two below */
    float *weights;
    uint8_t *answers;
    int64_t *offsets;     /* [documents]: of the first part */
    int64_t document_capacity;
    /* carry > 1: [documents, L, F, E], what the part at hand starts from, and what it leaves for the next one */
    float *states, *next_states;
    int64_t states_capacity; /* documents */
    uint8_t *place;       /* where the source stood before these documents were drawn */
    size_t place_size;
} fam_round;

/* What one pass gets: [B, T]. */
typedef struct fam_pass_buffers {
    int64_t capacity, sequence_capacity;
    int32_t *ids;
    float *weights;
    int64_t *offsets; /* [B] */
    bool *given;      /* [B] */
    float *states;    /* [B, L, F, E]: starts of those that are given one */
    float *finals;    /* [B, L, F, E]: what the pass ended with */
    int64_t states_capacity; /* sequences */
} fam_pass_buffers;

struct fam_trainer {
    fam_memory memory; /* of everything but what the engine counts */
    fam_recipe *recipe;
    fam_trainer_options options; /* after the making without its strings */
    fam_run_folder *folder;
    fam_metrics_file *metrics; /* NULL until the first step or saving */
    char *result;      /* RUN/result */
    size_t engine_fail_at; /* for tests, as below */

    fam_engine *engine;
    fam_engine_parts parts;
    const fam_tokenizer *tokenizer;
    uint8_t base_fingerprint[16]; /* of the model that the run is for: its resumption needs the same */
    fam_gradients *gradients;
    fam_parameters *parameters;
    fam_optimizer *optimizer;
    fam_source *source, *validation_source;
    fam_data_options validation_entries[FAM_RECIPE_DATA_MAX]; /* strings are the recipe's */
    fam_training *pass; /* of the newest shape, or NULL */
    int64_t pass_sequences, pass_tokens;

    int64_t block_size;  /* 0 in modes without blocks */
    int64_t state_elements; /* L F E; 0 but in mode fam */
    int64_t carry;

    /* Where the run stands; all of it is in a checkpoint. */
    int64_t step, tokens, bad_in_row, bad_total;
    fam_curriculum curriculum;
    fam_round round;
    float *passed_state; /* RSP: [L, F, E] of the step before */
    bool has_passed_state;

    fam_pass_buffers buffers;
    fam_validation_result *validation; /* [validation_count] */
    int64_t validation_count;
    uint8_t *validation_place; /* where each validation begins */
    size_t validation_place_size;
    int64_t told_records[FAM_RECIPE_DATA_MAX]; /* of each entry: broken and skipped ones that were told last */
    int64_t resumed_from;
    int64_t saved_step;
    double saved_at; /* seconds, of the newest checkpoint */
};

/* For tests: fam_trainer_create with one allocation of the trainer's own memory (which goes on counting) or of the
 * engine's (while it is opened) that fails, as fam_memory describes it; 0: none. */
typedef struct fam_trainer_fault {
    size_t fail_at, engine_fail_at;
    bool fail_for_good;
    size_t bytes_left; /* what a failed opening has not released of the trainer's: 0 */
} fam_trainer_fault;
fam_status fam_trainer_create_faulty(fam_trainer **out, const char *recipe_path, const fam_trainer_options *options,
                                     fam_trainer_fault *fault, fam_error *error);

/* trainer.c */
/* Whether the caller lets this key differ from the run that is resumed; while it is created. */
bool fam_trainer_overrides(const fam_trainer *t, const char *key);

/* trainer_open.c */
fam_status fam_trainer_open_model(fam_trainer *t, const fam_snapshot *snapshot, fam_error *error);
fam_status fam_trainer_open_data(fam_trainer *t, fam_error *error);

/* trainer_step.c */
/* Everything of a step but what is due after it. */
fam_status fam_trainer_update(fam_trainer *t, fam_step_metrics *m, fam_error *error);
/* A pass of this shape, made if the newest one has another. */
fam_status fam_trainer_pass(fam_trainer *t, int64_t sequences, int64_t tokens, bool backward, fam_error *error);
/* Makes room for B sequences of T tokens. */
fam_status fam_pass_buffers_reserve(fam_trainer *t, int64_t sequences, int64_t tokens, fam_error *error);
/* Draws the documents of a round that begins with this step, from where the source stands. On failure it stands there
 * still. */
fam_status fam_trainer_draw_round(fam_trainer *t, const fam_round_plan *plan, int64_t first_step, fam_error *error);

/* trainer_validate.c */
/* The shape of a validation's passes. */
fam_round_plan fam_trainer_validation_plan(const fam_trainer *t);
fam_status fam_trainer_validate(fam_trainer *t, fam_error *error);

/* trainer_save.c */
/* UNSUPPORTED: an adapter that could not be written again as it is. */
fam_status fam_trainer_check_adapter(const fam_trainer *t, fam_error *error);
/* The weights as they are now, as an adapter directory or a model directory. */
fam_status fam_trainer_write_weights(fam_trainer *t, const char *directory, fam_error *error);
fam_status fam_trainer_write_checkpoint(fam_trainer *t, fam_error *error);
uint64_t fam_trainer_checkpoint_bytes(const fam_trainer *t);
fam_status fam_trainer_restore(fam_trainer *t, const fam_snapshot *snapshot, fam_error *error);
/* "adapter" or "model": the folder of the weights in a checkpoint and in start/. */
const char *fam_trainer_weights_name(const fam_recipe *recipe);

/* trainer_metrics.c */
fam_status fam_trainer_log_step(fam_trainer *t, const fam_step_metrics *m, fam_error *error);

/* Of a clock that only goes forward. */
static inline double fam_seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static inline double fam_or_nan(double sum, double count)
{
    return count > 0 ? sum / count : (double)__builtin_nanf("");
}

#endif
