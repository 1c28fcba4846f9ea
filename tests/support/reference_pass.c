/*
 * tests/support/reference_pass.c: see reference_pass.h. Letters as in the specification.
 */
#include "reference_pass.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/training_private.h"

enum { KEYS_MAX = 512, HEAD_MAX = 64 };

/* Values of a weight or vector of the model. */
typedef struct values {
    const void *of;
    int64_t rows, columns;
    double *data;
} values;

typedef struct projection {
    double *weight, *a[FAM_ADAPTERS_MAX], *b[FAM_ADAPTERS_MAX];
    int64_t rows, columns, rank[FAM_ADAPTERS_MAX];
    int lora_count;
} projection;

typedef struct layer {
    double *norm1, *norm2;
    projection q, k, v, o, gate, up, down;
} layer;

struct reference_pass {
    const fam_model *model;
    fam_exec *exec;
    fam_training_options options;
    values *all;
    int count;
    double *embeddings, *head, *final_norm, *prompt;
    layer *layers;
    double *noise;             /* [B, L, U, F, E] */
    double *given_k, *given_v; /* [B, L, T, G D] */
    double *nll, *states;
    bool record;
};

static double *zeros(int64_t count)
{
    double *x = calloc((size_t)count + 1, sizeof *x);
    if (!x)
        abort();
    return x;
}

/* ---- weights ------------------------------------------------------------------------------------------------------ */

static double *keep(reference_pass *p, const void *of, const float *data, int64_t rows, int64_t columns)
{
    double *copy = zeros(rows * columns);
    for (int64_t i = 0; i < rows * columns; i++)
        copy[i] = data[i];
    p->all = realloc(p->all, (size_t)(p->count + 1) * sizeof *p->all);
    p->all[p->count++] = (values){of, rows, columns, copy};
    return copy;
}

/* The rows of a table are the values of a weight. */
static double *read_weight(reference_pass *p, const fam_weight *weight, int64_t rows, int64_t columns)
{
    float *data = malloc((size_t)(rows * columns) * sizeof *data);
    int32_t *numbers = malloc((size_t)rows * sizeof *numbers);
    for (int64_t i = 0; i < rows; i++)
        numbers[i] = (int32_t)i;
    p->exec->backend->ops->embed(p->exec, data, weight, numbers, rows);
    double *copy = keep(p, weight, data, rows, columns);
    free(data);
    free(numbers);
    return copy;
}

static double *read_vector(reference_pass *p, const float *vector, int64_t rows, int64_t columns)
{
    float *data = malloc((size_t)(rows * columns) * sizeof *data);
    p->exec->backend->ops->read(p->exec->backend, data, vector, (size_t)(rows * columns) * sizeof *data);
    double *copy = keep(p, vector, data, rows, columns);
    free(data);
    return copy;
}

static projection read_linear(reference_pass *p, const fam_linear *linear, int64_t rows, int64_t columns)
{
    projection out = {.rows = rows, .columns = columns, .lora_count = linear->lora_count};
    out.weight = read_weight(p, linear->weight, rows, columns);
    for (int i = 0; i < linear->lora_count; i++) {
        out.rank[i] = linear->lora[i].rank;
        out.a[i] = read_weight(p, linear->lora[i].a, out.rank[i], columns);
        out.b[i] = read_weight(p, linear->lora[i].b, rows, out.rank[i]);
    }
    return out;
}

