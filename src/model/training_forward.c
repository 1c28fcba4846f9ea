/*
 * model/training_forward.c: a batch forward, layer by layer, keeping what the way back needs.
 */
#include <string.h>

#include "model/training_private.h"

/* Projects rows of all sequences: queries in row order, keys of each sequence in its place. */
static void project(fam_training *t, int64_t layer, const fam_rows_tape *tape, int64_t sequences, int64_t rows,
                    fam_rope_rows q_rope, fam_rope_rows k_rope)
{
    const fam_backend_ops *ops = t->exec->backend->ops;
    const fam_model *model = t->model;
    const fam_model_config *c = &model->config;
    fam_rows_scratch *scratch = &t->forward_scratch;
    int64_t n = sequences * rows, heads = c->heads, kv_heads = c->kv_heads, width = c->head_dim, half = width / 2;
    const fam_layer *l = &model->layers[layer];
    ops->rms_norm(t->exec, scratch->normed, tape->x, l->norm1, c->rms_norm_eps, n, c->hidden_size);
    fam_linear_job jobs[] = {{.linear = &l->q, .out = scratch->q},
                             {.linear = &l->k, .out = scratch->k},
                             {.linear = &l->v, .out = scratch->v}};
    fam_linear_forward(t->exec, jobs, 3, scratch->normed, n, scratch->lora);
    fam_head_layout q_layout = {.row_stride = heads * width, .head_stride = width};
    fam_head_layout k_layout = {.row_stride = width, .head_stride = rows * width};
    ops->rope(t->exec, tape->q, q_layout, scratch->q, q_rope.cos, q_rope.sin, n, heads, width);
    for (int64_t b = 0; b < sequences; b++) {
        size_t at = fam_training_kv_bytes(t, rows, b);
        int64_t first = b * rows * kv_heads * width;
        ops->rope(t->exec, (char *)tape->k + at, k_layout, scratch->k + first, k_rope.cos + b * rows * half,
                  k_rope.sin + b * rows * half, rows, kv_heads, width);
        ops->rope(t->exec, (char *)tape->v + at, k_layout, scratch->v + first, NULL, NULL, rows, kv_heads, width);
    }
}

/* out [n, E] = the layer's result for rows whose attention is done and whose residual lies in tape->mid; mid, gate and up
 * are kept. */
static void finish(fam_training *t, int64_t layer, const fam_rows_tape *tape, int64_t n, float *out)
{
    fam_backend *backend = t->exec->backend;
    fam_rows_scratch *scratch = &t->forward_scratch;
    const fam_layer *l = &t->model->layers[layer];
    size_t bytes = (size_t)(n * t->model->config.hidden_size) * sizeof(float);
    scratch->gate = tape->gate;
    scratch->up = tape->up;
    fam_layer_add_attended(t->exec, l, scratch, tape->mid, tape->attended, n, true);
    backend->ops->copy(backend, out, tape->mid, bytes);
    fam_layer_add_feed_forward(t->exec, t->model, l, scratch, out, n);
}

static void attend(fam_training *t, int64_t count)
{
    fam_attention_shape shape = fam_layer_attention_shape(t->model);
    t->exec->backend->ops->attention(t->exec, t->jobs, (int)count, &shape);
}

/* ---- positions ---------------------------------------------------------------------------------------------------- */

static void make_tables(fam_training *t)
{
    const fam_model *model = t->model;
    const fam_window *window = &model->window;
    const fam_backend_ops *ops = t->exec->backend->ops;
    int64_t half = model->config.head_dim / 2, rows = window->fam_length;
    for (int64_t b = 0; b < t->sequences; b++)
        for (int64_t i = 0; i < t->tokens; i++)
            t->positions[b * t->tokens + i] = (double)(t->batch.offsets[b] + i);
    ops->rope_table(t->exec, t->cos, t->sin, t->positions, model->inverse_frequencies, t->sequences * t->tokens, half);
    if (window->mode != FAM_MODE_FAM)
        return;
    for (int64_t block = 0; block < t->updates + 2; block++)
        for (int64_t b = 0; b < t->sequences; b++)
            for (int64_t i = 0; i < rows; i++)
                t->positions[(block * t->sequences + b) * rows + i] =
                    fam_state_position(window, block, i, t->batch.offsets[b]);
    ops->rope_table(t->exec, t->state_cos, t->state_sin, t->positions, model->inverse_frequencies,
                    (t->updates + 2) * t->sequences * rows, half);
    for (int64_t i = 0; i < rows; i++)
        t->positions[i] = fam_state_position(window, 0, i, 0);
    ops->rope_table(t->exec, t->prompt_cos, t->prompt_sin, t->positions, model->inverse_frequencies, rows, half);
}

