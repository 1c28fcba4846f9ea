/*
 * model/training_backward.c: the way back through a batch, layer by layer from the top, and within a layer through the
 * state from the last block to the first.
 */
#include "model/training_private.h"

/* ---- attention ---------------------------------------------------------------------------------------------------- */

/* Turns t->jobs [count] into their counterparts: queries' gradients in row order from dq, keys' into the given places. */
static void attend_back(fam_training *t, int64_t count)
{
    fam_attention_shape shape = fam_layer_attention_shape(t->model);
    t->exec->backend->ops->attention_backward(t->exec, t->backward_jobs, (int)count, &shape);
}

/* Elements of [B, G, rows, D] before sequence b. */
static int64_t kv_elements(const fam_training *t, int64_t rows, int64_t sequence)
{
    const fam_model_config *c = &t->model->config;
    return sequence * c->kv_heads * rows * c->head_dim;
}

static void set_gradient(fam_training *t, int64_t job, int range, float *dk, float *dv, int64_t rows)
{
    fam_attention_backward_job *b = &t->backward_jobs[job];
    b->gradients[range].dk = dk;
    b->gradients[range].dv = dv;
    b->gradients[range].head_stride = rows * t->model->config.head_dim;
}

/* The queries of the job begin at row `row` of dq. */
static void begin_job(fam_training *t, int64_t job, float *dq, int64_t row)
{
    int64_t at = row * t->model->config.heads * t->model->config.head_dim;
    t->backward_jobs[job] =
        (fam_attention_backward_job){.forward = &t->jobs[job], .dout = t->dattended + at, .dq = dq + at};
}

static float *state_gradient(const fam_training *t, float *all, int64_t block, int64_t sequence)
{
    int64_t rows = t->model->window.fam_length;
    return all + block * kv_elements(t, rows, t->sequences) + kv_elements(t, rows, sequence);
}

/* dq of all tokens; dk, dv of tokens and of the states that they read are added to. */
static void tokens_attend_back(fam_training *t, int64_t layer)
{
    const fam_window *window = &t->model->window;
    int64_t width = t->model->config.head_dim, rows = window->fam_length, count = 0;
    fam_training_token_jobs(t, layer);
    for (int64_t b = 0; b < t->sequences; b++) {
        for (int64_t begin = 0; begin < t->tokens;) {
            int64_t end = fam_piece_end(window, begin, t->tokens),
                    from = fam_max_i64(0, fam_oldest_visible(window, begin));
            int range = 0;
            begin_job(t, count, t->dq, b * t->tokens + begin);
            if (window->mode == FAM_MODE_FAM) {
                int64_t block = fam_block_of(window, begin);
                set_gradient(t, count, range++, state_gradient(t, t->dstate_k, block, b),
                             state_gradient(t, t->dstate_v, block, b), rows);
            }
            int64_t at = kv_elements(t, t->tokens, b) + from * width;
            set_gradient(t, count, range, t->dk + at, t->dv + at, t->tokens);
            count++;
            begin = end;
        }
    }
    attend_back(t, count);
}

static void update_attends_back(fam_training *t, int64_t layer, int64_t update)
{
    int64_t rows = t->model->window.fam_length, count = fam_training_update_jobs(t, layer, update);
    for (int64_t b = 0; b < count; b++) {
        int64_t at = kv_elements(t, t->tokens, b) +
                     fam_block_start(&t->model->window, update) * t->model->config.head_dim;
        begin_job(t, b, t->dstate_q, b * rows);
        set_gradient(t, b, 0, state_gradient(t, t->dstate_k, update, b), state_gradient(t, t->dstate_v, update, b), rows);
        set_gradient(t, b, 1, t->dk + at, t->dv + at, t->tokens);
    }
    attend_back(t, count);
}

/* ---- rows --------------------------------------------------------------------------------------------------------- */

/* dx [n, E] += what flows back from dq [n, H D] (NULL: nothing) and dk, dv [B, G, rows, D] through the projections. */
static void project_back(fam_training *t, fam_gradients *gradients, int64_t layer, const fam_rows_tape *tape,
                         int64_t sequences, int64_t rows, const float *dq, const float *dk, const float *dv,
                         fam_rope_rows q_rope, fam_rope_rows k_rope, float *dx)
{
    const fam_backend_ops *ops = t->exec->backend->ops;
    const fam_model_config *c = &t->model->config;
    int64_t n = sequences * rows, heads = c->heads, kv_heads = c->kv_heads, width = c->head_dim, half = width / 2;
    fam_head_layout q_layout = {.row_stride = heads * width, .head_stride = width};
    fam_head_layout k_layout = {.row_stride = width, .head_stride = rows * width};
    if (dq)
        ops->rope_backward(t->exec, t->dq_rows, dq, q_layout, q_rope.cos, q_rope.sin, n, heads, width);
    else
        ops->zero(t->exec, t->dq_rows, (size_t)(n * heads * width) * sizeof(float));
    for (int64_t b = 0; b < sequences; b++) {
        int64_t at = kv_elements(t, rows, b), row = b * rows;
        ops->rope_backward(t->exec, t->dk_rows + row * kv_heads * width, dk + at, k_layout, k_rope.cos + row * half,
                           k_rope.sin + row * half, rows, kv_heads, width);
        ops->rope_backward(t->exec, t->dv_rows + row * kv_heads * width, dv + at, k_layout, NULL, NULL, rows, kv_heads,
                           width);
    }
    fam_layer_project_backward(t->exec, t->model, layer, gradients, &t->backward_scratch, dx, tape->x, t->dq_rows,
                               t->dk_rows, t->dv_rows, n);
}