reference_pass *reference_pass_open(const fam_model *model, fam_exec *exec, const fam_training_options *options)
{
    reference_pass *p = calloc(1, sizeof *p);
    const fam_model_config *c = &model->config;
    int64_t width = c->hidden_size, wide = c->intermediate_size, q = c->heads * c->head_dim,
            kv = c->kv_heads * c->head_dim, rows = model->window.fam_length,
            tokens = options->sequences * options->tokens;
    p->model = model;
    p->exec = exec;
    p->options = *options;
    p->embeddings = read_weight(p, model->embeddings, c->vocab_size, width);
    p->head = model->head_is_embeddings ? p->embeddings : read_weight(p, model->head.weight, c->vocab_size, width);
    p->final_norm = read_vector(p, model->final_norm, 1, width);
    if (model->window.mode == FAM_MODE_FAM)
        p->prompt = read_vector(p, model->initial_states, rows, width);
    p->layers = calloc((size_t)c->layers, sizeof *p->layers);
    for (int64_t l = 0; l < c->layers; l++) {
        const fam_layer *from = &model->layers[l];
        p->layers[l] = (layer){.norm1 = read_vector(p, from->norm1, 1, width),
                               .norm2 = read_vector(p, from->norm2, 1, width),
                               .q = read_linear(p, &from->q, q, width),
                               .k = read_linear(p, &from->k, kv, width),
                               .v = read_linear(p, &from->v, kv, width),
                               .o = read_linear(p, &from->o, width, q),
                               .gate = read_linear(p, &from->gate, wide, width),
                               .up = read_linear(p, &from->up, wide, width),
                               .down = read_linear(p, &from->down, width, wide)};
    }
    p->noise = zeros(tokens * c->layers * rows * width);
    p->given_k = zeros(tokens * c->layers * kv);
    p->given_v = zeros(tokens * c->layers * kv);
    p->nll = zeros(tokens);
    p->states = zeros(options->sequences * c->layers * rows * width);
    return p;
}

void reference_pass_free(reference_pass *p)
{
    for (int i = 0; i < p->count; i++)
        free(p->all[i].data);
    free(p->all);
    free(p->layers);
    free(p->noise);
    free(p->given_k);
    free(p->given_v);
    free(p->nll);
    free(p->states);
    free(p);
}

double *reference_pass_values(reference_pass *p, const fam_gradient *gradient)
{
    const void *of = gradient->weight ? (const void *)gradient->weight : (const void *)gradient->vector;
    for (int i = 0; i < p->count; i++)
        if (p->all[i].of == of)
            return p->all[i].data;
    return NULL;
}

const double *reference_pass_nll(const reference_pass *p)
{
    return p->nll;
}

const double *reference_pass_states(const reference_pass *p)
{
    return p->states;
}

/* ---- a row -------------------------------------------------------------------------------------------------------- */

static double root_mean_square(const double *x, int64_t width, double eps)
{
    double sum = 0;
    for (int64_t i = 0; i < width; i++)
        sum += x[i] * x[i];
    return sqrt(sum / (double)width + eps);
}

static void norm(double *out, const double *x, const double *gain, int64_t width, double eps)
{
    double root = root_mean_square(x, width, eps);
    for (int64_t i = 0; i < width; i++)
        out[i] = x[i] / root * gain[i];
}

