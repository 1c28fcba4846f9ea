/*
 * model/training_backward.c: the way back through a batch, layer by layer from the top, within a layer span by span
 * from the last, and within a span through the state from its last block to its first.
 */
#include "model/training_private.h"

static void attend_back(fam_training *t, int64_t count)
{
    fam_attention_shape shape = fam_layer_attention_shape(t->model);
    t->exec->backend->ops->attention_backward(t->exec, t->backward_jobs, (int)count, &shape);
}

/* Elements of the keys of all sequences, `rows` of each. */
static int64_t key_elements(const fam_training *t, int64_t rows)
{
    return t->sequences * t->model->config.kv_heads * rows * t->model->config.head_dim;
}

/* ---- rows --------------------------------------------------------------------------------------------------------- */

/* Gradients of rows of all sequences: queries in row order (NULL: none), keys from row `first` of `total` on. */
typedef struct back_rows {
    const float *dq, *dk, *dv;
    int64_t n, sequences, first, total;
    fam_rope_rows q_rope, k_rope;
} back_rows;

/* dx [n, E] (NULL: not wanted) += what flows back from queries, keys and values through the projections. */
static void project_back(fam_training *t, fam_gradients *gradients, int64_t layer, const float *x, const back_rows *r,
                         float *dx)
{
    const fam_backend_ops *ops = t->exec->backend->ops;
    const fam_model_config *c = &t->model->config;
    int64_t heads = c->heads, kv_heads = c->kv_heads, width = c->head_dim, half = width / 2, rows = r->n / r->sequences;
    fam_head_layout q_layout = {.row_stride = heads * width, .head_stride = width};
    fam_head_layout k_layout = {.row_stride = width, .head_stride = r->total * width};
    if (r->dq)
        ops->rope_backward(t->exec, t->dq_rows, r->dq, q_layout, r->q_rope.cos, r->q_rope.sin, r->n, heads, width);
    else
        ops->zero(t->exec, t->dq_rows, (size_t)(r->n * heads * width) * sizeof(float));
    for (int64_t b = 0; b < r->sequences; b++) {
        int64_t at = (b * kv_heads * r->total + r->first) * width, row = b * rows, to = row * kv_heads * width;
        ops->rope_backward(t->exec, t->dk_rows + to, r->dk + at, k_layout, r->k_rope.cos + row * half,
                           r->k_rope.sin + row * half, rows, kv_heads, width);
        ops->rope_backward(t->exec, t->dv_rows + to, r->dv + at, k_layout, NULL, NULL, rows, kv_heads, width);
    }
    fam_layer_project_backward(t->exec, t->model, layer, gradients, &t->backward_scratch, dx, x, t->dq_rows, t->dk_rows,
                               t->dv_rows, r->n);
}

/* dx (d of the layer's result) becomes d of what went into the residual; t->dattended is d of the attention's result. */
static void finish_back(fam_training *t, fam_gradients *gradients, int64_t layer, const fam_rows_tape *tape, int64_t n,
                        float *dx)
{
    fam_layer_feed_forward_backward(t->exec, t->model, layer, gradients, &t->backward_scratch, dx, tape->mid,
                                    tape->gate, tape->up, n);
    fam_layer_attended_backward(t->exec, t->model, layer, gradients, &t->backward_scratch, t->dattended, dx,
                                tape->attended, n);
}

/* ---- the state ---------------------------------------------------------------------------------------------------- */

/* t->dupdate = what flows from t->dstate (d of the rescaled state) to the state before it was rescaled; what flows to
 * kappa is gathered. The noise counts as given. */
static void rescale_back(fam_training *t, int64_t layer, const fam_rows_tape *tape)
{
    const fam_model *model = t->model;
    fam_backend *backend = t->exec->backend;
    int64_t n = fam_training_state_rows(t), width = model->config.hidden_size;
    bool given = model->state_norm == FAM_STATE_NORM_RMS_INIT;
    if (model->state_norm == FAM_STATE_NORM_NONE)
        backend->ops->copy(backend, t->dupdate, t->dstate, (size_t)(n * width) * sizeof(float));
    else
        backend->ops->rescale_rows_backward(t->exec, t->dupdate, given ? t->dkappa : NULL, t->dstate, tape->raw,
                                            given ? t->kappa + layer * n : NULL, n, width);
}