/* dx (d of the layer's result) becomes d of what went into the residual; t->dattended is d of the attention's result. */
static void finish_back(fam_training *t, fam_gradients *gradients, int64_t layer, const fam_rows_tape *tape, int64_t n,
                        float *dx)
{
    fam_layer_feed_forward_backward(t->exec, t->model, layer, gradients, &t->backward_scratch, dx, tape->mid, tape->gate,
                                    tape->up, n);
    fam_layer_attended_backward(t->exec, t->model, layer, gradients, &t->backward_scratch, t->dattended, dx,
                                tape->attended, n);
}

/* ---- the state ---------------------------------------------------------------------------------------------------- */

/* t->dupdate = what flows from t->dstate (d of the rescaled state) to the state before it was rescaled; what flows to
 * kappa goes on to the prompt. */
static void rescale_back(fam_training *t, int64_t layer, int64_t update)
{
    const fam_model *model = t->model;
    fam_backend *backend = t->exec->backend;
    int64_t rows = model->window.fam_length, width = model->config.hidden_size;
    if (model->state_norm == FAM_STATE_NORM_NONE) {
        backend->ops->copy(backend, t->dupdate, t->dstate, (size_t)(t->sequences * rows * width) * sizeof(float));
        return;
    }
    bool given = model->state_norm == FAM_STATE_NORM_RMS_INIT;
    for (int64_t b = 0; b < t->sequences; b++) {
        int64_t at = b * rows * width;
        if (given)
            backend->ops->zero(t->exec, t->dtarget, (size_t)rows * sizeof(float));
        backend->ops->rescale_rows_backward(t->exec, t->dupdate + at, given ? t->dtarget : NULL, t->dstate + at,
                                            fam_training_raw_state(t, layer, update) + at,
                                            given ? t->prompt_rms + layer * rows : NULL, rows, width);
        if (given)
            backend->ops->row_rms_backward(t->exec, t->dinitial + layer * rows * width, t->dtarget,
                                           t->prompt_tape[layer].x, rows, width);
    }
}

/* From the last state that anybody reads to the first; what tokens gave to states' keys is in dstate_k and dstate_v. */
static void states_back(fam_training *t, fam_gradients *gradients, int64_t layer)
{
    const fam_backend_ops *ops = t->exec->backend->ops;
    const fam_model *model = t->model;
    int64_t rows = model->window.fam_length, n = t->sequences * rows, elements = n * model->config.hidden_size;
    size_t bytes = (size_t)elements * sizeof(float);
    ops->zero(t->exec, t->dstate, bytes);
    for (int64_t block = t->readers - 1; block >= 0; block--) {
        const fam_rows_tape *tape = fam_training_state(t, layer, block);
        bool updated = block + 1 < t->readers; /* its update made a state that somebody read */
        if (updated) {
            rescale_back(t, layer, block);
            finish_back(t, gradients, layer, tape, n, t->dupdate);
            update_attends_back(t, layer, block);
            ops->zero(t->exec, t->dstate, bytes);
            for (int64_t b = 0, part = elements / t->sequences; b < t->sequences; b++)
                if (fam_training_has_residual(t, block, b))
                    ops->add(t->exec, t->dstate + b * part, t->dupdate + b * part, part);
        }
        project_back(t, gradients, layer, tape, t->sequences, rows, updated ? t->dstate_q : NULL, state_gradient(t, t->dstate_k, block, 0),
                     state_gradient(t, t->dstate_v, block, 0), fam_training_state_rope(t, block + 1),
                     fam_training_state_rope(t, block), t->dstate);
    }
    for (int64_t b = 0, part = elements / t->sequences; b < t->sequences; b++)
        if (!fam_training_given(t, b))
            ops->add(t->exec, t->dinitial + layer * part, t->dstate + b * part, part);
}

/* ---- the batch ---------------------------------------------------------------------------------------------------- */

static void layer_back(fam_training *t, fam_gradients *gradients, int64_t layer)
{
    const fam_backend_ops *ops = t->exec->backend->ops;
    const fam_model *model = t->model;
    const fam_rows_tape *tape = &t->token_tape[layer];
    int64_t n = t->sequences * t->tokens;
    size_t kv_bytes = (size_t)kv_elements(t, t->tokens, t->sequences) * sizeof(float);
    fam_rope_rows rope = {.cos = t->cos, .sin = t->sin};
    finish_back(t, gradients, layer, tape, n, t->dx);
    ops->zero(t->exec, t->dk, kv_bytes);
    ops->zero(t->exec, t->dv, kv_bytes);
    if (model->window.mode == FAM_MODE_FAM) {
        size_t state_bytes = (size_t)((t->updates + 1) * kv_elements(t, model->window.fam_length, t->sequences)) *
                             sizeof(float);
        ops->zero(t->exec, t->dstate_k, state_bytes);
        ops->zero(t->exec, t->dstate_v, state_bytes);
    }
    tokens_attend_back(t, layer);
    if (model->window.mode == FAM_MODE_FAM)
        states_back(t, gradients, layer);
    project_back(t, gradients, layer, tape, t->sequences, t->tokens, t->dq, t->dk, t->dv, rope, rope, t->dx);
}

