/*
 * model/training.c: making a training pass: its buffers, in one list, and the attention jobs that both ways share.
 */
#include "model/training_private.h"

#include <string.h>

/* ---- buffers ------------------------------------------------------------------------------------------------------ */

/* Either counts bytes (t->exec NULL) or allocates them. */
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
        k->t->buffers[k->t->buffer_count++] = memory;
    return memory;
}

static float *take_floats(taking *k, int64_t elements)
{
    return take(k, elements, sizeof(float));
}

/* Moves on in a buffer of many equal parts; NULL stays NULL. */
static void *part(void *base, int64_t number, int64_t elements, size_t element_bytes)
{
    return base ? (char *)base + (size_t)(number * elements) * element_bytes : NULL;
}

/* `count` tapes of n rows each: one buffer a member. */
static void take_tapes(taking *k, fam_rows_tape *tapes, int64_t count, int64_t n)
{
    const fam_model *model = k->t->model;
    const fam_model_config *c = &model->config;
    size_t act = fam_dtype_bytes(model->backend->dtype), f32 = sizeof(float);
    int64_t width = n * c->hidden_size, q = n * c->heads * c->head_dim, kv = n * c->kv_heads * c->head_dim,
            wide = n * c->intermediate_size;
    void *x = take(k, count * width, f32), *mid = take(k, count * width, f32), *qs = take(k, count * q, act),
         *attended = take(k, count * q, act), *ks = take(k, count * kv, act), *vs = take(k, count * kv, act),
         *gate = take(k, count * wide, f32), *up = take(k, count * wide, f32);
    for (int64_t i = 0; tapes && i < count; i++)
        tapes[i] = (fam_rows_tape){.x = part(x, i, width, f32), .mid = part(mid, i, width, f32),
                                   .q = part(qs, i, q, act), .attended = part(attended, i, q, act),
                                   .k = part(ks, i, kv, act), .v = part(vs, i, kv, act),
                                   .gate = part(gate, i, wide, f32), .up = part(up, i, wide, f32)};
}

static void take_all(taking *k)
{
    fam_training *t = k->t;
    const fam_model_config *c = &t->model->config;
    int64_t layers = c->layers, width = c->hidden_size, half = c->head_dim / 2, rows = t->model->window.fam_length,
            n = t->sequences * t->tokens, state_rows = t->sequences * rows, most = fam_max_i64(n, state_rows),
            q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    bool fam = t->model->window.mode == FAM_MODE_FAM;
    take_tapes(k, t->token_tape, layers, n);
    t->final = take_floats(k, n * width);
    t->cos = take_floats(k, n * half);
    t->sin = take_floats(k, n * half);
    t->logit_rows = take(k, FAM_TRAINING_LOGIT_ROWS * width, fam_dtype_bytes(t->model->backend->dtype));
    t->logits = take_floats(k, FAM_TRAINING_LOGIT_ROWS * c->vocab_size);
    t->dx = take_floats(k, n * width);
    t->dattended = take_floats(k, most * q);
    t->dq = take_floats(k, n * q);
    t->dq_rows = take_floats(k, most * q);
    t->dk = take_floats(k, n * kv);
    t->dv = take_floats(k, n * kv);
    t->dk_rows = take_floats(k, most * kv);
    t->dv_rows = take_floats(k, most * kv);
    t->dnormed = take_floats(k, FAM_TRAINING_LOGIT_ROWS * width);
    if (!fam)
        return;
    take_tapes(k, t->state_tape, layers * (t->updates + 1), state_rows);
    take_tapes(k, t->prompt_tape, layers, rows);
    t->state_raw = take_floats(k, layers * t->updates * state_rows * width);
    t->prompt_rms = take_floats(k, layers * rows);
    t->state_cos = take_floats(k, (t->updates + 2) * state_rows * half);
    t->state_sin = take_floats(k, (t->updates + 2) * state_rows * half);
    t->prompt_cos = take_floats(k, rows * half);
    t->prompt_sin = take_floats(k, rows * half);
    t->dstate_k = take_floats(k, (t->updates + 1) * state_rows * kv);
    t->dstate_v = take_floats(k, (t->updates + 1) * state_rows * kv);
    t->dstate_q = take_floats(k, state_rows * q);
    t->dstate = take_floats(k, state_rows * width);
    t->dupdate = take_floats(k, state_rows * width);
    t->dinitial = take_floats(k, layers * rows * width);
    t->dtarget = take_floats(k, rows);
}

static void set_shape(fam_training *t, const fam_model *model, int64_t sequences, int64_t tokens)
{
    bool fam = model->window.mode == FAM_MODE_FAM;
    t->model = model;
    t->sequences = sequences;
    t->tokens = tokens;
    t->updates = fam ? fam_block_of(&model->window, tokens) : 0;
    t->readers = fam ? fam_block_of(&model->window, tokens - 1) + 1 : 0;
}

