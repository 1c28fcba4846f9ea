/*
 * model/forward.c: the walk of a span through the layers, and the recurrence of the feedback state over the blocks that
 * the span completes (spec section 3). Window and position arithmetic comes from window.h alone.
 */
#include <string.h>

#include "model/workspace.h"

/* A span on its way. */
typedef struct walk {
    fam_workspace *w;
    fam_timeline *timeline;
    int64_t start, end;     /* token indices [start, end) */
    int64_t first_block;    /* mode fam: the block of the span's first token */
    int64_t updates;        /* mode fam: blocks that the span completes */
    const fam_probe *probe; /* or NULL */
} walk;

/* ---- addresses ---------------------------------------------------------------------------------------------------- */

static size_t activation_bytes(const walk *s, int64_t elements)
{
    return (size_t)elements * fam_dtype_bytes(s->w->model->backend->dtype);
}

/* Elements of one layer's state keys (or values): [G, F, D]. */
static int64_t state_kv_elements(const fam_model *model)
{
    return model->config.kv_heads * model->window.fam_length * model->config.head_dim;
}

/* Keys (or values) of the state that the span's block number `nth` reads in a layer. */
static void *state_slot(const walk *s, void *timelines, void *slots, int64_t layer, int64_t nth)
{
    size_t bytes = activation_bytes(s, state_kv_elements(s->w->model));
    return nth == 0 ? (char *)timelines + (size_t)layer * bytes : (char *)slots + (size_t)(nth - 1) * bytes;
}

static void *state_k(const walk *s, int64_t layer, int64_t nth)
{
    return state_slot(s, s->timeline->state_k, s->w->slot_k, layer, nth);
}

static void *state_v(const walk *s, int64_t layer, int64_t nth)
{
    return state_slot(s, s->timeline->state_v, s->w->slot_v, layer, nth);
}

static void *state_q(const walk *s, int64_t layer)
{
    const fam_model *model = s->w->model;
    int64_t elements = model->window.fam_length * model->config.heads * model->config.head_dim;
    return (char *)s->timeline->state_q + (size_t)layer * activation_bytes(s, elements);
}

static float *state_rows(const walk *s, int64_t layer)
{
    const fam_model *model = s->w->model;
    return s->timeline->state + layer * model->window.fam_length * model->config.hidden_size;
}

/* ---- keys that queries see ---------------------------------------------------------------------------------------- */

static void add_range(fam_attention_job *job, fam_key_range range)
{
    if (range.rows > 0)
        job->ranges[job->range_count++] = range;
}

/* All tokens [from, to) that are in the ring, for queries that see keys from `oldest` on (moving by one from query to
 * query if `slides`). */
static void add_ring_ranges(fam_attention_job *job, const walk *s, int64_t layer, int64_t from, int64_t to,
                            int64_t oldest, bool slides)
{
    const fam_timeline *timeline = s->timeline;
    int64_t rows = timeline->ring_rows, width = s->w->model->config.head_dim;
    const char *k = fam_timeline_ring_layer(timeline, timeline->ring_k, layer);
    const char *v = fam_timeline_ring_layer(timeline, timeline->ring_v, layer);
    while (from < to) { /* one run, or two where the ring wraps */
        int64_t row = from % rows, n = fam_min_i64(to - from, rows - row);
        size_t at = activation_bytes(s, row * width);
        add_range(job, (fam_key_range){.k = k + at, .v = v + at, .head_stride = rows * width, .rows = n,
                                       .lower = oldest - from, .lower_moves = slides, .upper = n});
        from += n;
    }
}

/* Tokens [from, to) of the span itself. `upper` as in fam_key_range. */
static void add_span_range(fam_attention_job *job, const walk *s, int64_t from, int64_t to, int64_t oldest, bool slides,
                           int64_t upper, bool causal)
{
    int64_t width = s->w->model->config.head_dim;
    size_t at = activation_bytes(s, (from - s->start) * width);
    add_range(job, (fam_key_range){.k = (const char *)s->w->span_k + at, .v = (const char *)s->w->span_v + at,
                                   .head_stride = s->w->span_max * width, .rows = to - from, .lower = oldest - from,
                                   .lower_moves = slides, .upper = upper, .upper_moves = causal});
}

