/*
 * model/training_forward.c: a batch forward, layer by layer, span by span, keeping what the way back needs; and the
 * second time through a layer, for what was not kept.
 */
#include "model/training_private.h"

/* Projects rows of `sequences` sequences; keys from row `first` of `total` on. */
static void project(fam_training *t, int64_t layer, const fam_rows_tape *tape, int64_t n, int64_t sequences,
                    int64_t first, int64_t total, fam_rope_rows q_rope, fam_rope_rows k_rope)
{
    const fam_model *model = t->model;
    int64_t width = model->config.head_dim;
    size_t at = (size_t)(first * width) * fam_dtype_bytes(model->backend->dtype);
    const fam_key_place place = {.k = (char *)tape->k + at,
                                 .v = (char *)tape->v + at,
                                 .layout = {.row_stride = width, .head_stride = total * width},
                                 .sequences = sequences,
                                 .sequence_stride = model->config.kv_heads * total * width};
    fam_layer_project(t->exec, model, &model->layers[layer], &t->forward_scratch, tape->x, n, q_rope, k_rope, tape->q,
                      &place);
}

static void attend(fam_training *t, int64_t count)
{
    fam_attention_shape shape = fam_layer_attention_shape(t->model);
    t->exec->backend->ops->attention(t->exec, t->jobs, (int)count, &shape);
}

/* tape->mid = Wo attended, still without a residual. */
static void project_attended(fam_training *t, int64_t layer, const fam_rows_tape *tape, int64_t n)
{
    fam_layer_add_attended(t->exec, &t->model->layers[layer], &t->forward_scratch, tape->mid, tape->attended, n, false);
}

static void make_gate_up(fam_training *t, int64_t layer, const fam_rows_tape *tape, int64_t n)
{
    t->forward_scratch.gate = tape->gate;
    t->forward_scratch.up = tape->up;
    fam_layer_gate_up(t->exec, t->model, &t->model->layers[layer], &t->forward_scratch, tape->mid, n);
}

/* out [n, E] = tape->mid + FF, gate and up being made; out may be tape->x. */
static void make_result(fam_training *t, int64_t layer, const fam_rows_tape *tape, int64_t n, float *out)
{
    fam_layer_down(t->exec, t->model, &t->model->layers[layer], &t->forward_scratch, out, n, false);
    t->exec->backend->ops->add(t->exec, out, tape->mid, n * t->model->config.hidden_size);
}

/* ---- the prompt's pass -------------------------------------------------------------------------------------------- */

/* Everything of the prompt's rows in a layer but the result. */
void fam_training_prompt_again(fam_training *t, int64_t layer)
{
    const fam_rows_tape tape = fam_training_prompt(t, layer);
    int64_t rows = t->model->window.fam_length;
    fam_rope_rows rope = {.cos = t->prompt_cos, .sin = t->prompt_sin};
    project(t, layer, &tape, rows, 1, 0, rows, rope, rope);
    attend(t, fam_training_prompt_job(t, layer));
    project_attended(t, layer, &tape, rows);
    t->exec->backend->ops->add(t->exec, tape.mid, tape.x, rows * t->model->config.hidden_size);
    make_gate_up(t, layer, &tape, rows);
}

/* P^0 ... P^(L-1) and their RMS: the weights change from step to step, so they are made anew (spec section 6). */
static void prompt_pass(fam_training *t)
{
    const fam_model *model = t->model;
    fam_backend *backend = t->exec->backend;
    int64_t rows = model->window.fam_length, width = model->config.hidden_size, layers = model->config.layers;
    backend->ops->copy(backend, fam_training_prompt(t, 0).x, model->initial_states,
                       (size_t)(rows * width) * sizeof(float));
    for (int64_t l = 0; l < layers; l++) {
        const fam_rows_tape tape = fam_training_prompt(t, l);
        float *kappa = t->kappa + l * fam_training_state_rows(t);
        backend->ops->row_rms(t->exec, kappa, tape.x, rows, width);
        for (int64_t b = 1; b < t->sequences; b++)
            backend->ops->copy(backend, kappa + b * rows, kappa, (size_t)rows * sizeof(float));
        if (l + 1 == layers)
            break;
        fam_training_prompt_again(t, l);
        make_result(t, l, &tape, rows, fam_training_prompt(t, l + 1).x);
    }
}

/* ---- the state ---------------------------------------------------------------------------------------------------- */

/* The queries, keys and values of the state that block `block` reads. */
static void project_state(fam_training *t, int64_t layer, int64_t block)
{
    const fam_rows_tape tape = fam_training_state(t, layer, block);
    project(t, layer, &tape, fam_training_state_rows(t), t->sequences, 0, t->model->window.fam_length,
            fam_training_state_rope(t, block + 1), fam_training_state_rope(t, block));
}

