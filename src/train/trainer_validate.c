/*
 * train/trainer_validate.c: held-out draws, the same each time: the source begins anew from the validation seed.
 */
#include <string.h>

#include "train/trainer_private.h"

fam_round_plan fam_trainer_validation_plan(const fam_trainer *t)
{
    const fam_recipe *recipe = t->recipe;
    fam_round_plan plan = fam_plan_longest(recipe, t->block_size);
    int64_t capacity = plan.sequences * plan.tokens;
    if (recipe->validation.blocks > 0)
        plan.tokens = recipe->validation.blocks * t->block_size;
    plan.blocks = t->block_size > 0 ? plan.tokens / t->block_size : 0;
    plan.sequences = fam_max_i64(1, fam_min_i64(capacity / plan.tokens, recipe->validation.sequences));
    plan.passes = 1;
    return plan;
}

/* What the sequences of one entry add up to. */
typedef struct sums {
    double loss, weight;
    int64_t answers, hits, exact, answered;
} sums;

/* Sequence `row` of the pass that has just run. */
static void count_sequence(const fam_trainer *t, const uint8_t *answers, int64_t row, int64_t tokens, sums *s)
{
    const float *nll = fam_training_nll(t->pass) + row * tokens;
    const bool *hits = fam_training_hits(t->pass) + row * tokens;
    const float *weights = t->buffers.weights + row * tokens;
    int64_t asked = 0, right = 0;
    for (int64_t k = 1; k < tokens; k++) {
        s->loss += (double)weights[k] * (double)nll[k];
        s->weight += (double)weights[k];
        asked += answers[k];
        right += answers[k] && hits[k];
    }
    s->answers += asked;
    s->hits += right;
    s->answered += asked > 0;
    s->exact += asked > 0 && asked == right;
}

static fam_status run_entry(fam_trainer *t, int64_t entry, const fam_round_plan *plan, fam_validation_result *result,
                            uint8_t *answers, fam_error *error)
{
    fam_status status = FAM_OK;
    sums s = {0};
    int64_t sequences = plan->sequences, tokens = plan->tokens;
    fam_pass_buffers *b = &t->buffers;
    memset(b->offsets, 0, (size_t)sequences * sizeof *b->offsets);
    for (int64_t done = 0; done < result->sequences; done += sequences) {
        FAM_FAIL_IF(t->options.cancelled && t->options.cancelled(t->options.context), FAM_STATUS_STOPPED,
                    "validation: given up, as was asked");
        for (int64_t i = 0; i < sequences; i++) {
            fam_sequence sequence = {.ids = b->ids + i * tokens, .weights = b->weights + i * tokens,
                                     .answers = answers + i * tokens};
            FAM_TRY(fam_source_next_of(t->validation_source, entry, tokens, &sequence, error));
        }
        const fam_training_batch batch = {.ids = b->ids, .weights = b->weights, .offsets = b->offsets};
        double loss, weight;
        FAM_TRY(fam_training_forward(t->pass, &batch, &loss, &weight, error));
        for (int64_t i = 0; i < sequences && done + i < result->sequences; i++)
            count_sequence(t, answers + i * tokens, i, tokens, &s);
    }
    result->loss = fam_or_nan(s.loss, s.weight);
    result->accuracy = fam_or_nan((double)s.hits, (double)s.answers);
    result->exact = fam_or_nan((double)s.exact, (double)s.answered);
done:
    return status;
}

fam_status fam_trainer_validate(fam_trainer *t, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_round_plan plan = fam_trainer_validation_plan(t);
    fam_validation_result *results = NULL;
    uint8_t *answers = NULL;
    FAM_TRY_ALLOC(results, fam_alloc_array(&t->memory, (size_t)t->validation_count, sizeof *results), "validation");
    FAM_TRY_ALLOC(answers, fam_alloc_array(&t->memory, (size_t)(plan.sequences * plan.tokens), 1), "validation");
    FAM_TRY(fam_source_restore(t->validation_source, t->validation_place, t->validation_place_size, error));
    FAM_TRY(fam_pass_buffers_reserve(t, plan.sequences, plan.tokens, error));
    FAM_TRY(fam_trainer_pass(t, plan.sequences, plan.tokens, false, error));
    for (int64_t e = 0; e < t->validation_count; e++) {
        results[e] = t->validation[e];
        results[e].blocks = plan.blocks;
        FAM_TRY(run_entry(t, e, &plan, &results[e], answers, error));
    }
    memcpy(t->validation, results, (size_t)t->validation_count * sizeof *results);
done:
    fam_free(&t->memory, results);
    fam_free(&t->memory, answers);
    return status;
}
