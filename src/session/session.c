/*
 * session/session.c: one timeline: creating, feeding in spans, scoring, logits. How a layer works is the model's matter.
 */
#include <math.h>
#include <string.h>

#include "session/internal.h"

enum { DEFAULT_SPAN = 512 };
#define SPAN_MAX ((int64_t)1 << 24)

void fam_session_options_init_sized(fam_session_options *options, size_t size)
{
    const fam_session_options defaults = {.span = FAM_AUTO};
    fam_options_give(options, size, &defaults, sizeof defaults);
}

static int64_t state_elements(const fam_model *model)
{
    return model->config.layers * model->window.fam_length * model->config.hidden_size;
}

/* ---- creating ----------------------------------------------------------------------------------------------------- */

static fam_status read_options(fam_session_options *out, const fam_session_options *given, const fam_model *model,
                               fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_status bad = FAM_STATUS_INVALID_ARGUMENT;
    fam_session_options_init(out);
    if (given)
        FAM_TRY(fam_options_copy(out, sizeof *out, given, given->size, "session options", error));
    FAM_FAIL_IF(out->span != FAM_AUTO && (out->span < 1 || out->span > SPAN_MAX), bad,
                "span: found %lld, need 1 to %lld", (long long)out->span, (long long)SPAN_MAX);
    FAM_FAIL_IF(out->position_offset < 0 || out->position_offset > FAM_POSITION_MAX, bad,
                "position_offset: found %lld, need 0 to %lld", (long long)out->position_offset,
                (long long)FAM_POSITION_MAX);
    FAM_FAIL_IF(out->start_state && model->window.mode != FAM_MODE_FAM, bad,
                "start_state: found one, need none (the mode is not fam)");
    for (int64_t i = 0; out->start_state && i < state_elements(model); i++)
        FAM_FAIL_IF(!isfinite(out->start_state[i]), bad, "start_state: element %lld: found %g, need a finite number",
                    (long long)i, (double)out->start_state[i]);
    if (out->span == FAM_AUTO)
        out->span = DEFAULT_SPAN;
    FAM_TRY(fam_model_check_sizes(&model->config, &model->window, 1, out->span, error));
done:
    return status;
}

static uint64_t host_bytes(const fam_model *model)
{
    uint64_t vocab = (uint64_t)model->config.vocab_size;
    return (uint64_t)model->config.hidden_size * sizeof(float) + vocab * sizeof(float) +
           vocab * (sizeof(uint16_t) + sizeof(int32_t) + sizeof(float) + 8) /* the sampler */;
}

fam_status fam_memory_estimate(const fam_engine *engine, const fam_session_options *given, fam_memory_report *out,
                               fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_model *model = engine->model;
    const fam_model_config *config = &model->config;
    fam_session_options options;
    FAM_TRY(read_options(&options, given, model, error));
    int64_t linear = config->layers * (config->hidden_size * (config->heads + 2 * config->kv_heads) * config->head_dim +
                                       config->heads * config->head_dim * config->hidden_size +
                                       3 * config->hidden_size * config->intermediate_size) +
                     config->vocab_size * config->hidden_size;
    *out = (fam_memory_report){
        .weights = model->weight_bytes,
        .panels = (uint64_t)linear * fam_dtype_bytes(model->backend->dtype),
        .state = fam_timeline_state_bytes(model),
        .ring = fam_timeline_ring_bytes(model, fam_ring_rows(&model->window, engine->context)),
        .scratch = fam_workspace_bytes(model, options.span) + host_bytes(model)};
    out->total = out->weights + out->panels + out->state + out->ring + out->scratch;
done:
    return status;
}

/* Ids that pad the vocabulary have no token, and are never drawn. */
static fam_status make_sampler(fam_session *session, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_engine *engine = session->engine;
    int64_t vocab = engine->model->config.vocab_size;
    size_t length;
    FAM_TRY(fam_sampler_create(&session->sampler, &session->engine->memory, vocab, error));
    for (int64_t id = 0; engine->tokenizer && id < vocab; id++)
        if (!fam_tokenizer_bytes(engine->tokenizer, (int32_t)id, &length))
            fam_sampler_forbid(session->sampler, (int32_t)id);
done:
    return status;
}

fam_status fam_session_create(fam_session **out, fam_engine *engine, const fam_session_options *given, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_model *model = engine->model;
    fam_memory *memory = &engine->memory;
    fam_session *session = NULL;
    fam_session_options options;
    size_t vocab = (size_t)model->config.vocab_size;
    FAM_TRY(read_options(&options, given, model, error));

    FAM_TRY_ALLOC(session, fam_alloc_zeroed(memory, sizeof *session), "session");
    session->engine = engine;
    session->options = options;
    session->span = options.span;
    FAM_TRY(fam_timeline_create(&session->timeline, model, engine->context, options.position_offset, error));
    FAM_TRY(fam_workspace_create(&session->workspace, model, session->span, error));
    FAM_TRY_ALLOC(session->hidden, fam_alloc_array(memory, (size_t)model->config.hidden_size, sizeof(float)), "session");
    FAM_TRY_ALLOC(session->logits, fam_alloc_array(memory, vocab, sizeof(float)), "session");
    FAM_TRY(make_sampler(session, error));
    if (options.start_state) {
        size_t bytes = (size_t)state_elements(model) * sizeof(float);
        FAM_TRY_ALLOC(session->start_state, fam_alloc(memory, bytes), "session");
        memcpy(session->start_state, options.start_state, bytes);
    }
    session->options.start_state = NULL;
    FAM_TRY(fam_forward_begin(session->workspace, session->timeline, session->start_state, error));
    *out = session;
    session = NULL;
done:
    fam_session_free(session);
    return status;
}