/* What each sequence's layer starts from. */
static void first_state(fam_training *t, int64_t layer)
{
    fam_backend *backend = t->exec->backend;
    int64_t elements = t->model->window.fam_length * t->model->config.hidden_size, layers = t->model->config.layers;
    float *state = fam_training_state(t, layer, 0).x;
    for (int64_t b = 0; b < t->sequences; b++) {
        size_t bytes = (size_t)elements * sizeof(float);
        if (fam_training_given(t, b))
            backend->ops->write(backend, state + b * elements, t->batch.start_states + (b * layers + layer) * elements,
                                bytes);
        else
            backend->ops->copy(backend, state + b * elements, fam_training_prompt(t, layer).x, bytes);
    }
}

/* Up to the feed-forward's middle. */
static void begin_update(fam_training *t, int64_t layer, int64_t update)
{
    const fam_backend_ops *ops = t->exec->backend->ops;
    const fam_rows_tape tape = fam_training_state(t, layer, update);
    int64_t n = fam_training_state_rows(t), elements = n / t->sequences * t->model->config.hidden_size;
    attend(t, fam_training_update_jobs(t, layer, update));
    project_attended(t, layer, &tape, n);
    for (int64_t b = 0; b < t->sequences; b++)
        if (fam_training_has_residual(t, update, b))
            ops->add(t->exec, tape.mid + b * elements, tape.x + b * elements, elements);
    make_gate_up(t, layer, &tape, n);
}

static void update_state(fam_training *t, int64_t layer, int64_t update)
{
    const fam_model *model = t->model;
    fam_backend *backend = t->exec->backend;
    int64_t width = model->config.hidden_size, n = fam_training_state_rows(t);
    const fam_rows_tape tape = fam_training_state(t, layer, update);
    float *next = fam_training_state(t, layer, update + 1).x;
    begin_update(t, layer, update);
    if (model->state_norm == FAM_STATE_NORM_NONE) {
        make_result(t, layer, &tape, n, next);
    } else {
        make_result(t, layer, &tape, n, tape.raw);
        backend->ops->copy(backend, next, tape.raw, (size_t)(n * width) * sizeof(float));
        backend->ops->rescale_rows(
            t->exec, next, model->state_norm == FAM_STATE_NORM_RMS_INIT ? t->kappa + layer * n : NULL, n, width);
    }
    if (t->batch.state_noise != 0)
        backend->ops->add_noise(t->exec, next, t->batch.state_noise,
                                fam_training_noise_seed(t->batch.noise_seed, layer, update), n, width);
    if (update + 1 < t->readers)
        project_state(t, layer, update + 1);
}

/* ---- tokens ------------------------------------------------------------------------------------------------------- */

static void project_tokens(fam_training *t, int64_t layer, const fam_training_span *span)
{
    const fam_rows_tape tape = fam_training_tokens(t, layer, span);
    fam_rope_rows rope = fam_training_token_rope(t, span);
    project(t, layer, &tape, span->rows, t->sequences, span->start, t->tokens, rope, rope);
}

/* Up to the feed-forward's middle. */
static void begin_tokens(fam_training *t, int64_t layer, const fam_training_span *span)
{
    const fam_rows_tape tape = fam_training_tokens(t, layer, span);
    attend(t, fam_training_token_jobs(t, layer, span));
    project_attended(t, layer, &tape, span->rows);
    t->exec->backend->ops->add(t->exec, tape.mid, tape.x, span->rows * t->model->config.hidden_size);
    make_gate_up(t, layer, &tape, span->rows);
}

static void span_forward(fam_training *t, int64_t layer, const fam_training_span *span)
{
    const fam_rows_tape tape = fam_training_tokens(t, layer, span);
    project_tokens(t, layer, span);
    if (t->fam && span->start == 0) {
        first_state(t, layer);
        project_state(t, layer, 0);
    }
    for (int64_t u = span->blocks_begin; t->fam && u < fam_min_i64(span->blocks_end, t->updates); u++)
        update_state(t, layer, u);
    begin_tokens(t, layer, span);
    make_result(t, layer, &tape, span->rows, fam_training_x(t, layer + 1, span->row));
}

void fam_training_project_again(fam_training *t, int64_t layer)
{
    for (int64_t s = 0; s < t->spans; s++) {
        const fam_training_span span = fam_training_span_at(t, s);
        project_tokens(t, layer, &span);
    }
}

