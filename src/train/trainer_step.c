/*
 * train/trainer_step.c: one step: documents of a round, cut into the parts of its steps, passes forward and back with
 * the gradients added up, and the optimizer.
 *
 * Until the optimizer has run nothing of the run's state is changed, so a step that is given up can be done again.
 */
#include <math.h>
#include <string.h>

#include "train/trainer_private.h"

/* ---- buffers ------------------------------------------------------------------------------------------------------ */

/* Grows a block to `count` elements of `size` bytes; what it held may be lost. */
static fam_status grow(fam_trainer *t, void *place, int64_t count, size_t size, fam_error *error)
{
    fam_status status = FAM_OK;
    void *old, *grown;
    memcpy(&old, place, sizeof old);
    FAM_TRY_ALLOC(grown, fam_alloc_array(&t->memory, (size_t)count, size), "batch");
    fam_free(&t->memory, old);
    memcpy(place, &grown, sizeof grown);
done:
    return status;
}

static fam_status reserve_round(fam_trainer *t, const fam_round_plan *plan, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_round *r = &t->round;
    int64_t documents = plan->passes * plan->sequences, tokens = documents * t->carry * plan->tokens;
    if (tokens > r->capacity) {
        r->capacity = 0;
        FAM_TRY(grow(t, &r->ids, tokens, sizeof *r->ids, error));
        FAM_TRY(grow(t, &r->weights, tokens, sizeof *r->weights, error));
        FAM_TRY(grow(t, &r->answers, tokens, sizeof *r->answers, error));
        r->capacity = tokens;
    }
    if (documents > r->document_capacity) {
        FAM_TRY(grow(t, &r->offsets, documents, sizeof *r->offsets, error));
        r->document_capacity = documents;
    }
    if (t->carry > 1 && t->state_elements > 0 && documents > r->states_capacity) {
        FAM_TRY(grow(t, &r->states, documents * t->state_elements, sizeof *r->states, error));
        FAM_TRY(grow(t, &r->next_states, documents * t->state_elements, sizeof *r->next_states, error));
        r->states_capacity = documents;
    }
done:
    return status;
}

fam_status fam_pass_buffers_reserve(fam_trainer *t, int64_t sequences, int64_t tokens, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_pass_buffers *b = &t->buffers;
    bool starts = t->state_elements > 0 && (t->carry > 1 || t->recipe->train.state_passing_probability > 0);
    if (sequences * tokens > b->capacity) {
        b->capacity = 0;
        FAM_TRY(grow(t, &b->ids, sequences * tokens, sizeof *b->ids, error));
        FAM_TRY(grow(t, &b->weights, sequences * tokens, sizeof *b->weights, error));
        b->capacity = sequences * tokens;
    }
    if (sequences > b->sequence_capacity) {
        b->sequence_capacity = 0;
        FAM_TRY(grow(t, &b->offsets, sequences, sizeof *b->offsets, error));
        FAM_TRY(grow(t, &b->given, sequences, sizeof *b->given, error));
        b->sequence_capacity = sequences;
    }
    if (starts && sequences > b->states_capacity) {
        FAM_TRY(grow(t, &b->states, sequences * t->state_elements, sizeof *b->states, error));
        FAM_TRY(grow(t, &b->finals, sequences * t->state_elements, sizeof *b->finals, error));
        b->states_capacity = sequences;
    }
done:
    return status;
}

fam_status fam_trainer_pass(fam_trainer *t, int64_t sequences, int64_t tokens, bool backward, fam_error *error)
{
    fam_status status = FAM_OK;
    if (t->pass && backward && t->pass_sequences == sequences && t->pass_tokens == tokens)
        return FAM_OK;
    fam_training_free(t->pass);
    t->pass = NULL;
    const fam_training_options options = {.sequences = sequences, .tokens = tokens,
                                          .recompute = (fam_recompute)t->recipe->train.recompute,
                                          .stop_gradient_segments = t->recipe->train.stop_gradient_segments,
                                          .backward = backward};
    FAM_TRY(fam_training_create(&t->pass, t->parts.model, &options, error));
    t->pass_sequences = backward ? sequences : 0; /* a pass without a way back is never taken for a step's */
    t->pass_tokens = tokens;
done:
    return status;
}

