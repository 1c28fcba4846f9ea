/*
 * model/training.c: making a training pass: its buffers, in one list that counts and makes them, and where tapes lie.
 */
#include "model/training_private.h"

/* ---- shape -------------------------------------------------------------------------------------------------------- */

static fam_training_limits usual_limits(const fam_model *model)
{
    int64_t bytes = (int64_t)sizeof(float) * (model->config.vocab_size + 2 * model->config.hidden_size),
            rows = FAM_TRAINING_LOGIT_BYTES / bytes / FAM_TRAINING_LOGIT_ROWS * FAM_TRAINING_LOGIT_ROWS;
    return (fam_training_limits){FAM_TRAINING_SPAN_ROWS, fam_max_i64(rows, FAM_TRAINING_LOGIT_ROWS)};
}

/* S: as many whole blocks as make about so many rows, at least one; without blocks tokens, by 64. */
static int64_t span_tokens(const fam_model *model, int64_t sequences, int64_t tokens, int64_t rows)
{
    int64_t unit = fam_window_has_blocks(&model->window) ? model->window.block_size : 64;
    if (unit >= tokens)
        return tokens;
    return fam_min_i64(tokens, fam_max_i64(1, rows / sequences / unit) * unit);
}

static void set_shape(fam_training *t, const fam_model *model, const fam_training_options *options,
                      const fam_training_limits *limits)
{
    const fam_window *window = &model->window;
    int64_t tokens = options->tokens;
    t->model = model;
    t->options = *options;
    t->fam = window->mode == FAM_MODE_FAM;
    t->sequences = options->sequences;
    t->tokens = tokens;
    t->span = span_tokens(model, t->sequences, tokens, limits->span_rows);
    t->spans = (tokens + t->span - 1) / t->span;
    t->updates = t->fam ? fam_block_of(window, tokens) : 0;
    t->readers = t->fam ? fam_block_of(window, tokens - 1) + 1 : 0;
    t->state_slots = t->updates + 1;
    if (t->fam && (!options->backward || options->recompute == FAM_RECOMPUTE_SPAN)) /* those of a span and the next */
        t->state_slots = fam_min_i64(t->state_slots, (t->span + window->block_size - 1) / window->block_size + 1);
    t->logit_rows_max = fam_min_i64(t->sequences * tokens, limits->logit_rows);
}

fam_training_span fam_training_span_at(const fam_training *t, int64_t number)
{
    const fam_window *window = &t->model->window;
    fam_training_span span = {.start = number * t->span};
    span.length = fam_min_i64(t->span, t->tokens - span.start);
    span.row = span.start * t->sequences;
    span.rows = span.length * t->sequences;
    if (fam_window_has_blocks(window)) {
        span.blocks_begin = fam_block_of(window, span.start);
        span.blocks_end = fam_block_of(window, span.start + span.length - 1) + 1;
    }
    return span;
}

void fam_training_place(const fam_training *t, int64_t row, int64_t *sequence, int64_t *token)
{
    const fam_training_span span = fam_training_span_at(t, row / (t->span * t->sequences));
    *sequence = (row - span.row) / span.length;
    *token = span.start + (row - span.row) % span.length;
}

/* ---- buffers ------------------------------------------------------------------------------------------------------ */

/* Either counts bytes or allocates them. */
typedef struct taking {
    fam_training *t;
    bool count_only;
    uint64_t bytes;
    fam_status status;
    fam_error *error;
} taking;

static void *take(taking *k, int64_t elements, size_t element_bytes)
{
    size_t bytes = (size_t)elements * element_bytes;
    k->bytes += bytes;
    if (k->count_only || k->status != FAM_OK)
        return NULL;
    void *memory = NULL;
    fam_backend *backend = k->t->model->backend;
    k->status = backend->ops->alloc(backend, &memory, bytes, "training", k->error);
    if (k->status == FAM_OK)
        k->t->device[k->t->device_count++] = memory;
    return memory;
}

static float *take_floats(taking *k, int64_t elements)
{
    return take(k, elements, sizeof(float));
}

