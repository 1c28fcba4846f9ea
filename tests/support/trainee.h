/*
 * tests/support/trainee.h: a golden case made ready to be trained: engine, pass, gradients, parameters, optimiser.
 */
#ifndef TESTS_SUPPORT_TRAINEE_H
#define TESTS_SUPPORT_TRAINEE_H

#include "model/training.h"
#include "run.h"
#include "session/internal.h"
#include "train/optimizer.h"

typedef struct trainee {
    run_case golden;
    float *weights; /* of the case's tokens */
    fam_engine *engine;
    fam_training *training;
    fam_exec *exec;
    fam_gradients *gradients;
    fam_parameters *parameters;
    fam_optimizer *optimizer;
} trainee;

/* A recipe whose optimiser is AdamW with usual numbers; nothing else is set. */
fam_recipe trainee_recipe(void);
/* LoRA and prompt if the case has an adapter, else all weights. `options` may be NULL. */
void trainee_open(trainee *out, const char *name, const fam_recipe *recipe, const fam_engine_options *options);
void trainee_close(trainee *t);

/* One pass over the case's tokens, gradients cleared before; returns the weighted mean of the loss. */
double trainee_pass(trainee *t);

/* The masters' and the moments' bits, one number. */
uint64_t trainee_digest(const trainee *t);

#endif