uint64_t fam_training_bytes(const fam_model *model, const fam_training_options *options, fam_trained trained)
{
    int64_t sequences = options->sequences, tokens = options->tokens;
    (void)trained;
    fam_training shape = {0};
    set_shape(&shape, model, sequences, tokens);
    taking k = {.t = &shape, .count_only = true};
    take_all(&k);
    int64_t most = sequences * fam_max_i64(tokens, model->window.fam_length);
    return k.bytes + fam_rows_scratch_bytes(model, most);
}

static fam_status make_host_buffers(fam_training *t, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_memory *memory = t->model->memory;
    size_t layers = (size_t)t->model->config.layers;
    bool fam = t->model->window.mode == FAM_MODE_FAM;
    int64_t state_positions = t->sequences * t->model->window.fam_length * (t->updates + 2);
    t->jobs_max = t->sequences * fam_pieces_max(&t->model->window, t->tokens);
    FAM_TRY_ALLOC(t->token_tape, fam_alloc_array(memory, layers, sizeof *t->token_tape), "training");
    if (fam) {
        FAM_TRY_ALLOC(t->state_tape,
                      fam_alloc_array(memory, layers * (size_t)(t->updates + 1), sizeof *t->state_tape), "training");
        FAM_TRY_ALLOC(t->prompt_tape, fam_alloc_array(memory, layers, sizeof *t->prompt_tape), "training");
    }
    FAM_TRY_ALLOC(t->positions,
                  fam_alloc_array(memory, (size_t)fam_max_i64(t->sequences * t->tokens, state_positions),
                                  sizeof *t->positions),
                  "training");
    FAM_TRY_ALLOC(t->jobs, fam_alloc_array(memory, (size_t)t->jobs_max, sizeof *t->jobs), "training");
    FAM_TRY_ALLOC(t->backward_jobs, fam_alloc_array(memory, (size_t)t->jobs_max, sizeof *t->backward_jobs), "training");
    size_t tokens = (size_t)t->sequences * (size_t)t->tokens;
    FAM_TRY_ALLOC(t->row_nll, fam_alloc_array(memory, FAM_TRAINING_LOGIT_ROWS, sizeof *t->row_nll), "training");
    FAM_TRY_ALLOC(t->row_best, fam_alloc_array(memory, FAM_TRAINING_LOGIT_ROWS, sizeof *t->row_best), "training");
    FAM_TRY_ALLOC(t->nll, fam_alloc_array(memory, tokens, sizeof *t->nll), "training");
    FAM_TRY_ALLOC(t->hits, fam_alloc_array(memory, tokens, sizeof *t->hits), "training");
    FAM_TRY_ALLOC(t->row_scale, fam_alloc_array(memory, FAM_TRAINING_LOGIT_ROWS, sizeof *t->row_scale), "training");
done:
    return status;
}

fam_status fam_training_create(fam_training **out, const fam_model *model, const fam_training_options *options,
                               fam_error *error)
{
    int64_t sequences = options->sequences, tokens = options->tokens;
    fam_status status = FAM_OK;
    fam_training *t = NULL;
    FAM_TRY_ALLOC(t, fam_alloc_zeroed(model->memory, sizeof *t), "training");
    set_shape(t, model, sequences, tokens);
    int64_t most = sequences * fam_max_i64(tokens, model->window.fam_length);
    FAM_TRY(model->backend->ops->exec_create(model->backend, &t->exec, fam_max_i64(most, FAM_TRAINING_LOGIT_ROWS),
                                             error));
    FAM_TRY(make_host_buffers(t, error));
    taking k = {.t = t, .error = error};
    take_all(&k);
    FAM_TRY(k.status);
    FAM_TRY(fam_rows_scratch_create(&t->forward_scratch, model, most, error));
    t->own_gate = t->forward_scratch.gate;
    t->own_up = t->forward_scratch.up;
    FAM_TRY(fam_rows_backward_create(&t->backward_scratch, model, most, error));
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
    for (int i = 0; i < t->buffer_count; i++)
        backend->ops->free(backend, t->buffers[i]);
    t->forward_scratch.gate = t->own_gate;
    t->forward_scratch.up = t->own_up;
    fam_rows_scratch_release(&t->forward_scratch, t->model);
    fam_rows_backward_release(&t->backward_scratch, t->model);
    if (t->exec)
        backend->ops->exec_free(t->exec);
    void *blocks[] = {t->token_tape, t->state_tape, t->prompt_tape, t->positions, t->jobs, t->backward_jobs, t->nll,
                      t->row_scale, t->row_nll, t->row_best, t->hits};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        fam_free(memory, blocks[i]);
    fam_free(memory, t);
}