static void *take_host(taking *k, int64_t elements, size_t element_bytes)
{
    k->bytes += (uint64_t)elements * element_bytes;
    if (k->count_only || k->status != FAM_OK)
        return NULL;
    void *memory = fam_alloc_array(k->t->model->memory, (size_t)elements, element_bytes);
    if (memory)
        k->t->host[k->t->host_count++] = memory;
    else
        k->status = fam_out_of_memory(k->error, "training");
    return memory;
}

static size_t activation(const fam_training *t)
{
    return fam_dtype_bytes(t->model->backend->dtype);
}

/* Rows of the parts of a tape: what comes in, the projections, all behind them; of raw. */
static void take_tape(taking *k, fam_rows_tape *tape, int64_t x, int64_t q, int64_t kv, int64_t rest, int64_t raw)
{
    const fam_model_config *c = &k->t->model->config;
    size_t act = activation(k->t);
    int64_t q_width = c->heads * c->head_dim, kv_width = c->kv_heads * c->head_dim;
    tape->x = take_floats(k, x * c->hidden_size);
    tape->q = take(k, q * q_width, act);
    tape->k = take(k, kv * kv_width, act);
    tape->v = take(k, kv * kv_width, act);
    tape->attended = take(k, rest * q_width, act);
    tape->mid = take_floats(k, rest * c->hidden_size);
    tape->gate = take_floats(k, rest * c->intermediate_size);
    tape->up = take_floats(k, rest * c->intermediate_size);
    tape->raw = raw ? take_floats(k, raw * c->hidden_size) : NULL;
}

static bool keeps_all(const fam_training *t)
{
    return t->options.backward && t->options.recompute == FAM_RECOMPUTE_NONE;
}

/* Whether the tapes of a whole layer are there at once, and not of a span only. */
static bool keeps_layer(const fam_training *t)
{
    return t->options.backward && t->options.recompute != FAM_RECOMPUTE_SPAN;
}

static void take_tapes(taking *k)
{
    fam_training *t = k->t;
    int64_t layers = t->model->config.layers, n = t->sequences * t->tokens, span = t->sequences * t->span,
            rows = t->model->window.fam_length, state = fam_training_state_rows(t), kept = keeps_all(t) ? layers : 1,
            half = t->model->config.head_dim / 2;
    bool back = t->options.backward;
    take_tape(k, &t->token, (back ? layers + 1 : 1) * n, back ? kept * n : span, kept * n,
              keeps_layer(t) ? kept * n : span, 0);
    t->cos = take_floats(k, n * half);
    t->sin = take_floats(k, n * half);
    if (!t->fam)
        return;
    int64_t slots = kept * t->state_slots * state;
    take_tape(k, &t->state, layers * (back ? t->updates + 1 : 1) * state, slots, slots, slots,
              t->model->state_norm == FAM_STATE_NORM_NONE ? 0 : slots);
    take_tape(k, &t->prompt, layers * rows, kept * rows, kept * rows, kept * rows, 0);
    t->kappa = take_floats(k, layers * state);
    t->state_cos = take_floats(k, (t->updates + 2) * state * half);
    t->state_sin = take_floats(k, (t->updates + 2) * state * half);
    t->prompt_cos = take_floats(k, rows * half);
    t->prompt_sin = take_floats(k, rows * half);
}

/* Rows of a span, of the states, of the prompt: the most that go through a layer at once. */
static int64_t rows_at_once(const fam_training *t)
{
    return fam_max_i64(t->sequences * t->span, fam_training_state_rows(t));
}

static void take_scratch(taking *k)
{
    fam_training *t = k->t;
    const fam_model_config *c = &t->model->config;
    size_t act = activation(t);
    int64_t n = rows_at_once(t), q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    fam_rows_scratch *s = &t->forward_scratch;
    s->capacity = n;
    s->normed = take(k, n * c->hidden_size, act);
    s->gated = take(k, n * c->intermediate_size, act);
    s->lora = take(k, n * t->model->lora_rank_sum, act);
    s->q = take_floats(k, n * q);
    s->k = take_floats(k, n * kv);
    s->v = take_floats(k, n * kv);
    t->logit_rows = take(k, t->logit_rows_max * c->hidden_size, act);
    t->logits = take_floats(k, t->logit_rows_max * c->vocab_size);
}