/* t->dstate: d of the state that block `block` made becomes d of the state that it read. What its tokens gave to that
 * state's keys is in t->dstate_k and t->dstate_v. */
static void block_back(fam_training *t, fam_gradients *gradients, int64_t layer, int64_t block)
{
    const fam_backend_ops *ops = t->exec->backend->ops;
    const fam_rows_tape tape = fam_training_state(t, layer, block);
    int64_t n = fam_training_state_rows(t), elements = n * t->model->config.hidden_size, part = elements / t->sequences;
    bool updated = block + 1 < t->readers; /* its update made a state that somebody read */
    if (updated) {
        rescale_back(t, layer, &tape);
        finish_back(t, gradients, layer, &tape, n, t->dupdate);
        fam_training_update_jobs(t, layer, block);
        attend_back(t, t->sequences);
        ops->zero(t->exec, t->dstate, (size_t)elements * sizeof(float));
        for (int64_t b = 0; b < t->sequences; b++)
            if (fam_training_has_residual(t, block, b))
                ops->add(t->exec, t->dstate + b * part, t->dupdate + b * part, part);
    }
    const back_rows rows = {.dq = updated ? t->dstate_q : NULL,
                            .dk = fam_training_dstate_key(t, t->dstate_k, block),
                            .dv = fam_training_dstate_key(t, t->dstate_v, block),
                            .n = n,
                            .sequences = t->sequences,
                            .total = t->model->window.fam_length,
                            .q_rope = fam_training_state_rope(t, block + 1),
                            .k_rope = fam_training_state_rope(t, block)};
    project_back(t, gradients, layer, tape.x, &rows, t->dstate);
}

/* What the first states and kappa give to P^layer. */
static void first_state_back(fam_training *t, int64_t layer)
{
    const fam_backend_ops *ops = t->exec->backend->ops;
    int64_t rows = t->model->window.fam_length, width = t->model->config.hidden_size, elements = rows * width;
    float *dinitial = t->dinitial + layer * elements;
    for (int64_t b = 0; b < t->sequences; b++)
        if (!fam_training_given(t, b))
            ops->add(t->exec, dinitial, t->dstate + b * elements, elements);
    for (int64_t b = 1; b < t->sequences; b++)
        ops->add(t->exec, t->dkappa, t->dkappa + b * rows, rows);
    ops->row_rms_backward(t->exec, dinitial, t->dkappa, fam_training_prompt(t, layer).x, rows, width);
}

/* ---- the batch ---------------------------------------------------------------------------------------------------- */

static void span_back(fam_training *t, fam_gradients *gradients, int64_t layer, const fam_training_span *span)
{
    const fam_backend_ops *ops = t->exec->backend->ops;
    const fam_model *model = t->model;
    const fam_rows_tape tape = fam_training_tokens(t, layer, span);
    float *dx = t->dx + span->row * model->config.hidden_size;
    finish_back(t, gradients, layer, &tape, span->rows, dx);
    if (t->fam) {
        size_t bytes = (size_t)(t->state_slots * key_elements(t, model->window.fam_length)) * sizeof(float);
        ops->zero(t->exec, t->dstate_k, bytes);
        ops->zero(t->exec, t->dstate_v, bytes);
    }
    attend_back(t, fam_training_token_jobs(t, layer, span));
    for (int64_t block = span->blocks_end - 1; t->fam && block >= span->blocks_begin; block--)
        block_back(t, gradients, layer, block);
    bool embeds = layer > 0 || gradients->embeddings; /* else nobody asks for d of the embeddings */
    if (!embeds && gradients->trained == FAM_TRAIN_PROMPT)
        return;
    fam_rope_rows rope = fam_training_token_rope(t, span);
    const back_rows rows = {.dq = t->dq,
                            .dk = t->dk,
                            .dv = t->dv,
                            .n = span->rows,
                            .sequences = t->sequences,
                            .first = span->start,
                            .total = t->tokens,
                            .q_rope = rope,
                            .k_rope = rope};
    project_back(t, gradients, layer, tape.x, &rows, embeds ? dx : NULL);
}