/* ---- the round ---------------------------------------------------------------------------------------------------- */

/* RPO: uniform in [0, 2 pi theta), and 0 half the time (spec section 6). */
static void draw_offsets(fam_trainer *t, int64_t documents, int64_t step)
{
    fam_random random = fam_plan_random(t->recipe, step, FAM_PURPOSE_OFFSET);
    double span = 2 * 3.14159265358979323846 * t->parts.model->config.rope_theta;
    for (int64_t i = 0; i < documents; i++) {
        double zero = fam_random_uniform(&random), where = fam_random_uniform(&random);
        t->round.offsets[i] = t->recipe->train.random_position_offset && zero >= 0.5 ? (int64_t)(where * span) : 0;
    }
}

/* A drawing that failed goes on with the document that it failed at: nothing has to be put back. */
fam_status fam_trainer_draw_round(fam_trainer *t, const fam_round_plan *plan, int64_t first_step, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_round *r = &t->round;
    if (!r->begun) {
        uint8_t *place = NULL;
        size_t place_size = 0;
        FAM_TRY(reserve_round(t, plan, error));
        FAM_TRY(fam_source_save(t->source, &place, &place_size, error));
        fam_free(&t->memory, r->place);
        r->place = place;
        r->place_size = place_size;
        r->plan = *plan;
        r->part = r->count = 0;
        draw_offsets(t, plan->passes * plan->sequences, first_step);
        r->begun = true;
    }
    int64_t documents = r->plan.passes * r->plan.sequences, length = t->carry * r->plan.tokens;
    for (; r->count < documents; r->count++) {
        int64_t at = r->count * length;
        fam_sequence sequence = {.ids = r->ids + at, .weights = r->weights + at, .answers = r->answers + at};
        FAM_TRY(fam_source_next(t->source, length, &sequence, error));
    }
    r->drawn = true;
done:
    return status;
}

/* ---- passes ------------------------------------------------------------------------------------------------------- */

/* What the passes of a step add up to. */
typedef struct sums {
    double loss, weight;
    int64_t answers, hits;
} sums;

static const float *slice_of(const fam_trainer *t, const float *all, int64_t document)
{
    int64_t tokens = t->round.plan.tokens;
    return all + (document * t->carry + t->round.part) * tokens;
}

/* Where the sequences of a pass start: parts of a document go on from its state; else RSP draws for each. */
static bool fill_starts(fam_trainer *t, int64_t pass, fam_random *passing)
{
    fam_round *r = &t->round;
    fam_pass_buffers *b = &t->buffers;
    const fam_recipe *recipe = t->recipe;
    bool any = false;
    bool carried = r->part > 0 && t->state_elements > 0;
    bool passes_state = t->has_passed_state && t->step >= recipe->train.state_passing_start;
    for (int64_t i = 0; i < r->plan.sequences; i++) {
        bool drawn = fam_random_uniform(passing) < recipe->train.state_passing_probability;
        b->given[i] = carried || (passes_state && drawn);
        any = any || b->given[i];
        if (b->given[i])
            memcpy(b->states + i * t->state_elements,
                   carried ? r->states + (pass * r->plan.sequences + i) * t->state_elements : t->passed_state,
                   (size_t)t->state_elements * sizeof(float));
    }
    return any;
}