void fam_training_span_again(fam_training *t, int64_t layer, const fam_training_span *span)
{
    for (int64_t block = span->blocks_begin; t->fam && block < span->blocks_end; block++) {
        const fam_rows_tape tape = fam_training_state(t, layer, block);
        project_state(t, layer, block);
        if (block + 1 >= t->readers) /* nobody read what its update made */
            continue;
        begin_update(t, layer, block);
        if (tape.raw)
            make_result(t, layer, &tape, fam_training_state_rows(t), tape.raw);
    }
    begin_tokens(t, layer, span);
}

/* ---- the batch ---------------------------------------------------------------------------------------------------- */

/* Puts the batch in row order, and makes the tables of all positions. */
static void take_batch(fam_training *t)
{
    const fam_model *model = t->model;
    const fam_window *window = &model->window;
    const fam_training_batch *batch = &t->batch;
    const fam_backend_ops *ops = t->exec->backend->ops;
    int64_t half = model->config.head_dim / 2, n = t->sequences * t->tokens, rows = window->fam_length;
    for (int64_t row = 0; row < n; row++) {
        int64_t b, i;
        fam_training_place(t, row, &b, &i);
        int64_t at = b * t->tokens + i;
        bool last = i + 1 == t->tokens;
        t->ids[row] = batch->ids[at];
        t->targets[row] = last ? 0 : batch->ids[at + 1];
        t->weights[row] = last ? 0 : batch->weights[at + 1];
        t->positions[row] = (double)(batch->offsets[b] + i);
    }
    ops->rope_table(t->exec, t->cos, t->sin, t->positions, model->inverse_frequencies, n, half);
    if (!t->fam)
        return;
    for (int64_t block = 0; block < t->updates + 2; block++)
        for (int64_t b = 0; b < t->sequences; b++)
            for (int64_t i = 0; i < rows; i++)
                t->positions[(block * t->sequences + b) * rows + i] =
                    fam_state_position(window, block, i, batch->offsets[b]);
    ops->rope_table(t->exec, t->state_cos, t->state_sin, t->positions, model->inverse_frequencies,
                    (t->updates + 2) * fam_training_state_rows(t), half);
    for (int64_t i = 0; i < rows; i++)
        t->positions[i] = fam_state_position(window, 0, i, 0);
    ops->rope_table(t->exec, t->prompt_cos, t->prompt_sin, t->positions, model->inverse_frequencies, rows, half);
}

/* For all numbers of rows that go through a layer or the head at once. */
static fam_status prepare(fam_training *t, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_model *model = t->model;
    const fam_backend_ops *ops = t->exec->backend->ops;
    int64_t all = t->sequences * t->tokens, state = fam_training_state_rows(t),
            counts[] = {t->sequences * t->span, fam_training_span_at(t, t->spans - 1).rows, state,
                        model->window.fam_length},
            logits[] = {t->logit_rows_max, all % t->logit_rows_max};
    bool back = t->options.backward;
    FAM_FAIL_IF(!ops->matmul_backward, FAM_STATUS_UNSUPPORTED, "training: found device %s, which cannot train",
                ops->name);
    for (int64_t l = 0; l < model->config.layers; l++) {
        for (int i = 0; i < (t->fam ? 4 : 2); i++) {
            FAM_TRY(fam_layer_prepare(t->exec, &model->layers[l], counts[i], error));
            if (back)
                FAM_TRY(fam_layer_prepare_backward(t->exec, &model->layers[l], counts[i], error));
        }
    }
    for (int i = 0; i < 2; i++) {
        if (logits[i] == 0)
            continue;
        FAM_TRY(fam_linear_prepare(t->exec, &model->head, logits[i], error));
        if (back)
            FAM_TRY(ops->prepare_backward(t->exec, model->head.weight, logits[i], error));
    }
done:
    return status;
}

fam_status fam_training_forward(fam_training *t, const fam_training_batch *batch, double *loss_sum, double *weight_sum,
                                fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_model *model = t->model;
    t->batch = *batch;
    FAM_TRY(prepare(t, error));
    take_batch(t);
    if (t->fam)
        prompt_pass(t);
    t->exec->backend->ops->embed(t->exec, t->token.x, model->embeddings, t->ids, t->sequences * t->tokens);
    for (int64_t l = 0; l < model->config.layers; l++) {
        for (int64_t s = 0; s < t->spans; s++) {
            const fam_training_span span = fam_training_span_at(t, s);
            span_forward(t, l, &span);
        }
    }
    FAM_TRY(fam_training_loss(t, loss_sum, weight_sum, error));
done:
    return status;
}