static void add_state_range(fam_attention_job *job, const walk *s, int64_t layer, int64_t nth)
{
    const fam_model *model = s->w->model;
    int64_t rows = model->window.fam_length;
    add_range(job, (fam_key_range){.k = state_k(s, layer, nth), .v = state_v(s, layer, nth),
                                   .head_stride = rows * model->config.head_dim, .rows = rows, .upper = rows});
}

/* ---- the state ---------------------------------------------------------------------------------------------------- */

/* cos and sin of the state's rows as keys of the span's block number `nth`. */
static fam_rope_rows state_rope(const fam_workspace *w, int64_t nth)
{
    int64_t elements = w->model->window.fam_length * w->model->config.head_dim / 2;
    return (fam_rope_rows){.cos = (const float *)w->state_cos + nth * elements,
                           .sin = (const float *)w->state_sin + nth * elements};
}

/* Tables for the blocks first_block ... first_block + count - 1. */
static void make_state_rope(fam_workspace *w, int64_t first_block, int64_t count, int64_t offset)
{
    const fam_window *window = &w->model->window;
    int64_t rows = window->fam_length;
    for (int64_t b = 0; b < count; b++)
        for (int64_t row = 0; row < rows; row++)
            w->positions[b * rows + row] = fam_state_position(window, first_block + b, row, offset);
    w->model->backend->ops->rope_table(w->exec, w->state_cos, w->state_sin, w->positions,
                                       w->model->inverse_frequencies, count * rows, w->model->config.head_dim / 2);
}

/* The state's queries, keys and values for the span's block number `nth`, which reads it. */
static void project_state(const walk *s, int64_t layer, int64_t nth)
{
    fam_workspace *w = s->w;
    const fam_model *model = w->model;
    int64_t rows = model->window.fam_length, width = model->config.head_dim;
    const fam_key_place place = {.k = state_k(s, layer, nth), .v = state_v(s, layer, nth), .sequences = 1,
                                 .layout = {.row_stride = width, .head_stride = rows * width}};
    fam_layer_project(w->exec, model, &model->layers[layer], &w->rows, state_rows(s, layer), rows,
                      state_rope(w, nth + 1), state_rope(w, nth), state_q(s, layer), &place);
}

/* The state after the span's block number `nth`, which is complete: its rows see themselves and the whole block. */
static void update_state(const walk *s, int64_t layer, int64_t nth)
{
    fam_workspace *w = s->w;
    const fam_model *model = w->model;
    const fam_backend_ops *ops = model->backend->ops;
    int64_t rows = model->window.fam_length, q_width = model->config.heads * model->config.head_dim;
    int64_t block = s->first_block + nth, begin = fam_block_start(&model->window, block),
            end = fam_block_start(&model->window, block + 1);
    float *state = state_rows(s, layer);

    fam_attention_job job = {.out = w->rows.attended, .q = state_q(s, layer), .q_stride = q_width,
                             .out_stride = q_width, .queries = rows};
    add_state_range(&job, s, layer, nth);
    add_ring_ranges(&job, s, layer, begin, fam_min_i64(end, s->start), begin, false);
    int64_t from = fam_max_i64(begin, s->start);
    add_span_range(&job, s, from, end, from, false, end - from, false);
    fam_attention_shape shape = fam_layer_attention_shape(model);
    ops->attention(w->exec, &job, 1, &shape);
    fam_layer_finish(w->exec, model, &model->layers[layer], &w->rows, state, w->rows.attended, rows,
                     s->timeline->with_residual || nth > 0);
    if (model->state_norm != FAM_STATE_NORM_NONE)
        ops->rescale_rows(w->exec, state,
                          model->state_norm == FAM_STATE_NORM_RMS_INIT ? model->initial_rms + layer * rows : NULL, rows,
                          model->config.hidden_size);
    if (s->probe && s->probe->state) {
        size_t bytes = (size_t)(rows * model->config.hidden_size) * sizeof(float);
        model->backend->ops->read(model->backend, w->probe_rows, state, bytes);
        s->probe->state(s->probe->context, block, layer, w->probe_rows);
    }
    project_state(s, layer, nth + 1);
}

/* ---- one layer ---------------------------------------------------------------------------------------------------- */