static void take_gradients(taking *k)
{
    fam_training *t = k->t;
    const fam_model_config *c = &t->model->config;
    int64_t n = t->sequences * t->tokens, at_once = rows_at_once(t), width = c->hidden_size, q = c->heads * c->head_dim,
            kv = c->kv_heads * c->head_dim, state = fam_training_state_rows(t);
    const fam_rows_scratch *s = &t->forward_scratch;
    t->dx = take_floats(k, n * width);
    t->dattended = take_floats(k, at_once * q);
    t->dq = take_floats(k, t->sequences * t->span * q);
    t->dk = take_floats(k, n * kv);
    t->dv = take_floats(k, n * kv);
    t->dq_rows = s->q; /* where the way forward has them before they are rotated */
    t->dk_rows = s->k;
    t->dv_rows = s->v;
    t->backward_scratch = (fam_rows_backward){.normed = s->normed, .gated = s->gated, .lora = s->lora};
    t->backward_scratch.dnormed = take_floats(k, at_once * width);
    t->backward_scratch.dgated = take_floats(k, at_once * c->intermediate_size);
    t->backward_scratch.dgate = take_floats(k, at_once * c->intermediate_size);
    t->backward_scratch.dup = take_floats(k, at_once * c->intermediate_size);
    t->backward_scratch.dlora = take_floats(k, at_once * t->model->lora_rank_sum);
    t->dnormed = take_floats(k, t->logit_rows_max * width);
    if (!t->fam)
        return;
    t->dstate_q = take_floats(k, state * q);
    t->dstate_k = take_floats(k, t->state_slots * state * kv);
    t->dstate_v = take_floats(k, t->state_slots * state * kv);
    t->dstate = take_floats(k, state * width);
    t->dupdate = take_floats(k, state * width);
    t->dinitial = take_floats(k, c->layers * t->model->window.fam_length * width);
    t->dkappa = take_floats(k, state);
}

static void take_host_buffers(taking *k)
{
    fam_training *t = k->t;
    int64_t n = t->sequences * t->tokens, jobs = t->sequences * fam_pieces_max(&t->model->window, t->span);
    t->jobs = take_host(k, jobs, sizeof *t->jobs);
    if (t->options.backward)
        t->backward_jobs = take_host(k, jobs, sizeof *t->backward_jobs);
    t->positions = take_host(k, fam_max_i64(n, (t->updates + 2) * fam_training_state_rows(t)), sizeof *t->positions);
    t->ids = take_host(k, n, sizeof *t->ids);
    t->targets = take_host(k, n, sizeof *t->targets);
    t->weights = take_host(k, n, sizeof *t->weights);
    t->nll = take_host(k, n, sizeof *t->nll);
    t->hits = take_host(k, n, sizeof *t->hits);
    t->row_nll = take_host(k, t->logit_rows_max, sizeof *t->row_nll);
    t->row_best = take_host(k, t->logit_rows_max, sizeof *t->row_best);
    t->row_scale = take_host(k, t->logit_rows_max, sizeof *t->row_scale);
}

static void take_all(taking *k)
{
    take_tapes(k);
    take_scratch(k);
    if (k->t->options.backward)
        take_gradients(k);
    take_host_buffers(k);
}

/* ---- bytes -------------------------------------------------------------------------------------------------------- */

static void count_linear(fam_prepared_bytes *sum, const fam_model *model, const fam_linear *linear, int64_t n,
                         bool back)
{
    const fam_backend_ops *ops = model->backend->ops;
    ops->prepared_bytes(model->backend, sum, linear->weight, n, back);
    for (int i = 0; i < linear->lora_count; i++) {
        ops->prepared_bytes(model->backend, sum, linear->lora[i].a, n, back);
        ops->prepared_bytes(model->backend, sum, linear->lora[i].b, n, back);
    }
}