/* From d P^(L-1), ..., d P^0 that the states gave to d of the prompt. */
static void prompt_back(fam_training *t, fam_gradients *gradients)
{
    const fam_backend_ops *ops = t->exec->backend->ops;
    const fam_model *model = t->model;
    int64_t rows = model->window.fam_length, elements = rows * model->config.hidden_size;
    size_t kv_bytes = (size_t)kv_elements(t, rows, 1) * sizeof(float);
    fam_rope_rows rope = {.cos = t->prompt_cos, .sin = t->prompt_sin};
    for (int64_t l = model->config.layers - 2; l >= 0; l--) {
        const fam_rows_tape *tape = &t->prompt_tape[l];
        float *dx = t->dinitial + (l + 1) * elements;
        finish_back(t, gradients, l, tape, rows, dx);
        ops->zero(t->exec, t->dstate_k, kv_bytes);
        ops->zero(t->exec, t->dstate_v, kv_bytes);
        fam_training_prompt_job(t, l);
        begin_job(t, 0, t->dstate_q, 0);
        set_gradient(t, 0, 0, t->dstate_k, t->dstate_v, rows);
        attend_back(t, 1);
        project_back(t, gradients, l, tape, 1, rows, t->dstate_q, t->dstate_k, t->dstate_v, rope, rope, dx);
        ops->add(t->exec, t->dinitial + l * elements, dx, elements);
    }
    ops->add(t->exec, gradients->prompt, t->dinitial, elements);
}

/* d of the last layer's output, of the final norm and of the head, for one sequence. */
static void sequence_loss_back(fam_training *t, fam_gradients *gradients, int64_t sequence, double scale)
{
    const fam_model *model = t->model;
    const fam_backend_ops *ops = t->exec->backend->ops;
    const int32_t *ids = t->batch.ids + sequence * t->tokens;
    const float *weights = t->batch.weights + sequence * t->tokens;
    int64_t width = model->config.hidden_size;
    for (int64_t i = 0; i + 1 < t->tokens; i += FAM_TRAINING_LOGIT_ROWS) {
        int64_t n = fam_min_i64(FAM_TRAINING_LOGIT_ROWS, t->tokens - 1 - i), at = (sequence * t->tokens + i) * width;
        for (int64_t r = 0; r < n; r++)
            t->row_scale[r] = (float)(scale * (double)weights[i + r + 1]);
        ops->rms_norm(t->exec, t->logit_rows, t->final + at, model->final_norm, model->config.rms_norm_eps, n, width);
        fam_linear_job head = {.linear = &model->head, .out = t->logits};
        fam_linear_forward(t->exec, &head, 1, t->logit_rows, n, NULL);
        ops->cross_entropy_backward(t->exec, t->logits, t->logits, ids + i + 1, t->row_scale, n,
                                    model->config.vocab_size);
        ops->zero(t->exec, t->dnormed, (size_t)(n * width) * sizeof(float));
        const fam_matmul_backward_job job = {
            .din = t->dnormed, .dweight = model->head_is_embeddings ? gradients->embeddings : gradients->head,
            .dout = t->logits, .in = t->logit_rows, .weight = model->head.weight};
        ops->matmul_backward(t->exec, &job, 1, n);
        ops->rms_norm_backward(t->exec, t->dx + at, gradients->final_norm, t->dnormed, t->final + at, model->final_norm,
                               model->config.rms_norm_eps, n, width);
    }
}

fam_status fam_training_backward(fam_training *t, fam_gradients *gradients, double scale, fam_error *error)
{
    const fam_model *model = t->model;
    const fam_backend_ops *ops = t->exec->backend->ops;
    int64_t n = t->sequences * t->tokens, width = model->config.hidden_size;
    bool fam = model->window.mode == FAM_MODE_FAM;
    ops->zero(t->exec, t->dx, (size_t)(n * width) * sizeof(float));
    if (fam)
        ops->zero(t->exec, t->dinitial,
                  (size_t)(model->config.layers * model->window.fam_length * width) * sizeof(float));
    for (int64_t b = 0; b < t->sequences; b++)
        sequence_loss_back(t, gradients, b, scale);
    for (int64_t l = model->config.layers - 1; l >= 0; l--)
        layer_back(t, gradients, l);
    if (gradients->embeddings)
        ops->embed_backward(t->exec, gradients->embeddings, t->dx, t->batch.ids, n, width);
    if (fam)
        prompt_back(t, gradients);
    return ops->finish(t->exec, error);
}
