/*
 * fam_case CASE_DIR OUT.safetensors [--device cpu] [--span N] [--dtype f32|bf16] [--isa NAME] [--threads N]
 *          [--recompute none|layer|span]
 *
 * Runs a golden case through the engine that `fam` uses and writes what expected.safetensors would hold: logits, hidden,
 * initial_states, states, loss, and the gradients grad.NAME if the case asks for them (by the training pass). Feeds the
 * case's chunks as given; --span caps how many tokens are worked on at once (0, the default: no cap). Never opens
 * expected.safetensors.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/json.h"
#include "format/safetensors.h"
#include "model/training_private.h"
#include "session/internal.h"

enum { GRADIENTS_MAX = 256 };

/* What is gathered while the case runs. */
typedef struct gathered {
    int64_t tokens, layers, width, vocab, blocks, state_rows;
    float *hidden;   /* [L + 1, T, E] */
    float *states;   /* [blocks, L, F, E] */
    float *logits;   /* [T, V] */
    double *nll;     /* [T] */
    fam_tensor gradients[GRADIENTS_MAX]; /* names and data from fam_alloc */
    int64_t gradient_count;
} gathered;

static void take_hidden(void *context, int64_t layer, int64_t start, const float *rows, int64_t n)
{
    gathered *g = context;
    memcpy(g->hidden + (layer * g->tokens + start) * g->width, rows, (size_t)(n * g->width) * sizeof(float));
}

static void take_state(void *context, int64_t block, int64_t layer, const float *state)
{
    gathered *g = context;
    int64_t elements = g->state_rows * g->width;
    memcpy(g->states + (block * g->layers + layer) * elements, state, (size_t)elements * sizeof(float));
}

typedef struct arguments {
    const char *directory, *out, *dtype, *isa, *device;
    int64_t span;
    int threads, recompute;
} arguments;

/* A case as its files describe it. */
typedef struct golden_case {
    json_t *json;
    int64_t count, offset;
    int32_t *tokens;
    double *weights;
    char adapter[4096], start_state[4096]; /* empty: none */
} golden_case;

static fam_status fail(fam_error *error, const char *what)
{
    return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "case.json: %s", what);
}

static fam_status read_case(golden_case *out, fam_memory *memory, const char *directory, fam_error *error)
{
    fam_status status = FAM_OK;
    char path[4096];
    const char *adapter = NULL, *start = NULL;
    snprintf(path, sizeof path, "%s/case.json", directory);
    FAM_TRY(fam_json_read(&out->json, memory, path, (size_t)64 << 20, error));
    FAM_TRY(fam_json_string(out->json, path, "adapter", false, &adapter, error));
    FAM_TRY(fam_json_string(out->json, path, "start_state", false, &start, error));
    FAM_TRY(fam_json_i64(out->json, path, "offset", true, &out->offset, error));
    if (adapter)
        snprintf(out->adapter, sizeof out->adapter, "%s/%s", directory, adapter);
    if (start)
        snprintf(out->start_state, sizeof out->start_state, "%s/%s", directory, start);
    const json_t *tokens = json_object_get(out->json, "tokens"), *weights = json_object_get(out->json, "loss_weights");
    out->count = (int64_t)json_array_size(tokens);
    if (out->count == 0 || json_array_size(weights) != (size_t)out->count)
        return fail(error, "tokens and loss_weights must be arrays of one length");
    FAM_TRY_ALLOC(out->tokens, fam_alloc_array(memory, (size_t)out->count, sizeof *out->tokens), path);
    FAM_TRY_ALLOC(out->weights, fam_alloc_array(memory, (size_t)out->count, sizeof *out->weights), path);
    for (int64_t i = 0; i < out->count; i++) {
        out->tokens[i] = (int32_t)json_integer_value(json_array_get(tokens, (size_t)i));
        out->weights[i] = json_number_value(json_array_get(weights, (size_t)i));
    }
done:
    return status;
}