static void layer_back(fam_training *t, fam_gradients *gradients, int64_t layer)
{
    const fam_backend_ops *ops = t->exec->backend->ops;
    size_t bytes = (size_t)key_elements(t, t->tokens) * sizeof(float), state_rows = (size_t)fam_training_state_rows(t);
    fam_recompute recompute = t->options.recompute;
    if (recompute != FAM_RECOMPUTE_NONE)
        fam_training_project_again(t, layer);
    for (int64_t s = 0; recompute == FAM_RECOMPUTE_LAYER && s < t->spans; s++) {
        const fam_training_span span = fam_training_span_at(t, s);
        fam_training_span_again(t, layer, &span);
    }
    ops->zero(t->exec, t->dk, bytes);
    ops->zero(t->exec, t->dv, bytes);
    if (t->fam) {
        ops->zero(t->exec, t->dstate, state_rows * (size_t)t->model->config.hidden_size * sizeof(float));
        ops->zero(t->exec, t->dkappa, state_rows * sizeof(float));
    }
    for (int64_t s = t->spans - 1; s >= 0; s--) {
        const fam_training_span span = fam_training_span_at(t, s);
        if (recompute == FAM_RECOMPUTE_SPAN)
            fam_training_span_again(t, layer, &span);
        span_back(t, gradients, layer, &span);
    }
    if (t->fam)
        first_state_back(t, layer);
}

/* From d P^(L-1), ..., d P^0 that the states gave to d of the prompt. */
static void prompt_back(fam_training *t, fam_gradients *gradients)
{
    const fam_backend_ops *ops = t->exec->backend->ops;
    const fam_model *model = t->model;
    int64_t rows = model->window.fam_length, elements = rows * model->config.hidden_size;
    size_t bytes = (size_t)key_elements(t, rows) * sizeof(float);
    fam_rope_rows rope = {.cos = t->prompt_cos, .sin = t->prompt_sin};
    const back_rows flow = {.dq = t->dstate_q,
                            .dk = t->dstate_k,
                            .dv = t->dstate_v,
                            .n = rows,
                            .sequences = 1,
                            .total = rows,
                            .q_rope = rope,
                            .k_rope = rope};
    for (int64_t l = model->config.layers - 2; l >= 0; l--) {
        const fam_rows_tape tape = fam_training_prompt(t, l);
        float *dx = t->dinitial + (l + 1) * elements;
        if (t->options.recompute != FAM_RECOMPUTE_NONE)
            fam_training_prompt_again(t, l);
        finish_back(t, gradients, l, &tape, rows, dx);
        ops->zero(t->exec, t->dstate_k, bytes);
        ops->zero(t->exec, t->dstate_v, bytes);
        attend_back(t, fam_training_prompt_job(t, l));
        project_back(t, gradients, l, tape.x, &flow, dx);
        ops->add(t->exec, t->dinitial + l * elements, dx, elements);
    }
    ops->add(t->exec, gradients->prompt, t->dinitial, elements);
}

fam_status fam_training_backward(fam_training *t, fam_gradients *gradients, double scale, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_model *model = t->model;
    const fam_backend_ops *ops = t->exec->backend->ops;
    FAM_FAIL_IF(!t->options.backward, FAM_STATUS_INVALID_ARGUMENT,
                "training: gradients: found a pass made for forward only, need one with a way back");
    fam_training_loss_back(t, gradients, scale);
    if (t->fam)
        ops->zero(t->exec, t->dinitial,
                  (size_t)(model->config.layers * model->window.fam_length * model->config.hidden_size) *
                      sizeof(float));
    for (int64_t l = model->config.layers - 1; l >= 0; l--)
        layer_back(t, gradients, l);
    if (gradients->embeddings)
        ops->embed_backward(t->exec, gradients->embeddings, t->dx, t->ids, t->sequences * t->tokens,
                            model->config.hidden_size);
    if (t->fam)
        prompt_back(t, gradients);
    FAM_TRY(ops->finish(t->exec, error));
done:
    return status;
}