/* The attention jobs of tokens [first, end), cut where the window's start or the state changes. Returns their number. */
static int64_t plan_attention(const walk *s, int64_t layer, int64_t first)
{
    fam_workspace *w = s->w;
    const fam_model *model = w->model;
    const fam_window *window = &model->window;
    int64_t q_width = model->config.heads * model->config.head_dim, count = 0;
    bool slides = fam_window_slides(window);
    for (int64_t begin = first; begin < s->end;) {
        int64_t end = fam_piece_end(window, begin, s->end), oldest = fam_oldest_visible(window, begin);
        int64_t from = fam_max_i64(0, oldest);
        size_t row = activation_bytes(s, (begin - s->start) * q_width);
        fam_attention_job *job = &w->jobs[count++];
        *job = (fam_attention_job){.out = (char *)w->tokens.attended + row, .q = (char *)w->tokens.rotated_q + row,
                                   .q_stride = q_width, .out_stride = q_width, .queries = end - begin};
        if (window->mode == FAM_MODE_FAM)
            add_state_range(job, s, layer, fam_block_of(window, begin) - s->first_block);
        add_ring_ranges(job, s, layer, from, s->start, oldest, slides);
        from = fam_max_i64(from, s->start);
        add_span_range(job, s, from, end, oldest, slides, begin - from + 1, true);
        begin = end;
    }
    return count;
}

/* Copies the span's newest keys and values into the ring. */
static void store_in_ring(const walk *s, int64_t layer)
{
    const fam_model *model = s->w->model;
    const fam_timeline *timeline = s->timeline;
    int64_t rows = timeline->ring_rows, width = model->config.head_dim;
    char *rings[2] = {fam_timeline_ring_layer(timeline, timeline->ring_k, layer),
                      fam_timeline_ring_layer(timeline, timeline->ring_v, layer)};
    const char *spans[2] = {s->w->span_k, s->w->span_v};
    for (int64_t t = fam_max_i64(s->start, s->end - rows); t < s->end;) {
        int64_t row = t % rows, n = fam_min_i64(s->end - t, rows - row);
        for (int64_t head = 0; head < model->config.kv_heads; head++)
            for (int r = 0; r < 2; r++)
                model->backend->ops->copy(
                    model->backend, rings[r] + activation_bytes(s, (head * rows + row) * width),
                    spans[r] + activation_bytes(s, (head * s->w->span_max + t - s->start) * width),
                    activation_bytes(s, n * width));
        t += n;
    }
}

/* The state that the next span begins with becomes the timeline's. */
static void keep_state(const walk *s, int64_t layer)
{
    const fam_backend_ops *ops = s->w->model->backend->ops;
    size_t bytes = activation_bytes(s, state_kv_elements(s->w->model));
    if (s->updates == 0)
        return;
    ops->copy(s->w->model->backend, state_k(s, layer, 0), state_k(s, layer, s->updates), bytes);
    ops->copy(s->w->model->backend, state_v(s, layer, 0), state_v(s, layer, s->updates), bytes);
}

/* Applies a layer to the residual stream; rows before token `first` are left without a result. */
static void walk_layer(const walk *s, int64_t number, int64_t first)
{
    fam_workspace *w = s->w;
    const fam_model *model = w->model;
    const fam_layer *layer = &model->layers[number];
    int64_t n = s->end - s->start, width = model->config.head_dim, done = first - s->start;
    const fam_key_place place = {.k = w->span_k, .v = w->span_v, .sequences = 1,
                                 .layout = {.row_stride = width, .head_stride = w->span_max * width}};
    fam_rope_rows rope = {.cos = w->cos, .sin = w->sin};

    fam_layer_project(w->exec, model, layer, &w->tokens, w->x, n, rope, rope, w->tokens.rotated_q, &place);
    for (int64_t nth = 0; nth < s->updates; nth++)
        update_state(s, number, nth);
    fam_attention_shape shape = fam_layer_attention_shape(model);
    model->backend->ops->attention(w->exec, w->jobs, (int)plan_attention(s, number, first), &shape);
    fam_layer_finish(w->exec, model, layer, &w->tokens, (float *)w->x + done * model->config.hidden_size,
                     (char *)w->tokens.attended + activation_bytes(s, done * model->config.heads * width), n - done,
                     true);
    keep_state(s, number);
    store_in_ring(s, number);
}

/* ---- the span ----------------------------------------------------------------------------------------------------- */