/* Of the execution and of the packed weights. */
static uint64_t execution_bytes(const fam_training *t)
{
    const fam_model *model = t->model;
    bool back = t->options.backward;
    int64_t n = rows_at_once(t);
    fam_prepared_bytes sum = {0};
    for (int64_t l = 0; l < model->config.layers; l++) {
        const fam_layer *layer = &model->layers[l];
        const fam_linear *linears[] = {&layer->q,    &layer->k,  &layer->v,   &layer->o,
                                       &layer->gate, &layer->up, &layer->down};
        for (size_t i = 0; i < sizeof linears / sizeof *linears; i++)
            count_linear(&sum, model, linears[i], n, back);
    }
    count_linear(&sum, model, &model->head, t->logit_rows_max, back);
    uint64_t bytes =
        model->backend->ops->exec_bytes(model->backend, fam_max_i64(n, t->logit_rows_max), 0) + sum.weights;
    for (int i = 0; i < FAM_PREPARED_BUFFERS; i++)
        bytes += sum.buffers[i];
    return bytes;
}

uint64_t fam_training_bytes(const fam_model *model, const fam_training_options *options, fam_trained trained)
{
    fam_training shape = {0};
    const fam_training_limits limits = usual_limits(model);
    set_shape(&shape, model, options, &limits);
    taking k = {.t = &shape, .count_only = true};
    take_all(&k);
    return sizeof shape + k.bytes + execution_bytes(&shape) +
           (options->backward ? fam_gradients_bytes(model, trained) : 0);
}

/* Sizes are multiplied freely afterwards. */
static fam_status check_options(const fam_model *model, const fam_training_options *options, fam_error *error)
{
    fam_status status = FAM_OK;
    const double bytes_max = 0x1p50;
    const fam_model_config *c = &model->config;
    FAM_FAIL_IF(options->sequences < 1 || options->tokens < 1, FAM_STATUS_INVALID_ARGUMENT,
                "training: batch: found %lld sequences of %lld tokens, need at least 1 of 1",
                (long long)options->sequences, (long long)options->tokens);
    FAM_FAIL_IF(!fam_recompute_name((int)options->recompute), FAM_STATUS_INVALID_ARGUMENT,
                "training: recompute: found %d, need one of the enumeration", (int)options->recompute);
    double rows = (double)options->sequences * (double)options->tokens * (1 + (double)model->window.fam_length),
           width = (double)c->intermediate_size + (double)c->hidden_size + (double)(c->heads * c->head_dim),
           bytes = 64 * rows * width * (double)(c->layers + 1);
    FAM_FAIL_IF(bytes > bytes_max, FAM_STATUS_INVALID_ARGUMENT, "training: batch: found %.3g bytes, need at most %.3g",
                bytes, bytes_max);
done:
    return status;
}

/* ---- the pass ----------------------------------------------------------------------------------------------------- */

fam_status fam_training_create(fam_training **out, const fam_model *model, const fam_training_options *options,
                               fam_error *error)
{
    const fam_training_limits limits = usual_limits(model);
    return fam_training_create_limited(out, model, options, &limits, error);
}

fam_status fam_training_create_limited(fam_training **out, const fam_model *model, const fam_training_options *options,
                                       const fam_training_limits *limits, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_training *t = NULL;
    FAM_TRY(check_options(model, options, error));
    FAM_TRY_ALLOC(t, fam_alloc_zeroed(model->memory, sizeof *t), "training");
    set_shape(t, model, options, limits);
    FAM_TRY(model->backend->ops->exec_create(model->backend, &t->exec, fam_max_i64(rows_at_once(t), t->logit_rows_max),
                                             error));
    taking k = {.t = t, .error = error};
    take_all(&k);
    FAM_TRY(k.status);
    *out = t;
    t = NULL;
done:
    fam_training_free(t);
    return status;
}