static double dot(const double *a, const double *b, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

/* out += W in. */
static void project(double *out, const projection *w, const double *in)
{
    for (int64_t r = 0; r < w->rows; r++)
        out[r] += dot(w->weight + r * w->columns, in, w->columns);
    for (int i = 0; i < w->lora_count; i++) {
        double inner[KEYS_MAX];
        for (int64_t k = 0; k < w->rank[i]; k++)
            inner[k] = dot(w->a[i] + k * w->columns, in, w->columns);
        for (int64_t r = 0; r < w->rows; r++)
            out[r] += dot(w->b[i] + r * w->rank[i], inner, w->rank[i]);
    }
}

static void rotate(const reference_pass *p, double *x, int64_t heads, double position)
{
    int64_t width = p->model->config.head_dim, half = width / 2;
    for (int64_t h = 0; h < heads; h++) {
        for (int64_t i = 0; i < half; i++) {
            double angle = position * p->model->inverse_frequencies[i], a = x[h * width + i],
                   b = x[h * width + half + i];
            x[h * width + i] = a * cos(angle) - b * sin(angle);
            x[h * width + half + i] = b * cos(angle) + a * sin(angle);
        }
    }
}

/* Rows' queries, keys and values: x [n, E], positions of row i. */
typedef struct projected {
    double *q, *k, *v;
} projected;

static projected project_rows(const reference_pass *p, int64_t l, const double *x, int64_t n, const double *q_at,
                              const double *k_at)
{
    const fam_model_config *c = &p->model->config;
    const layer *w = &p->layers[l];
    int64_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    projected out = {zeros(n * q), zeros(n * kv), zeros(n * kv)};
    double *normed = zeros(c->hidden_size);
    for (int64_t i = 0; i < n; i++) {
        norm(normed, x + i * c->hidden_size, w->norm1, c->hidden_size, c->rms_norm_eps);
        project(out.q + i * q, &w->q, normed);
        project(out.k + i * kv, &w->k, normed);
        project(out.v + i * kv, &w->v, normed);
        rotate(p, out.q + i * q, c->heads, q_at[i]);
        rotate(p, out.k + i * kv, c->kv_heads, k_at[i]);
    }
    free(normed);
    return out;
}

static void release(projected *rows)
{
    free(rows->q);
    free(rows->k);
    free(rows->v);
}

/* What a query sees. */
typedef struct seen {
    const double *k[KEYS_MAX], *v[KEYS_MAX]; /* [G D] each */
    int count;
} seen;

static void see(const reference_pass *p, seen *s, const double *k, const double *v, int64_t row)
{
    int64_t kv = p->model->config.kv_heads * p->model->config.head_dim;
    if (s->count == KEYS_MAX)
        abort();
    s->k[s->count] = k + row * kv;
    s->v[s->count++] = v + row * kv;
}

static void attend(const reference_pass *p, double *out, const double *q, const seen *s)
{
    const fam_model_config *c = &p->model->config;
    int64_t width = c->head_dim;
    for (int64_t h = 0; h < c->heads; h++) {
        int64_t at = h / (c->heads / c->kv_heads) * width;
        double weight[KEYS_MAX], sum = 0;
        for (int j = 0; j < s->count; j++)
            sum += weight[j] = exp(dot(q + h * width, s->k[j] + at, width) / sqrt((double)width));
        for (int64_t i = 0; i < width; i++) {
            out[h * width + i] = 0;
            for (int j = 0; j < s->count; j++)
                out[h * width + i] += weight[j] / sum * s->v[j][at + i];
        }
    }
}

/* x [E] (the residual, or zeros) becomes the layer's result. */
static void finish(const reference_pass *p, int64_t l, double *x, const double *attended)
{
    const fam_model_config *c = &p->model->config;
    const layer *w = &p->layers[l];
    double *normed = zeros(c->hidden_size), *gate = zeros(c->intermediate_size), *up = zeros(c->intermediate_size);
    project(x, &w->o, attended);
    norm(normed, x, w->norm2, c->hidden_size, c->rms_norm_eps);
    project(gate, &w->gate, normed);
    project(up, &w->up, normed);
    for (int64_t i = 0; i < c->intermediate_size; i++)
        gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
    project(x, &w->down, gate);
    free(normed);
    free(gate);
    free(up);
}

/* ---- the prompt and the state ------------------------------------------------------------------------------------- */

/* P^0 ... P^(L-1): [L, F, E]. */
static double *initial_states(const reference_pass *p)
{
    const fam_model_config *c = &p->model->config;
    int64_t rows = p->model->window.fam_length, elements = rows * c->hidden_size;
    double *states = zeros(c->layers * elements), *at = zeros(rows), *attended = zeros(c->heads * c->head_dim);
    for (int64_t i = 0; i < rows; i++)
        at[i] = fam_state_position(&p->model->window, 0, i, 0);
    memcpy(states, p->prompt, (size_t)elements * sizeof *states);
    for (int64_t l = 0; l + 1 < c->layers; l++) {
        double *next = states + (l + 1) * elements;
        projected w = project_rows(p, l, states + l * elements, rows, at, at);
        seen s = {.count = 0};
        for (int64_t i = 0; i < rows; i++)
            see(p, &s, w.k, w.v, i);
        memcpy(next, states + l * elements, (size_t)elements * sizeof *next);
        for (int64_t i = 0; i < rows; i++) {
            attend(p, attended, w.q + i * c->heads * c->head_dim, &s);
            finish(p, l, next + i * c->hidden_size, attended);
        }
        release(&w);
    }
    free(at);
    free(attended);
    return states;
}

/* Standard normal numbers of an update, from the operator itself: what it adds to rows of ones. [B F, E] */
static float *normal_numbers(const reference_pass *p, const fam_training_batch *batch, int64_t l, int64_t update)
{
    int64_t n = p->options.sequences * p->model->window.fam_length, width = p->model->config.hidden_size;
    float *x = malloc((size_t)(n * width) * sizeof *x);
    for (int64_t i = 0; i < n * width; i++)
        x[i] = 1;
    p->exec->backend->ops->add_noise(p->exec, x, 1, fam_training_noise_seed(batch->noise_seed, l, update), n, width);
    for (int64_t i = 0; i < n * width; i++)
        x[i] -= 1;
    return x;
}

/* state [F, E] is rescaled to the RMS that initial [F, E] has, and gets its noise. */
static void rescale(reference_pass *p, const fam_training_batch *batch, int64_t b, int64_t l, int64_t update,
                    double *state, const double *initial)
{
    const fam_model *model = p->model;
    int64_t rows = model->window.fam_length, width = model->config.hidden_size;
    int64_t blocks = p->options.tokens / model->window.block_size;
    double *noise = p->noise + ((b * model->config.layers + l) * blocks + update) * rows * width;
    float *normal = batch->state_noise != 0 && p->record ? normal_numbers(p, batch, l, update) : NULL;
    for (int64_t i = 0; i < rows; i++) {
        double *row = state + i * width;
        double target =
            model->state_norm == FAM_STATE_NORM_RMS_INIT ? root_mean_square(initial + i * width, width, 1e-12) : 1;
        double factor = target / root_mean_square(row, width, 1e-12);
        for (int64_t c = 0; c < width && model->state_norm != FAM_STATE_NORM_NONE; c++)
            row[c] *= factor;
        double rms = root_mean_square(row, width, 1e-12);
        for (int64_t c = 0; c < width && batch->state_noise != 0; c++) {
            if (p->record)
                noise[i * width + c] = batch->state_noise * rms * normal[(b * rows + i) * width + c];
            row[c] += noise[i * width + c];
        }
    }
    free(normal);
}

/* ---- a sequence --------------------------------------------------------------------------------------------------- */

/* A sequence on its way through a layer. */
typedef struct walk {
    reference_pass *p;
    const fam_training_batch *batch;
    int64_t b, l;
    const double *initial; /* [L, F, E] */
    double *x;             /* [T, E] */
    projected tokens;
    double *state; /* [F, E] */
} walk;

static projected project_state(const walk *s, int64_t block)
{
    const fam_window *window = &s->p->model->window;
    double q_at[KEYS_MAX], k_at[KEYS_MAX];
    for (int64_t i = 0; i < window->fam_length; i++) {
        q_at[i] = fam_state_position(window, block + 1, i, s->batch->offsets[s->b]);
        k_at[i] = fam_state_position(window, block, i, s->batch->offsets[s->b]);
    }
    return project_rows(s->p, s->l, s->state, window->fam_length, q_at, k_at);
}

static void update(const walk *s, const projected *state, int64_t block, bool residual)
{
    reference_pass *p = s->p;
    const fam_model_config *c = &p->model->config;
    const fam_window *window = &p->model->window;
    int64_t rows = window->fam_length, width = c->hidden_size;
    double *attended = zeros(c->heads * c->head_dim);
    seen keys = {.count = 0};
    for (int64_t i = 0; i < rows; i++)
        see(p, &keys, state->k, state->v, i);
    for (int64_t i = block * window->block_size; i < (block + 1) * window->block_size; i++)
        see(p, &keys, s->tokens.k, s->tokens.v, i);
    for (int64_t i = 0; i < rows; i++) {
        attend(p, attended, state->q + i * c->heads * c->head_dim, &keys);
        if (!residual)
            memset(s->state + i * width, 0, (size_t)width * sizeof *s->state);
        finish(p, s->l, s->state + i * width, attended);
    }
    rescale(p, s->batch, s->b, s->l, block, s->state, s->initial + s->l * rows * width);
    free(attended);
}

static void token(const walk *s, int64_t i, const projected *state)
{
    reference_pass *p = s->p;
    const fam_model_config *c = &p->model->config;
    const fam_window *window = &p->model->window;
    int64_t kv = c->kv_heads * c->head_dim, given = (s->b * c->layers + s->l) * p->options.tokens * kv;
    double *attended = zeros(c->heads * c->head_dim);
    seen keys = {.count = 0};
    for (int64_t j = 0; state && j < window->fam_length; j++)
        see(p, &keys, state->k, state->v, j);
    for (int64_t j = fam_max_i64(0, fam_oldest_visible(window, i)); j <= i; j++) {
        if (p->options.stop_gradient_segments && fam_window_has_blocks(window) &&
            j / window->block_size != i / window->block_size)
            see(p, &keys, p->given_k + given, p->given_v + given, j);
        else
            see(p, &keys, s->tokens.k, s->tokens.v, j);
    }
    attend(p, attended, s->tokens.q + i * c->heads * c->head_dim, &keys);
    finish(p, s->l, s->x + i * c->hidden_size, attended);
    free(attended);
}

static void first_state(const walk *s, bool given)
{
    const fam_model_config *c = &s->p->model->config;
    int64_t elements = s->p->model->window.fam_length * c->hidden_size;
    for (int64_t i = 0; i < elements; i++)
        s->state[i] = given ? (double)s->batch->start_states[(s->b * c->layers + s->l) * elements + i]
                            : s->initial[s->l * elements + i];
}

static void walk_layer(walk *s)
{
    reference_pass *p = s->p;
    const fam_model_config *c = &p->model->config;
    const fam_window *window = &p->model->window;
    int64_t tokens = p->options.tokens, kv = c->kv_heads * c->head_dim, place = (s->b * c->layers + s->l) * tokens * kv,
            elements = window->fam_length * c->hidden_size;
    double *at = zeros(tokens);
    bool fam = window->mode == FAM_MODE_FAM,
         given = s->batch->start_states && (!s->batch->given || s->batch->given[s->b]);
    for (int64_t i = 0; i < tokens; i++)
        at[i] = (double)(s->batch->offsets[s->b] + i);
    s->tokens = project_rows(p, s->l, s->x, tokens, at, at);
    if (p->record) {
        memcpy(p->given_k + place, s->tokens.k, (size_t)(tokens * kv) * sizeof *p->given_k);
        memcpy(p->given_v + place, s->tokens.v, (size_t)(tokens * kv) * sizeof *p->given_v);
    }
    projected state = {0};
    if (fam)
        first_state(s, given);
    for (int64_t i = 0; i < tokens; i++) {
        if (fam && i % window->block_size == 0)
            state = project_state(s, i / window->block_size);
        token(s, i, fam ? &state : NULL);
        if (fam && (i + 1) % window->block_size == 0)
            update(s, &state, i / window->block_size, i >= window->block_size || given);
        if (fam && ((i + 1) % window->block_size == 0 || i + 1 == tokens))
            release(&state);
    }
    if (fam)
        memcpy(p->states + (s->b * c->layers + s->l) * elements, s->state, (size_t)elements * sizeof *s->state);
    release(&s->tokens);
    free(at);
}

static double nll_of(const reference_pass *p, const double *x, int32_t target)
{
    const fam_model_config *c = &p->model->config;
    double *normed = zeros(c->hidden_size), sum = 0, own = 0;
    norm(normed, x, p->final_norm, c->hidden_size, c->rms_norm_eps);
    for (int64_t v = 0; v < c->vocab_size; v++) {
        double logit = dot(p->head + v * c->hidden_size, normed, c->hidden_size);
        sum += exp(logit);
        own = v == target ? logit : own;
    }
    free(normed);
    return log(sum) - own;
}

double reference_pass_loss(reference_pass *p, const fam_training_batch *batch, bool record)
{
    const fam_model_config *c = &p->model->config;
    int64_t tokens = p->options.tokens, width = c->hidden_size;
    double loss = 0;
    p->record = record;
    double *initial = p->model->window.mode == FAM_MODE_FAM ? initial_states(p) : NULL;
    for (int64_t b = 0; b < p->options.sequences; b++) {
        const int32_t *ids = batch->ids + b * tokens;
        walk s = {.p = p,
                  .batch = batch,
                  .b = b,
                  .initial = initial,
                  .x = zeros(tokens * width),
                  .state = zeros(p->model->window.fam_length * width)};
        for (int64_t i = 0; i < tokens; i++)
            memcpy(s.x + i * width, p->embeddings + ids[i] * width, (size_t)width * sizeof *s.x);
        for (s.l = 0; s.l < c->layers; s.l++)
            walk_layer(&s);
        for (int64_t i = 1; i < tokens; i++) {
            p->nll[b * tokens + i] = nll_of(p, s.x + (i - 1) * width, ids[i]);
            loss += (double)batch->weights[b * tokens + i] * p->nll[b * tokens + i];
        }
        free(s.x);
        free(s.state);
    }
    free(initial);
    return loss;
}