static fam_training_batch fill_batch(fam_trainer *t, int64_t pass, fam_random *passing, uint64_t noise_seed)
{
    fam_round *r = &t->round;
    fam_pass_buffers *b = &t->buffers;
    int64_t tokens = r->plan.tokens;
    for (int64_t i = 0; i < r->plan.sequences; i++) {
        int64_t document = pass * r->plan.sequences + i, at = (document * t->carry + r->part) * tokens;
        memcpy(b->ids + i * tokens, r->ids + at, (size_t)tokens * sizeof *b->ids);
        memcpy(b->weights + i * tokens, r->weights + at, (size_t)tokens * sizeof *b->weights);
        b->offsets[i] = r->offsets[document] + r->part * tokens;
    }
    bool any = fill_starts(t, pass, passing);
    bool noise = t->step >= t->recipe->train.state_noise_start;
    return (fam_training_batch){.ids = b->ids, .weights = b->weights, .offsets = b->offsets,
                                .start_states = any ? b->states : NULL, .given = any ? b->given : NULL,
                                .state_noise = noise ? t->recipe->train.state_noise : 0, .noise_seed = noise_seed};
}

/* The sum of the weights of all predictions of the step: known before its first pass, as it scales the gradients. */
static double weights_of_step(const fam_trainer *t)
{
    int64_t documents = t->round.plan.passes * t->round.plan.sequences, tokens = t->round.plan.tokens;
    double sum = 0;
    for (int64_t i = 0; i < documents; i++) {
        const float *weights = slice_of(t, t->round.weights, i);
        for (int64_t k = 1; k < tokens; k++)
            sum += (double)weights[k];
    }
    return sum;
}

static void count_answers(const fam_trainer *t, int64_t pass, sums *s)
{
    const bool *hits = fam_training_hits(t->pass);
    int64_t tokens = t->round.plan.tokens;
    for (int64_t i = 0; i < t->round.plan.sequences; i++) {
        int64_t document = pass * t->round.plan.sequences + i;
        const uint8_t *answers = t->round.answers + (document * t->carry + t->round.part) * tokens;
        for (int64_t k = 1; k < tokens; k++) {
            s->answers += answers[k];
            s->hits += answers[k] && hits[i * tokens + k];
        }
    }
}