/* ---- the prompt's pass -------------------------------------------------------------------------------------------- */

/* P^0 ... P^(L-1) and their RMS: the weights change from step to step, so they are made anew (spec section 6). */
static void prompt_pass(fam_training *t)
{
    const fam_model *model = t->model;
    fam_backend *backend = t->exec->backend;
    int64_t rows = model->window.fam_length, width = model->config.hidden_size, layers = model->config.layers;
    fam_rope_rows rope = {.cos = t->prompt_cos, .sin = t->prompt_sin};
    backend->ops->copy(backend, t->prompt_tape[0].x, model->initial_states, (size_t)(rows * width) * sizeof(float));
    for (int64_t l = 0; l + 1 < layers; l++) {
        project(t, l, &t->prompt_tape[l], 1, rows, rope, rope);
        fam_training_prompt_job(t, l);
        attend(t, 1);
        backend->ops->copy(backend, t->prompt_tape[l].mid, t->prompt_tape[l].x, (size_t)(rows * width) * sizeof(float));
        finish(t, l, &t->prompt_tape[l], rows, t->prompt_tape[l + 1].x);
    }
    for (int64_t l = 0; l < layers; l++)
        backend->ops->row_rms(t->exec, t->prompt_rms + l * rows, t->prompt_tape[l].x, rows, width);
}

/* ---- the state ---------------------------------------------------------------------------------------------------- */

static void project_state(fam_training *t, int64_t layer, int64_t block)
{
    project(t, layer, fam_training_state(t, layer, block), t->sequences, t->model->window.fam_length,
            fam_training_state_rope(t, block + 1), fam_training_state_rope(t, block));
}

static int64_t model_layers(const fam_training *t)
{
    return t->model->config.layers;
}

/* What each sequence's layer starts from. */
static void first_state(fam_training *t, int64_t layer)
{
    fam_backend *backend = t->exec->backend;
    int64_t elements = t->model->window.fam_length * t->model->config.hidden_size;
    float *state = fam_training_state(t, layer, 0)->x;
    for (int64_t b = 0; b < t->sequences; b++) {
        if (fam_training_given(t, b))
            backend->ops->write(backend, state + b * elements, t->batch.start_states + (b * model_layers(t) + layer) * elements,
                                (size_t)elements * sizeof(float));
        else
            backend->ops->copy(backend, state + b * elements, t->prompt_tape[layer].x,
                               (size_t)elements * sizeof(float));
    }
}

static void update_state(fam_training *t, int64_t layer, int64_t update)
{
    const fam_model *model = t->model;
    fam_backend *backend = t->exec->backend;
    int64_t rows = model->window.fam_length, width = model->config.hidden_size, n = t->sequences * rows;
    const fam_rows_tape *tape = fam_training_state(t, layer, update);
    float *raw = fam_training_raw_state(t, layer, update), *next = fam_training_state(t, layer, update + 1)->x;
    attend(t, fam_training_update_jobs(t, layer, update));
    for (int64_t b = 0; b < t->sequences; b++) {
        size_t bytes = (size_t)(rows * width) * sizeof(float);
        if (fam_training_has_residual(t, update, b))
            backend->ops->copy(backend, tape->mid + b * rows * width, tape->x + b * rows * width, bytes);
        else
            backend->ops->zero(t->exec, tape->mid + b * rows * width, bytes);
    }
    finish(t, layer, tape, n, raw);
    backend->ops->copy(backend, next, raw, (size_t)(n * width) * sizeof(float));
    for (int64_t b = 0; model->state_norm != FAM_STATE_NORM_NONE && b < t->sequences; b++)
        backend->ops->rescale_rows(t->exec, next + b * rows * width,
                                   model->state_norm == FAM_STATE_NORM_RMS_INIT ? t->prompt_rms + layer * rows : NULL,
                                   rows, width);
    project_state(t, layer, update + 1);
}

/* ---- the batch ---------------------------------------------------------------------------------------------------- */