void fam_session_free(fam_session *session)
{
    if (!session)
        return;
    fam_memory *memory = &session->engine->memory;
    fam_timeline_free(session->timeline);
    fam_workspace_free(session->workspace);
    fam_sampler_free(session->sampler);
    fam_free(memory, session->start_state);
    fam_free(memory, session->hidden);
    fam_free(memory, session->logits);
    fam_free(memory, session->note);
    fam_free(memory, session);
}

fam_status fam_session_clone(fam_session **out, const fam_session *from, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_session *session = NULL;
    fam_session_options options = from->options;
    options.start_state = from->start_state;
    FAM_TRY(fam_session_check_whole(from, error));
    FAM_TRY(fam_session_create(&session, from->engine, &options, error));
    fam_timeline_copy(session->timeline, from->timeline);
    FAM_TRY(fam_sampler_copy(session->sampler, from->sampler, error));
    FAM_TRY(fam_session_set_note(session, from->note, from->note_size, error));
    memcpy(session->hidden, from->hidden, (size_t)from->engine->model->config.hidden_size * sizeof(float));
    session->has_hidden = from->has_hidden;
    *out = session;
    session = NULL;
done:
    fam_session_free(session);
    return status;
}

void fam_session_reset(fam_session *session)
{
    session->timeline->offset = session->options.position_offset; /* a restored one may have had another */
    /* Everything was prepared when the session was created, so beginning again cannot fail for want of memory. */
    fam_forward_begin(session->workspace, session->timeline, session->start_state, NULL);
    fam_sampler_reset(session->sampler);
    fam_session_set_note(session, NULL, 0, NULL);
    session->has_hidden = session->has_logits = false;
}

/* ---- reading ------------------------------------------------------------------------------------------------------ */

fam_status fam_session_check_whole(const fam_session *session, fam_error *error)
{
    if (!session->timeline->torn)
        return FAM_OK;
    return fam_error_set(error, FAM_STATUS_DEVICE,
                         "session: found one that a failed operator left torn, need a reset or a restore");
}

fam_status fam_session_check_tokens(const fam_session *session, const int32_t *tokens, size_t count, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_model *model = session->engine->model;
    const fam_timeline *timeline = session->timeline;
    int64_t vocab = model->config.vocab_size;
    FAM_TRY(fam_session_check_whole(session, error));
    FAM_FAIL_IF(model->window.mode == FAM_MODE_FULL && count > (size_t)(timeline->ring_rows - timeline->position),
                FAM_STATUS_CONTEXT_FULL,
                "context: found %lld tokens, need at most %lld; read on without limit with --mode bswa or with a memory "
                "(--adapter), or make room with --context",
                (long long)(timeline->position + (int64_t)count), (long long)timeline->ring_rows);
    FAM_FAIL_IF(count > (size_t)fam_timeline_room(timeline), FAM_STATUS_CONTEXT_FULL,
                "position: found more than %lld, the largest", (long long)FAM_POSITION_MAX);
    for (size_t i = 0; i < count; i++)
        FAM_FAIL_IF(tokens[i] < 0 || tokens[i] >= vocab, FAM_STATUS_INVALID_ARGUMENT,
                    "token %zu: found id %d, need 0 to %lld", i, tokens[i], (long long)vocab - 1);
done:
    return status;
}

/* nll of the tokens that follow the rows of the last span: nll[i + 1] from row i. */
static fam_status score_rows(fam_session *session, const int32_t *tokens, int64_t rows, double *nll, fam_error *error)
{
    fam_status status = FAM_OK;
    for (int64_t begin = 0; begin < rows; begin += FAM_LOGIT_ROWS_MAX) {
        int64_t n = fam_min_i64(FAM_LOGIT_ROWS_MAX, rows - begin);
        FAM_TRY(fam_forward_nll(session->workspace, nll + begin + 1, tokens + begin + 1, begin, n, error));
    }
done:
    return status;
}

static void keep_hidden(fam_session *session)
{
    fam_backend *backend = session->engine->backend;
    backend->ops->read(backend, session->hidden, fam_forward_last_hidden(session->workspace),
                       (size_t)session->engine->model->config.hidden_size * sizeof(float));
    session->has_hidden = true;
    session->has_logits = false;
}

