/*
 * model/training_jobs.c: the attention of a training pass, both ways: who sees whom (from window.h), and where the
 * gradients of what is seen go.
 */
#include "model/training_private.h"

/* Elements of [B, G, rows, D] before sequence b. */
static int64_t key_elements(const fam_training *t, int64_t rows, int64_t sequence)
{
    const fam_model_config *c = &t->model->config;
    return sequence * c->kv_heads * rows * c->head_dim;
}

static size_t activation_bytes(const fam_training *t, int64_t elements)
{
    return (size_t)elements * fam_dtype_bytes(t->model->backend->dtype);
}

/* Job number `number`: some rows of a tape, from `row` on; their gradients are in the same rows of t->dattended, dq. */
static void begin_job(fam_training *t, int64_t number, const fam_rows_tape *tape, int64_t row, int64_t queries,
                      float *dq)
{
    int64_t stride = t->model->config.heads * t->model->config.head_dim;
    size_t at = activation_bytes(t, row * stride);
    t->jobs[number] = (fam_attention_job){.out = (char *)tape->attended + at,
                                          .q = (const char *)tape->q + at,
                                          .q_stride = stride,
                                          .out_stride = stride,
                                          .queries = queries};
    if (t->options.backward)
        t->backward_jobs[number] = (fam_attention_backward_job){
            .forward = &t->jobs[number], .dout = t->dattended + row * stride, .dq = dq + row * stride};
}

/* Keys [from, to) of a sequence in [B, G, rows, D] buffers become one more range of the job, all visible. dk, dv NULL:
 * they count as given. */
static fam_key_range *add_range(fam_training *t, int64_t number, const fam_rows_tape *tape, int64_t rows,
                                int64_t sequence, int64_t from, int64_t to, float *dk, float *dv)
{
    fam_attention_job *job = &t->jobs[number];
    int64_t width = t->model->config.head_dim, at = key_elements(t, rows, sequence) + from * width;
    int range = job->range_count++;
    job->ranges[range] = (fam_key_range){.k = (const char *)tape->k + activation_bytes(t, at),
                                         .v = (const char *)tape->v + activation_bytes(t, at),
                                         .head_stride = rows * width,
                                         .rows = to - from,
                                         .upper = to - from};
    if (t->options.backward) {
        fam_attention_backward_job *back = &t->backward_jobs[number];
        back->gradients[range].dk = dk ? dk + at : NULL;
        back->gradients[range].dv = dv ? dv + at : NULL;
        back->gradients[range].head_stride = rows * width;
    }
    return &job->ranges[range];
}

float *fam_training_dstate_key(const fam_training *t, float *all, int64_t block)
{
    return all + block % t->state_slots * key_elements(t, t->model->window.fam_length, t->sequences);
}

/* The state that a block reads. */
static void add_state_range(fam_training *t, int64_t number, int64_t layer, int64_t block, int64_t sequence)
{
    const fam_rows_tape tape = fam_training_state(t, layer, block);
    int64_t rows = t->model->window.fam_length;
    bool back = t->options.backward;
    add_range(t, number, &tape, rows, sequence, 0, rows, back ? fam_training_dstate_key(t, t->dstate_k, block) : NULL,
              back ? fam_training_dstate_key(t, t->dstate_v, block) : NULL);
}

/* Tokens [from, to) of the queries that begin with token `begin`, none of them after its last one. */
static void add_token_range(fam_training *t, int64_t number, const fam_rows_tape *tape, int64_t sequence, int64_t begin,
                            int64_t from, int64_t to, bool given)
{
    int64_t oldest = fam_oldest_visible(&t->model->window, begin);
    fam_key_range *range =
        add_range(t, number, tape, t->tokens, sequence, from, to, given ? NULL : t->dk, given ? NULL : t->dv);
    range->lower = oldest - from;
    range->lower_moves = fam_window_slides(&t->model->window);
    range->upper = begin - from + 1;
    range->upper_moves = true;
}

int64_t fam_training_token_jobs(fam_training *t, int64_t layer, const fam_training_span *span)
{
    const fam_window *window = &t->model->window;
    const fam_rows_tape tape = fam_training_tokens(t, layer, span);
    bool cut = t->options.stop_gradient_segments && fam_window_has_blocks(window);
    int64_t count = 0, span_end = span->start + span->length;
    for (int64_t b = 0; b < t->sequences; b++) {
        for (int64_t begin = span->start; begin < span_end;) {
            int64_t end = fam_piece_end(window, begin, span_end),
                    from = fam_max_i64(0, fam_oldest_visible(window, begin));
            begin_job(t, count, &tape, b * span->length + begin - span->start, end - begin, t->dq);
            if (t->fam)
                add_state_range(t, count, layer, fam_block_of(window, begin), b);
            if (cut && from < begin) { /* a piece begins with its block: spans are whole blocks */
                add_token_range(t, count, &tape, b, begin, from, begin, true);
                from = begin;
            }
            add_token_range(t, count, &tape, b, begin, from, end, false);
            count++;
            begin = end;
        }
    }
    return count;
}

int64_t fam_training_update_jobs(fam_training *t, int64_t layer, int64_t update)
{
    const fam_window *window = &t->model->window;
    const fam_rows_tape state = fam_training_state(t, layer, update);
    const fam_training_span span = fam_training_span_at(t, fam_block_start(window, update) / t->span);
    const fam_rows_tape tokens = fam_training_tokens(t, layer, &span);
    for (int64_t b = 0; b < t->sequences; b++) {
        begin_job(t, b, &state, b * window->fam_length, window->fam_length, t->dstate_q);
        add_state_range(t, b, layer, update, b);
        add_range(t, b, &tokens, t->tokens, b, fam_block_start(window, update), fam_block_start(window, update + 1),
                  t->dk, t->dv);
    }
    return t->sequences;
}

int64_t fam_training_prompt_job(fam_training *t, int64_t layer)
{
    const fam_rows_tape tape = fam_training_prompt(t, layer);
    int64_t rows = t->model->window.fam_length;
    begin_job(t, 0, &tape, 0, rows, t->dstate_q);
    add_range(t, 0, &tape, rows, 0, 0, rows, t->dstate_k, t->dstate_v);
    return 1;
}

fam_rope_rows fam_training_token_rope(const fam_training *t, const fam_training_span *span)
{
    int64_t at = span->row * t->model->config.head_dim / 2;
    return (fam_rope_rows){.cos = t->cos + at, .sin = t->sin + at};
}

fam_rope_rows fam_training_state_rope(const fam_training *t, int64_t block)
{
    int64_t at = block * fam_training_state_rows(t) * t->model->config.head_dim / 2;
    return (fam_rope_rows){.cos = t->state_cos + at, .sin = t->state_sin + at};
}