static fam_status feed_chunks(fam_session *session, const golden_case *c, gathered *g, fam_error *error)
{
    fam_status status = FAM_OK;
    const json_t *chunks = json_object_get(c->json, "chunks");
    int64_t at = 0, rows = g->vocab;
    for (size_t i = 0; i < json_array_size(chunks); i++) {
        int64_t n = json_integer_value(json_array_get(chunks, i));
        if (n < 1 || n > c->count - at)
            return fail(error, "chunks must add up to the tokens");
        FAM_TRY(fam_session_score(session, c->tokens + at, (size_t)n, g->nll + at, NULL, error));
        at += n;
        const float *last = fam_session_logits(session);
        FAM_FAIL_IF(!last, FAM_STATUS_FAILED, "no logits");
        memcpy(g->logits + (at - 1) * rows, last, (size_t)rows * sizeof(float));
    }
    if (at != c->count)
        return fail(error, "chunks must add up to the tokens");
    for (int64_t t = 0; t < c->count; t++)
        FAM_TRY(fam_forward_logits_of(session->workspace, g->logits + t * rows,
                                      g->hidden + (g->layers * g->tokens + t) * g->width, error));
done:
    return status;
}

/* ---- gradients ---------------------------------------------------------------------------------------------------- */

typedef struct gradient_reader {
    gathered *g;
    fam_memory *memory;
    fam_backend *backend;
} gradient_reader;

static fam_status take_gradient(void *context, const fam_gradient *gradient, fam_error *error)
{
    fam_status status = FAM_OK;
    gradient_reader *r = context;
    size_t count = (size_t)(gradient->shape[0] * (gradient->n_dims == 2 ? gradient->shape[1] : 1));
    FAM_FAIL_IF(r->g->gradient_count == GRADIENTS_MAX, FAM_STATUS_FAILED, "too many gradients");
    fam_tensor *out = &r->g->gradients[r->g->gradient_count++];
    float *data = NULL;
    char *name = NULL;
    FAM_TRY_ALLOC(data, fam_alloc_array(r->memory, count, sizeof *data), "gradient");
    *out = (fam_tensor){.type = FAM_TYPE_F32, .n_dims = gradient->n_dims,
                        .shape = {gradient->shape[0], gradient->shape[1]}, .data = (const uint8_t *)data,
                        .bytes = count * sizeof *data};
    FAM_TRY_ALLOC(name, fam_alloc(r->memory, strlen(gradient->name) + 6), "gradient");
    sprintf(name, "grad.%s", gradient->name);
    out->name = name;
    r->backend->ops->read(r->backend, data, gradient->data, out->bytes);
    for (size_t i = 0; i < count; i++)
        data[i] = (float)(gradient->factor * (double)data[i]);
done:
    return status;
}

/* The training pass over the whole sequence; the loss that it finds takes the place of the session's. */
static fam_status run_training(const arguments *a, const golden_case *c, gathered *g, fam_engine *engine,
                               const float *start_state, fam_memory *memory, float *loss, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_training *training = NULL;
    fam_gradients *gradients = NULL;
    float *weights = NULL;
    double loss_sum, weight_sum;
    FAM_TRY_ALLOC(weights, fam_alloc_array(memory, (size_t)c->count, sizeof *weights), "loss weights");
    for (int64_t i = 0; i < c->count; i++)
        weights[i] = (float)c->weights[i];
    const fam_training_batch batch = {.ids = c->tokens, .weights = weights,
                                      .offsets = &c->offset, .start_states = start_state};
    const fam_training_options options = {.sequences = 1, .tokens = c->count, .backward = true,
                                          .recompute = (fam_recompute)a->recompute};
    const fam_training_limits limits = {a->span, a->span};
    if (a->span == 0)
        FAM_TRY(fam_training_create(&training, engine->model, &options, error));
    else
        FAM_TRY(fam_training_create_limited(&training, engine->model, &options, &limits, error));
    FAM_TRY(fam_gradients_create(&gradients, engine->model, c->adapter[0] ? FAM_TRAIN_ADAPTERS : FAM_TRAIN_ALL, error));
    FAM_TRY(fam_training_forward(training, &batch, &loss_sum, &weight_sum, error));
    double scale = weight_sum > 0 ? 1 / weight_sum : 0;
    *loss = (float)(loss_sum * scale);
    FAM_TRY(fam_training_backward(training, gradients, scale, error));
    gradient_reader reader = {g, memory, engine->backend};
    FAM_TRY(fam_gradients_visit(gradients, take_gradient, &reader, error));
done:
    fam_gradients_free(gradients);
    fam_training_free(training);
    fam_free(memory, weights);
    return status;
}