/* Makes sure that no operator of a span of n tokens, with or without state updates, can want for memory. */
static fam_status prepare(fam_workspace *w, int64_t n, bool with_state, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_model *model = w->model;
    bool tokens = n != w->prepared_rows, state = with_state && !w->state_prepared;
    for (int64_t l = 0; (tokens || state) && l < model->config.layers; l++) {
        if (tokens)
            FAM_TRY(fam_layer_prepare(w->exec, &model->layers[l], n, error));
        if (state)
            FAM_TRY(fam_layer_prepare(w->exec, &model->layers[l], model->window.fam_length, error));
    }
    if (tokens)
        w->prepared_rows = n;
    if (state)
        w->state_prepared = true;
done:
    return status;
}

/* The last layer may skip rows that nobody reads; then other row counts turn up there. */
static fam_status prepare_span(fam_workspace *w, int64_t n, int64_t wanted, bool with_state, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_layer *last = &w->model->layers[w->model->config.layers - 1];
    if (wanted != n)
        FAM_TRY(fam_layer_prepare(w->exec, last, wanted, error));
    FAM_TRY(prepare(w, n, with_state, error));
done:
    return status;
}

static fam_status prepare_probe(fam_workspace *w, fam_error *error)
{
    int64_t rows = fam_max_i64(w->span_max, w->model->window.fam_length);
    if (!w->probe_rows)
        w->probe_rows =
            fam_alloc_array(w->model->memory, (size_t)(rows * w->model->config.hidden_size), sizeof(float));
    return w->probe_rows ? FAM_OK : fam_out_of_memory(error, "probe");
}

static void probe_hidden(const walk *s, int64_t layer)
{
    const fam_model *model = s->w->model;
    if (!s->probe || !s->probe->hidden)
        return;
    int64_t n = s->end - s->start;
    model->backend->ops->read(model->backend, s->w->probe_rows, s->w->x,
                              (size_t)(n * model->config.hidden_size) * sizeof(float));
    s->probe->hidden(s->probe->context, layer, s->start, s->w->probe_rows, n);
}

fam_status fam_forward_span(fam_workspace *w, fam_timeline *timeline, const int32_t *tokens, int64_t n, int64_t wanted,
                            const fam_probe *probe, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_model *model = w->model;
    const fam_backend_ops *ops = model->backend->ops;
    const fam_window *window = &model->window;
    walk s = {.w = w, .timeline = timeline, .start = timeline->position, .end = timeline->position + n, .probe = probe};
    if (probe) {
        wanted = n;
        FAM_TRY(prepare_probe(w, error));
    }
    if (window->mode == FAM_MODE_FAM) {
        s.first_block = fam_block_of(window, s.start);
        s.updates = fam_block_of(window, s.end) - s.first_block;
    }
    FAM_TRY(prepare_span(w, n, wanted, s.updates > 0, error));

    for (int64_t i = 0; i < n; i++)
        w->positions[i] = (double)(timeline->offset + s.start + i);
    ops->rope_table(w->exec, w->cos, w->sin, w->positions, model->inverse_frequencies, n, model->config.head_dim / 2);
    if (s.updates > 0)
        make_state_rope(w, s.first_block, s.updates + 2, timeline->offset);
    ops->embed(w->exec, w->x, model->embeddings, tokens, n);
    probe_hidden(&s, 0);
    for (int64_t l = 0; l < model->config.layers; l++) {
        walk_layer(&s, l, l + 1 < model->config.layers ? s.start : s.end - wanted);
        probe_hidden(&s, l + 1);
    }
    status = ops->finish(w->exec, error);
    timeline->torn = status != FAM_OK;
    if (timeline->torn)
        goto done;
    timeline->position = s.end;
    timeline->with_residual = timeline->with_residual || s.updates > 0;
    w->last_row = n - 1;
done:
    return status;
}

fam_status fam_forward_project_state(fam_workspace *w, fam_timeline *timeline, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_model *model = w->model;
    if (model->window.mode != FAM_MODE_FAM)
        return FAM_OK;
    walk s = {.w = w, .timeline = timeline, .first_block = fam_block_of(&model->window, timeline->position)};
    FAM_TRY(prepare(w, w->prepared_rows, true, error));
    make_state_rope(w, s.first_block, 2, timeline->offset);
    for (int64_t l = 0; l < model->config.layers; l++)
        project_state(&s, l, 0);
    status = model->backend->ops->finish(w->exec, error);
    timeline->torn = status != FAM_OK;
done:
    return status;
}