void fam_training_free(fam_training *t)
{
    if (!t)
        return;
    fam_memory *memory = t->model->memory;
    fam_backend *backend = t->model->backend;
    for (int i = 0; i < t->device_count; i++)
        backend->ops->free(backend, t->device[i]);
    for (int i = 0; i < t->host_count; i++)
        fam_free(memory, t->host[i]);
    if (t->exec)
        backend->ops->exec_free(t->exec);
    fam_free(memory, t);
}

const char *fam_recompute_name(int recompute)
{
    static const char *const names[] = {"none", "layer", "span"};
    return recompute >= 0 && recompute <= FAM_RECOMPUTE_SPAN ? names[recompute] : NULL;
}

fam_exec *fam_training_exec(fam_training *t)
{
    return t->exec;
}

const float *fam_training_nll(const fam_training *t)
{
    return t->nll;
}

const bool *fam_training_hits(const fam_training *t)
{
    return t->hits;
}

void fam_training_final_states(const fam_training *t, float *out)
{
    const fam_model *model = t->model;
    int64_t elements = model->window.fam_length * model->config.hidden_size, layers = model->config.layers;
    for (int64_t l = 0; l < layers && t->fam; l++)
        for (int64_t b = 0; b < t->sequences; b++)
            model->backend->ops->read(model->backend, out + (b * layers + l) * elements,
                                      fam_training_state(t, l, t->updates).x + b * elements,
                                      (size_t)elements * sizeof *out);
}

/* ---- tapes -------------------------------------------------------------------------------------------------------- */

static void *activations_at(const fam_training *t, void *base, int64_t elements)
{
    return (char *)base + (size_t)elements * activation(t);
}

/* From buffers of equal rows: row q of q, row kv of k and v, row rest of the others. */
static fam_rows_tape tape_at(const fam_training *t, const fam_rows_tape *base, float *x, int64_t q, int64_t kv,
                             int64_t rest)
{
    const fam_model_config *c = &t->model->config;
    int64_t q_width = c->heads * c->head_dim, kv_width = c->kv_heads * c->head_dim;
    return (fam_rows_tape){.x = x,
                           .q = activations_at(t, base->q, q * q_width),
                           .k = activations_at(t, base->k, kv * kv_width),
                           .v = activations_at(t, base->v, kv * kv_width),
                           .attended = activations_at(t, base->attended, rest * q_width),
                           .mid = base->mid + rest * c->hidden_size,
                           .gate = base->gate + rest * c->intermediate_size,
                           .up = base->up + rest * c->intermediate_size,
                           .raw = base->raw ? base->raw + rest * c->hidden_size : NULL};
}

float *fam_training_x(const fam_training *t, int64_t layer, int64_t row)
{
    int64_t first = t->options.backward ? layer * t->sequences * t->tokens : 0;
    return t->token.x + (first + row) * t->model->config.hidden_size;
}

fam_rows_tape fam_training_tokens(const fam_training *t, int64_t layer, const fam_training_span *span)
{
    int64_t n = t->sequences * t->tokens, first = keeps_all(t) ? layer * n : 0;
    return tape_at(t, &t->token, fam_training_x(t, layer, span->row), t->options.backward ? first + span->row : 0,
                   first, keeps_layer(t) ? first + span->row : 0);
}

fam_rows_tape fam_training_state(const fam_training *t, int64_t layer, int64_t block)
{
    int64_t rows = fam_training_state_rows(t), x = t->options.backward ? layer * (t->updates + 1) + block : layer,
            slot = ((keeps_all(t) ? layer * t->state_slots : 0) + block % t->state_slots) * rows;
    return tape_at(t, &t->state, t->state.x + x * rows * t->model->config.hidden_size, slot, slot, slot);
}

fam_rows_tape fam_training_prompt(const fam_training *t, int64_t layer)
{
    int64_t rows = t->model->window.fam_length, slot = keeps_all(t) ? layer * rows : 0;
    return tape_at(t, &t->prompt, t->prompt.x + layer * rows * t->model->config.hidden_size, slot, slot, slot);
}