/* The weighted mean of the session's nll. */
static float session_loss(const golden_case *c, const gathered *g)
{
    double sum = 0, total = 0;
    for (int64_t t = 1; t < c->count; t++) {
        sum += c->weights[t] * g->nll[t];
        total += c->weights[t];
    }
    return (float)(total > 0 ? sum / total : 0);
}

static fam_status write_results(const arguments *a, gathered *g, float loss, const fam_engine *engine,
                                fam_memory *memory, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_model *model = engine->model;
    float *initial = NULL;
    fam_tensor tensors[5 + GRADIENTS_MAX];
    int64_t n = 0;
    tensors[n++] = (fam_tensor){.name = "logits", .n_dims = 2, .shape = {g->tokens, g->vocab},
                                .data = (const uint8_t *)g->logits};
    tensors[n++] = (fam_tensor){.name = "hidden", .n_dims = 3, .shape = {g->layers + 1, g->tokens, g->width},
                                .data = (const uint8_t *)g->hidden};
    tensors[n++] = (fam_tensor){.name = "loss", .n_dims = 1, .shape = {1}, .data = (const uint8_t *)&loss};
    if (model->window.mode == FAM_MODE_FAM) {
        size_t bytes = (size_t)(g->layers * g->state_rows * g->width) * sizeof(float);
        FAM_TRY_ALLOC(initial, fam_alloc(memory, bytes), "initial states");
        engine->backend->ops->read(engine->backend, initial, model->initial_states, bytes);
        tensors[n++] = (fam_tensor){.name = "initial_states", .n_dims = 3, .shape = {g->layers, g->state_rows, g->width},
                                    .data = (const uint8_t *)initial};
        if (g->blocks > 0)
            tensors[n++] = (fam_tensor){.name = "states", .n_dims = 4,
                                        .shape = {g->blocks, g->layers, g->state_rows, g->width},
                                        .data = (const uint8_t *)g->states};
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t elements = 1;
        for (int d = 0; d < tensors[i].n_dims; d++)
            elements *= tensors[i].shape[d];
        tensors[i].type = FAM_TYPE_F32;
        tensors[i].bytes = (size_t)elements * sizeof(float);
    }
    for (int64_t i = 0; i < g->gradient_count; i++)
        tensors[n++] = g->gradients[i];
    FAM_TRY(fam_safetensors_write(a->out, memory, tensors, n, error));
done:
    fam_free(memory, initial);
    return status;
}

static fam_status open_engine(fam_engine **out, const arguments *a, const golden_case *c, fam_error *error)
{
    fam_engine_options options;
    fam_engine_options_init(&options);
    const fam_adapter_option adapter = {.path = c->adapter, .scale = 1};
    options.adapters = &adapter;
    options.adapter_count = c->adapter[0] != '\0';
    options.context = c->count;
    options.device = a->device;
    options.isa = a->isa;
    options.threads = a->threads;
    options.dtype = strcmp(a->dtype, "bf16") == 0 ? FAM_DTYPE_BF16 : FAM_DTYPE_F32;
    return fam_engine_open(out, a->directory, &options, error);
}