const char *fam_recompute_name(int recompute)
{
    static const char *const names[] = {"none", "layer", "span"};
    return recompute >= 0 && recompute <= FAM_RECOMPUTE_SPAN ? names[recompute] : NULL;
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
    for (int64_t l = 0; l < layers && model->window.mode == FAM_MODE_FAM; l++)
        for (int64_t b = 0; b < t->sequences; b++)
            model->backend->ops->read(model->backend, out + (b * layers + l) * elements,
                                      fam_training_state(t, l, t->updates)->x + b * elements,
                                      (size_t)elements * sizeof *out);
}

fam_exec *fam_training_exec(fam_training *t)
{
    return t->exec;
}

/* ---- attention ---------------------------------------------------------------------------------------------------- */

size_t fam_training_kv_bytes(const fam_training *t, int64_t rows, int64_t sequence)
{
    const fam_model_config *c = &t->model->config;
    return (size_t)(sequence * c->kv_heads * rows * c->head_dim) * fam_dtype_bytes(t->model->backend->dtype);
}

static size_t q_bytes(const fam_training *t, int64_t row)
{
    const fam_model_config *c = &t->model->config;
    return (size_t)(row * c->heads * c->head_dim) * fam_dtype_bytes(t->model->backend->dtype);
}

/* Keys [from, to) of sequence b in a [B, G, rows, D] pair of buffers, all visible. */
static fam_key_range range_of(const fam_training *t, const fam_rows_tape *tape, int64_t rows, int64_t sequence,
                              int64_t from, int64_t to)
{
    int64_t width = t->model->config.head_dim;
    size_t at = fam_training_kv_bytes(t, rows, sequence) +
                (size_t)(from * width) * fam_dtype_bytes(t->model->backend->dtype);
    return (fam_key_range){.k = (const char *)tape->k + at, .v = (const char *)tape->v + at,
                           .head_stride = rows * width, .rows = to - from, .upper = to - from};
}

static fam_attention_job job_of(const fam_training *t, const fam_rows_tape *tape, int64_t row, int64_t queries)
{
    int64_t stride = t->model->config.heads * t->model->config.head_dim;
    return (fam_attention_job){.out = (char *)tape->attended + q_bytes(t, row), .q = (const char *)tape->q + q_bytes(t, row),
                               .q_stride = stride, .out_stride = stride, .queries = queries};
}

int64_t fam_training_token_jobs(fam_training *t, int64_t layer)
{
    const fam_window *window = &t->model->window;
    const fam_rows_tape *tape = &t->token_tape[layer];
    bool slides = fam_window_slides(window);
    int64_t count = 0, rows = window->fam_length;
    for (int64_t b = 0; b < t->sequences; b++) {
        for (int64_t begin = 0; begin < t->tokens;) {
            int64_t end = fam_piece_end(window, begin, t->tokens), oldest = fam_oldest_visible(window, begin),
                    from = fam_max_i64(0, oldest);
            fam_attention_job *job = &t->jobs[count++];
            *job = job_of(t, tape, b * t->tokens + begin, end - begin);
            if (window->mode == FAM_MODE_FAM)
                job->ranges[job->range_count++] =
                    range_of(t, fam_training_state(t, layer, fam_block_of(window, begin)), rows, b, 0, rows);
            fam_key_range range = range_of(t, tape, t->tokens, b, from, end);
            range.lower = oldest - from;
            range.lower_moves = slides;
            range.upper = begin - from + 1;
            range.upper_moves = true;
            job->ranges[job->range_count++] = range;
            begin = end;
        }
    }
    return count;
}

int64_t fam_training_update_jobs(fam_training *t, int64_t layer, int64_t update)
{
    const fam_window *window = &t->model->window;
    const fam_rows_tape *state = fam_training_state(t, layer, update);
    int64_t rows = window->fam_length;
    for (int64_t b = 0; b < t->sequences; b++) {
        t->jobs[b] = job_of(t, state, b * rows, rows);
        t->jobs[b].range_count = 2;
        t->jobs[b].ranges[0] = range_of(t, state, rows, b, 0, rows);
        t->jobs[b].ranges[1] = range_of(t, &t->token_tape[layer], t->tokens, b, fam_block_start(window, update),
                                        fam_block_start(window, update + 1));
    }
    return t->sequences;
}

void fam_training_prompt_job(fam_training *t, int64_t layer)
{
    int64_t rows = t->model->window.fam_length;
    t->jobs[0] = job_of(t, &t->prompt_tape[layer], 0, rows);
    t->jobs[0].range_count = 1;
    t->jobs[0].ranges[0] = range_of(t, &t->prompt_tape[layer], rows, 0, 0, rows);
}

fam_rope_rows fam_training_state_rope(const fam_training *t, int64_t block)
{
    int64_t elements = t->sequences * t->model->window.fam_length * t->model->config.head_dim / 2;
    return (fam_rope_rows){.cos = t->state_cos + block * elements, .sin = t->state_sin + block * elements};
}