fam_status fam_forward_begin(fam_workspace *w, fam_timeline *timeline, const float *start_state, fam_error *error)
{
    const fam_model *model = w->model;
    fam_backend *backend = model->backend;
    timeline->position = 0;
    timeline->torn = false;
    timeline->with_residual = start_state != NULL;
    if (model->window.mode == FAM_MODE_FAM) {
        size_t bytes = (size_t)(model->config.layers * model->window.fam_length * model->config.hidden_size) *
                       sizeof(float);
        if (start_state)
            backend->ops->write(backend, timeline->state, start_state, bytes);
        else
            backend->ops->copy(backend, timeline->state, model->initial_states, bytes);
    }
    return fam_forward_project_state(w, timeline, error);
}

/* ---- logits ------------------------------------------------------------------------------------------------------- */

const float *fam_forward_last_hidden(const fam_workspace *w)
{
    return (const float *)w->x + w->last_row * w->model->config.hidden_size;
}

fam_status fam_forward_prepare_nll(fam_workspace *w, int64_t rows, fam_error *error)
{
    fam_status status = FAM_OK;
    FAM_TRY(fam_linear_prepare(w->exec, &w->model->head, 1, error));
    if (rows >= FAM_LOGIT_ROWS_MAX)
        FAM_TRY(fam_linear_prepare(w->exec, &w->model->head, FAM_LOGIT_ROWS_MAX, error));
    if (rows % FAM_LOGIT_ROWS_MAX > 0)
        FAM_TRY(fam_linear_prepare(w->exec, &w->model->head, rows % FAM_LOGIT_ROWS_MAX, error));
done:
    return status;
}

/* w->logits [rows, V] from hidden states [rows, E] on the device. */
static fam_status make_logits(fam_workspace *w, const float *hidden, int64_t rows, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_model *model = w->model;
    const fam_backend_ops *ops = model->backend->ops;
    FAM_TRY(fam_linear_prepare(w->exec, &model->head, rows, error));
    ops->rms_norm(w->exec, w->logit_rows, hidden, model->final_norm, model->config.rms_norm_eps, rows,
                  model->config.hidden_size);
    fam_linear_job job = {.linear = &model->head, .out = w->logits};
    fam_linear_forward(w->exec, &job, 1, w->logit_rows, rows, NULL);
    FAM_TRY(ops->finish(w->exec, error));
done:
    return status;
}

static const float *hidden_rows(const fam_workspace *w, int64_t first_row)
{
    return (const float *)w->x + first_row * w->model->config.hidden_size;
}

/* A hidden state from the host, on the device. */
static const float *put_hidden(fam_workspace *w, const float *hidden)
{
    fam_backend *backend = w->model->backend;
    backend->ops->write(backend, w->hidden_row, hidden, (size_t)w->model->config.hidden_size * sizeof(float));
    return w->hidden_row;
}

static fam_status read_logits(fam_workspace *w, float *logits, const float *hidden, int64_t rows, fam_error *error)
{
    const fam_model *model = w->model;
    fam_status status = make_logits(w, hidden, rows, error);
    if (status == FAM_OK)
        model->backend->ops->read(model->backend, logits, w->logits,
                                  (size_t)(rows * model->config.vocab_size) * sizeof(float));
    return status;
}

static fam_status read_nll(fam_workspace *w, double *nll, const int32_t *targets, const float *hidden, int64_t rows,
                           fam_error *error)
{
    const fam_model *model = w->model;
    fam_status status = make_logits(w, hidden, rows, error);
    if (status != FAM_OK)
        return status;
    model->backend->ops->cross_entropy(w->exec, nll, w->logits, targets, rows, model->config.vocab_size);
    return model->backend->ops->finish(w->exec, error);
}

fam_status fam_forward_nll(fam_workspace *w, double *nll, const int32_t *targets, int64_t first_row, int64_t rows,
                           fam_error *error)
{
    return read_nll(w, nll, targets, hidden_rows(w, first_row), rows, error);
}

fam_status fam_forward_logits_of(fam_workspace *w, float *logits, const float *hidden, fam_error *error)
{
    return read_logits(w, logits, put_hidden(w, hidden), 1, error);
}

fam_status fam_forward_nll_of(fam_workspace *w, double *nll, int32_t target, const float *hidden, fam_error *error)
{
    return read_nll(w, nll, &target, put_hidden(w, hidden), 1, error);
}