static fam_status run(const arguments *a, fam_memory *memory, fam_error *error)
{
    fam_status status = FAM_OK;
    golden_case c = {0};
    gathered g = {0};
    fam_engine *engine = NULL;
    fam_session *session = NULL;
    fam_safetensors *start = NULL;
    FAM_TRY(read_case(&c, memory, a->directory, error));
    FAM_TRY(open_engine(&engine, a, &c, error));

    const fam_model *model = engine->model;
    g = (gathered){.tokens = c.count, .layers = model->config.layers, .width = model->config.hidden_size,
                   .vocab = model->config.vocab_size, .state_rows = model->window.fam_length,
                   .blocks = model->window.mode == FAM_MODE_FAM ? c.count / model->window.block_size : 0};
    size_t rows = (size_t)c.count;
    FAM_TRY_ALLOC(g.hidden, fam_alloc_array(memory, (size_t)((g.layers + 1) * g.width) * rows, sizeof(float)), "hidden");
    FAM_TRY_ALLOC(g.states, fam_alloc_array(memory, (size_t)(g.blocks * g.layers * g.state_rows * g.width), sizeof(float)),
                  "states");
    FAM_TRY_ALLOC(g.logits, fam_alloc_array(memory, (size_t)g.vocab * rows, sizeof(float)), "logits");
    FAM_TRY_ALLOC(g.nll, fam_alloc_array(memory, rows, sizeof(double)), "nll");

    fam_session_options options;
    fam_session_options_init(&options);
    options.span = a->span == 0 ? c.count : a->span;
    options.position_offset = c.offset;
    if (c.start_state[0]) {
        FAM_TRY(fam_safetensors_open(&start, memory, c.start_state, error));
        const fam_tensor *state = fam_safetensors_tensor(start, "state");
        FAM_FAIL_IF(!state || state->bytes != (size_t)(g.layers * g.state_rows * g.width) * sizeof(float),
                    FAM_STATUS_BAD_FORMAT, "%s: tensor state: need [L, F, E] float32", c.start_state);
        options.start_state = (const float *)state->data;
    }
    FAM_TRY(fam_session_create(&session, engine, &options, error));
    const fam_probe probe = {.hidden = take_hidden, .state = take_state, .context = &g};
    session->probe = &probe;
    FAM_TRY(feed_chunks(session, &c, &g, error));
    float loss = session_loss(&c, &g);
    if (json_is_true(json_object_get(c.json, "gradients")))
        FAM_TRY(run_training(a, &c, &g, engine, options.start_state, memory, &loss, error));
    FAM_TRY(write_results(a, &g, loss, engine, memory, error));
done:
    for (int64_t i = 0; i < g.gradient_count; i++) {
        fam_free(memory, (void *)(uintptr_t)g.gradients[i].name);
        fam_free(memory, (void *)(uintptr_t)g.gradients[i].data);
    }
    fam_session_free(session);
    fam_engine_free(engine);
    fam_safetensors_free(start);
    fam_free(memory, g.hidden);
    fam_free(memory, g.states);
    fam_free(memory, g.logits);
    fam_free(memory, g.nll);
    fam_free(memory, c.tokens);
    fam_free(memory, c.weights);
    json_decref(c.json);
    return status;
}

static int usage(void)
{
    fputs("usage: fam_case CASE_DIR OUT.safetensors [--device cpu] [--span N] [--dtype f32|bf16] [--isa NAME] "
          "[--threads N] [--recompute none|layer|span]\n",
          stderr);
    return 2;
}

static bool parse_recompute(int *out, const char *text)
{
    for (*out = 0; fam_recompute_name(*out); ++*out)
        if (strcmp(fam_recompute_name(*out), text) == 0)
            return true;
    return false;
}

static bool parse_count(int64_t *out, const char *text)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    *out = value;
    return errno == 0 && end != text && *end == '\0' && value >= 0;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return usage();
    arguments a = {.directory = argv[1], .out = argv[2], .dtype = "f32", .threads = FAM_AUTO};
    int64_t threads = 0;
    for (int i = 3; i < argc; i += 2) {
        if (i + 1 >= argc)
            return usage();
        const char *name = argv[i], *value = argv[i + 1];
        bool ok = true;
        if (strcmp(name, "--span") == 0)
            ok = parse_count(&a.span, value);
        else if (strcmp(name, "--threads") == 0)
            ok = parse_count(&threads, value) && threads > 0 && threads < 1000 && (a.threads = (int)threads) > 0;
        else if (strcmp(name, "--dtype") == 0)
            ok = strcmp(a.dtype = value, "f32") == 0 || strcmp(value, "bf16") == 0;
        else if (strcmp(name, "--isa") == 0)
            a.isa = value;
        else if (strcmp(name, "--recompute") == 0)
            ok = parse_recompute(&a.recompute, value);
        else if (strcmp(name, "--device") == 0)
            a.device = value;
        else
            ok = false;
        if (!ok)
            return usage();
    }
    fam_memory memory;
    fam_error error = {0};
    fam_memory_init(&memory);
    fam_status status = run(&a, &memory, &error);
    if (status != FAM_OK)
        fprintf(stderr, "fam_case: %s\n", error.message);
    return fam_status_exit_code(status);
}
