/*
 * train/trainer_validate.c: held-out draws, the same each time: the source begins anew from the validation seed.
 */
#include <string.h>

#include "train/trainer_private.h"

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

static fam_status run_entry(fam_trainer *t, int64_t entry, int64_t sequences, int64_t tokens, uint8_t *answers,
                            fam_error *error)
{
    fam_status status = FAM_OK;
    sums s = {0};
    fam_validation_result *result = &t->validation[entry];
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
    fam_round_plan longest = fam_plan_longest(t->recipe, t->block_size);
    int64_t blocks = t->recipe->validation.blocks, tokens = blocks > 0 ? blocks * t->block_size : longest.tokens;
    int64_t capacity = longest.sequences * longest.tokens,
            sequences = fam_max_i64(1, fam_min_i64(capacity / tokens, t->recipe->validation.sequences));
    uint8_t *answers = NULL, *place = NULL;
    size_t place_size;
    FAM_TRY(fam_source_save(t->validation_source, &place, &place_size, error));
    FAM_TRY_ALLOC(answers, fam_alloc_array(&t->memory, (size_t)(sequences * tokens), 1), "validation");
    FAM_TRY(fam_pass_buffers_reserve(t, sequences, tokens, error));
    FAM_TRY(fam_trainer_pass(t, sequences, tokens, false, error));
    for (int64_t e = 0; status == FAM_OK && e < t->validation_count; e++) {
        t->validation[e].blocks = t->block_size > 0 ? tokens / t->block_size : 0;
        status = run_entry(t, e, sequences, tokens, answers, error);
    }
    if (status == FAM_OK)
        status = fam_source_restore(t->validation_source, place, place_size, error);
    else
        fam_source_restore(t->validation_source, place, place_size, NULL);
done:
    fam_free(&t->memory, answers);
    fam_free(&t->memory, place);
    return status;
}