static void layer_forward(fam_training *t, int64_t layer)
{
    const fam_model *model = t->model;
    fam_rows_tape *tape = &t->token_tape[layer];
    fam_rope_rows rope = {.cos = t->cos, .sin = t->sin};
    project(t, layer, tape, t->sequences, t->tokens, rope, rope);
    if (model->window.mode == FAM_MODE_FAM) {
        first_state(t, layer);
        project_state(t, layer, 0);
        for (int64_t u = 0; u < t->updates; u++)
            update_state(t, layer, u);
    }
    attend(t, fam_training_token_jobs(t, layer));
    t->exec->backend->ops->copy(t->exec->backend, tape->mid, tape->x,
                                (size_t)(t->sequences * t->tokens * model->config.hidden_size) * sizeof(float));
    finish(t, layer, tape, t->sequences * t->tokens,
           layer + 1 < model->config.layers ? t->token_tape[layer + 1].x : t->final);
}

static fam_status prepare(fam_training *t, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_model *model = t->model;
    const fam_backend_ops *ops = t->exec->backend->ops;
    int64_t rows = model->window.fam_length, counts[3] = {t->sequences * t->tokens, t->sequences * rows, rows};
    int kinds = model->window.mode == FAM_MODE_FAM ? 3 : 1;
    FAM_FAIL_IF(!ops->matmul_backward, FAM_STATUS_UNSUPPORTED, "training: found device %s, which cannot train", ops->name);
    for (int64_t l = 0; l < model->config.layers; l++) {
        for (int i = 0; i < kinds; i++) {
            FAM_TRY(fam_layer_prepare(t->exec, &model->layers[l], counts[i], error));
            FAM_TRY(fam_layer_prepare_backward(t->exec, &model->layers[l], counts[i], error));
        }
    }
    for (int64_t n = 1; n <= FAM_TRAINING_LOGIT_ROWS; n++) {
        if (n != FAM_TRAINING_LOGIT_ROWS && n != (t->tokens - 1) % FAM_TRAINING_LOGIT_ROWS)
            continue;
        FAM_TRY(fam_linear_prepare(t->exec, &model->head, n, error));
        FAM_TRY(ops->prepare_backward(t->exec, model->head.weight, n, error));
    }
done:
    return status;
}

/* Adds the weighted nll of one sequence. */
static fam_status sequence_loss(fam_training *t, int64_t sequence, double *loss_sum, double *weight_sum,
                                fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_model *model = t->model;
    const fam_backend_ops *ops = t->exec->backend->ops;
    const int32_t *ids = t->batch.ids + sequence * t->tokens;
    const float *weights = t->batch.weights + sequence * t->tokens;
    int64_t width = model->config.hidden_size;
    for (int64_t i = 0; i + 1 < t->tokens; i += FAM_TRAINING_LOGIT_ROWS) {
        int64_t n = fam_min_i64(FAM_TRAINING_LOGIT_ROWS, t->tokens - 1 - i);
        ops->rms_norm(t->exec, t->logit_rows, t->final + (sequence * t->tokens + i) * width, model->final_norm,
                      model->config.rms_norm_eps, n, width);
        fam_linear_job head = {.linear = &model->head, .out = t->logits};
        fam_linear_forward(t->exec, &head, 1, t->logit_rows, n, NULL);
        ops->cross_entropy(t->exec, t->row_nll, t->logits, ids + i + 1, n, model->config.vocab_size);
        ops->row_best(t->exec, t->row_best, t->logits, n, model->config.vocab_size);
        FAM_TRY(ops->finish(t->exec, error));
        for (int64_t r = 0; r < n; r++) {
            t->nll[sequence * t->tokens + i + r + 1] = (float)t->row_nll[r];
            t->hits[sequence * t->tokens + i + r + 1] = t->row_best[r] == ids[i + r + 1];
            *loss_sum += (double)weights[i + r + 1] * t->row_nll[r];
            *weight_sum += (double)weights[i + r + 1];
        }
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
    make_tables(t);
    if (model->window.mode == FAM_MODE_FAM)
        prompt_pass(t);
    t->exec->backend->ops->embed(t->exec, t->token_tape[0].x, model->embeddings, batch->ids, t->sequences * t->tokens);
    for (int64_t l = 0; l < model->config.layers; l++)
        layer_forward(t, l);
    *loss_sum = *weight_sum = 0;
    for (int64_t b = 0; b < t->sequences; b++)
        FAM_TRY(sequence_loss(t, b, loss_sum, weight_sum, error));
done:
    return status;
}