fam_status fam_session_read_span(fam_session *session, const int32_t *tokens, int64_t n, double *nll, fam_error *error)
{
    fam_status status = FAM_OK;
    if (nll) {
        nll[0] = NAN;
        /* Whatever may fail for want of memory comes before the tokens are read: their nll cannot be had again. */
        FAM_TRY(fam_forward_prepare_nll(session->workspace, n - 1, error));
        if (session->has_hidden)
            FAM_TRY(fam_forward_nll_of(session->workspace, &nll[0], tokens[0], session->hidden, error));
    }
    FAM_TRY(fam_forward_span(session->workspace, session->timeline, tokens, n, nll ? n : 1, session->probe, error));
    keep_hidden(session);
    for (int64_t i = 0; i < n; i++)
        fam_sampler_saw(session->sampler, tokens[i]);
    if (nll) {
        status = score_rows(session, tokens, n - 1, nll, error);
        session->timeline->torn = status != FAM_OK; /* tokens without their nll count as not read */
    }
done:
    return status;
}

/* Reads the caller's tokens span by span. A new count of what is generated begins, unless nothing is read. */
static fam_status read_tokens(fam_session *session, const int32_t *tokens, size_t count, double *nll, size_t *consumed,
                              fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_session_options *options = &session->options;
    size_t done_count = 0;
    FAM_TRY(fam_session_check_tokens(session, tokens, count, error));
    while (done_count < count) {
        FAM_FAIL_IF(options->cancelled && options->cancelled(options->context), FAM_STATUS_CANCELLED,
                    "cancelled after %zu of %zu tokens", done_count, count);
        int64_t n = fam_min_i64(session->span, (int64_t)(count - done_count));
        FAM_TRY(fam_session_read_span(session, tokens + done_count, n, nll ? nll + done_count : NULL, error));
        if (done_count == 0)
            fam_sampler_begin_feed(session->sampler);
        done_count += (size_t)n;
        if (options->progress)
            options->progress(options->context, (int64_t)done_count, (int64_t)count);
    }
done:
    if (consumed)
        *consumed = done_count;
    return status;
}

fam_status fam_session_feed(fam_session *session, const int32_t *tokens, size_t count, size_t *consumed,
                            fam_error *error)
{
    return read_tokens(session, tokens, count, NULL, consumed, error);
}

fam_status fam_session_score(fam_session *session, const int32_t *tokens, size_t count, double *nll, size_t *consumed,
                             fam_error *error)
{
    return read_tokens(session, tokens, count, nll, consumed, error);
}

fam_status fam_session_accept(fam_session *session, int32_t token, fam_error *error)
{
    fam_status status = FAM_OK;
    FAM_TRY(fam_session_check_tokens(session, &token, 1, error));
    FAM_TRY(fam_session_read_span(session, &token, 1, NULL, error));
    fam_sampler_generated(session->sampler, token);
done:
    return status;
}

fam_status fam_session_make_logits(fam_session *session, fam_error *error)
{
    fam_status status = FAM_OK;
    FAM_FAIL_IF(!session->has_hidden, FAM_STATUS_INVALID_ARGUMENT, "logits: found no token read, need at least one");
    if (!session->has_logits)
        FAM_TRY(fam_forward_logits_of(session->workspace, session->logits, session->hidden, error));
    session->has_logits = true;
done:
    return status;
}

/* ---- asking ------------------------------------------------------------------------------------------------------- */

const float *fam_session_logits(fam_session *session)
{
    return fam_session_make_logits(session, NULL) == FAM_OK ? session->logits : NULL;
}

int64_t fam_session_position(const fam_session *session)
{
    return session->timeline->position;
}

void fam_session_stats_get(const fam_session *session, fam_session_stats *out)
{
    const fam_window *window = &session->engine->model->window;
    int64_t position = session->timeline->position;
    int64_t blocks = fam_window_has_blocks(window) ? fam_block_of(window, position) : 0;
    *out = (fam_session_stats){
        .tokens_read = position,
        .tokens_in_window = position - fam_ring_first(window, position),
        .tokens_in_memory = window->mode == FAM_MODE_FAM ? fam_block_start(window, blocks) : 0,
        .blocks = blocks};
}

fam_status fam_session_state(const fam_session *session, float *out, fam_error *error)
{
    const fam_model *model = session->engine->model;
    if (model->window.mode != FAM_MODE_FAM)
        return fam_error_set(error, FAM_STATUS_INVALID_ARGUMENT, "state: found none, need mode fam");
    if (session->timeline->torn)
        return fam_session_check_whole(session, error);
    model->backend->ops->read(model->backend, out, session->timeline->state,
                              (size_t)state_elements(model) * sizeof(float));
    return FAM_OK;
}

fam_status fam_session_set_note(fam_session *session, const void *data, size_t size, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_memory *memory = &session->engine->memory;
    uint8_t *copy = NULL;
    FAM_FAIL_IF(size > (size_t)16 << 20, FAM_STATUS_INVALID_ARGUMENT, "note: found %zu bytes, need at most %d", size,
                16 << 20);
    if (size > 0) {
        FAM_TRY_ALLOC(copy, fam_alloc(memory, size), "note");
        memcpy(copy, data, size);
    }
    fam_free(memory, session->note);
    session->note = copy;
    session->note_size = size;
done:
    return status;
}

const void *fam_session_note(const fam_session *session, size_t *size)
{
    if (size)
        *size = session->note_size;
    return session->note;
}