static bool all_finite(const float *x, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

/* What the pass leaves for the next step: to the next part of its documents, and (the first pass) to RSP. */
static void keep_states(fam_trainer *t, int64_t pass, float *passed)
{
    const fam_round *r = &t->round;
    bool carries = r->part + 1 < t->carry, passes = passed && pass == 0;
    int64_t elements = r->plan.sequences * t->state_elements;
    if (t->state_elements == 0 || !(carries || passes))
        return;
    fam_training_final_states(t->pass, t->buffers.finals);
    if (carries)
        memcpy(r->next_states + pass * elements, t->buffers.finals, (size_t)elements * sizeof(float));
    if (passes)
        memcpy(passed, t->buffers.finals, (size_t)t->state_elements * sizeof(float));
}

static fam_status run_passes(fam_trainer *t, double weight_sum, float *passed, sums *s, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_round *r = &t->round;
    fam_random passing = fam_plan_random(t->recipe, t->step, FAM_PURPOSE_PASSING),
               noise = fam_plan_random(t->recipe, t->step, FAM_PURPOSE_NOISE);
    for (int64_t pass = 0; pass < r->plan.passes; pass++) {
        double loss, weight;
        FAM_FAIL_IF(t->options.cancelled && t->options.cancelled(t->options.context), FAM_STATUS_STOPPED,
                    "step %lld: given up, as was asked", (long long)t->step + 1);
        const fam_training_batch batch = fill_batch(t, pass, &passing, fam_random_next(&noise));
        FAM_TRY(fam_training_forward(t->pass, &batch, &loss, &weight, error));
        s->loss += loss;
        s->weight += weight;
        count_answers(t, pass, s);
        keep_states(t, pass, passed);
        if (isfinite(loss) && weight_sum > 0)
            FAM_TRY(fam_training_backward(t->pass, t->gradients, 1 / weight_sum, error));
    }
done:
    return status;
}

/* ---- the step ----------------------------------------------------------------------------------------------------- */

/* The optimizer, unless the loss is not finite or nothing has weight. */
static fam_status optimize(fam_trainer *t, const sums *s, fam_step_metrics *m, fam_error *error)
{
    fam_step_result result = {.gradient_norm = NAN};
    const fam_recipe *recipe = t->recipe;
    double prompt_peak = recipe->optimizer.prompt_learning_rate < 0 ? recipe->optimizer.learning_rate
                                                                    : recipe->optimizer.prompt_learning_rate;
    m->rate = fam_plan_rate(recipe, &t->curriculum, recipe->optimizer.learning_rate, t->step);
    m->prompt_rate = fam_plan_rate(recipe, &t->curriculum, prompt_peak, t->step);
    m->skipped = !isfinite(s->loss);
    if (m->skipped || !(s->weight > 0))
        return FAM_OK;
    fam_status status =
        fam_optimizer_step(t->optimizer, fam_training_exec(t->pass), m->rate, m->prompt_rate, &result, error);
    m->gradient_norm = result.gradient_norm;
    m->clipped = result.clipped;
    m->skipped = result.skipped;
    return status;
}

/* The run has made a step. */
static void advance(fam_trainer *t, const float *passed, fam_step_metrics *m)
{
    fam_round *r = &t->round;
    t->step++;
    t->tokens += m->tokens;
    t->bad_in_row = m->skipped ? t->bad_in_row + 1 : 0;
    t->bad_total += m->skipped;
    if (passed && all_finite(passed, t->state_elements)) {
        memcpy(t->passed_state, passed, (size_t)t->state_elements * sizeof(float));
        t->has_passed_state = true;
    }
    /* A state that is not finite would spoil the document's other parts: it is given up. */
    bool whole = t->carry == 1 || r->part + 1 == t->carry || t->state_elements == 0 ||
                 all_finite(r->next_states, r->plan.passes * r->plan.sequences * t->state_elements);
    float *states = r->states;
    r->states = r->next_states;
    r->next_states = states;
    if (++r->part >= t->carry || !whole) {
        r->begun = r->drawn = false;
        r->part = 0;
    }
    m->promoted = fam_curriculum_add(&t->curriculum, t->recipe, m->blocks, m->accuracy, t->step);
    m->level = t->recipe->curriculum.on ? t->curriculum.level : 0;
    m->step = t->step;
    m->bad_in_row = t->bad_in_row;
    m->bad_total = t->bad_total;
}

fam_status fam_trainer_update(fam_trainer *t, fam_step_metrics *m, fam_error *error)
{
    fam_status status = FAM_OK;
    double began = fam_seconds_now();
    sums s = {0};
    float *passed = NULL;
    *m = (fam_step_metrics){.gradient_norm = NAN};
    const fam_round_plan fresh = fam_plan_round(t->recipe, t->block_size, &t->curriculum, t->step);
    const fam_round_plan *plan = t->round.drawn ? &t->round.plan : &fresh;
    FAM_TRY(fam_pass_buffers_reserve(t, plan->sequences, plan->tokens, error));
    FAM_TRY(fam_trainer_pass(t, plan->sequences, plan->tokens, true, error)); /* what may lack memory, before the work */
    if (!t->round.drawn)
        FAM_TRY(fam_trainer_draw_round(t, &fresh, t->step, error));
    if (t->passed_state)
        FAM_TRY_ALLOC(passed, fam_alloc_array(&t->memory, (size_t)t->state_elements, sizeof *passed), "state");
    fam_gradients_clear(t->gradients, fam_training_exec(t->pass));
    double weight_sum = weights_of_step(t);
    FAM_TRY(run_passes(t, weight_sum, passed, &s, error));
    FAM_TRY(optimize(t, &s, m, error));
    m->loss = fam_or_nan(s.loss, s.weight);
    m->accuracy = fam_or_nan((double)s.hits, (double)s.answers);
    m->answer_tokens = s.answers;
    m->blocks = plan->blocks;
    m->tokens = plan->passes * plan->sequences * plan->tokens;
    advance(t, passed, m);
    m->seconds = fam_seconds_now() - began;
done:
    fam_free(&t->memory, passed);
    return status;
}
