/*
 * What flows back through the CPU backend's operators, against plain double loops and against finite differences of the
 * forward operator in double: every instruction set level that this machine has, both arithmetic types, and the same
 * bits with one thread, two and three. Attention is in test_backward_attention.c.
 */
#define SUITE_TIMEOUT 300

#include "backward_fixture.h"

/* n and width of row operators: the small ones are also checked by finite differences */
static const int64_t SHAPES[][2] = {{1, 1}, {2, 3}, {3, 8}, {5, 17}, {4, 64}, {33, 65}, {100, 256}, {1100, 70}};
enum { SHAPE_COUNT = sizeof SHAPES / sizeof *SHAPES, SMALL = 300 };

/* Two gradients that are added to or overwritten; the second call of each check leaves one of them out. */
typedef struct gradients {
    float *a, *b, *a_before, *b_before;
    int64_t a_count, b_count;
} gradients;

static gradients make_gradients(fixture *f, int64_t a_count, int64_t b_count)
{
    gradients g = {.a_count = a_count, .b_count = b_count};
    g.a_before = random_floats(f, a_count);
    g.b_before = random_floats(f, b_count);
    g.a = copy_floats(g.a_before, a_count);
    g.b = copy_floats(g.b_before, b_count);
    return g;
}

static void free_gradients(gradients *g)
{
    free(g->a);
    free(g->b);
    free(g->a_before);
    free(g->b_before);
}

static void assert_untouched(const float *x, const float *before, int64_t count)
{
    assert_memory_equal(x, before, (size_t)count * sizeof *x);
}

/* ---- norms -------------------------------------------------------------------------------------------------------- */

enum { NORM, ROW_RMS, RESCALE, SILU };

/* The loss: sum(dout * operator(x, y)), or of row_rms, sum(dout * row_rms(x)). */
typedef struct row_problem {
    int kind;
    int64_t n, width;
    double eps;
    double *x, *y, *dout; /* y: gain, target or up; NULL: 1 */
} row_problem;

static double row_square(const row_problem *p, int64_t i)
{
    double square = 0;
    for (int64_t c = 0; c < p->width; c++)
        square += p->x[i * p->width + c] * p->x[i * p->width + c];
    return square / (double)p->width;
}

static double row_loss(const void *context)
{
    const row_problem *p = context;
    double loss = 0;
    for (int64_t i = 0; i < p->n; i++) {
        double root = sqrt(row_square(p, i) + p->eps);
        if (p->kind == ROW_RMS)
            loss += p->dout[i] * root;
        for (int64_t c = 0; c < p->width && p->kind != ROW_RMS; c++) {
            int64_t at = i * p->width + c;
            double x = p->x[at];
            double out = p->kind == NORM      ? x / root * p->y[c]
                         : p->kind == RESCALE ? x / root * (p->y ? p->y[i] : 1)
                                              : x / (1 + exp(-x)) * p->y[at];
            loss += p->dout[at] * out;
        }
    }
    return loss;
}

/* By the formulas: dx [n, width] and dy. Returns the greatest of what dx is a difference of. */
static double row_formulas(const row_problem *p, double *dx, double *dy)
{
    int64_t width = p->width;
    double greatest = 0;
    for (int64_t i = 0; i < p->n; i++) {
        double square = row_square(p, i) + p->eps, root = sqrt(square), along = 0;
        for (int64_t c = 0; c < width && p->kind != ROW_RMS; c++)
            along += p->dout[i * width + c] * p->x[i * width + c] *
                     (p->kind == NORM ? p->y[c] : p->y && p->kind == RESCALE ? p->y[i] : 1);
        if (p->kind == RESCALE)
            dy[i] = p->y && p->y[i] != 0 ? along / p->y[i] / root : along / root;
        for (int64_t c = 0; c < width; c++) {
            int64_t at = i * width + c;
            double x = p->x[at], sigmoid = 1 / (1 + exp(-x));
            if (p->kind == ROW_RMS)
                dx[at] = p->dout[i] * x / root / (double)width;
            else if (p->kind == SILU) {
                dx[at] = p->dout[at] * p->y[at] * sigmoid * (1 + x * (1 - sigmoid));
                dy[at] = p->dout[at] * x * sigmoid;
            } else {
                double factor = p->kind == NORM ? p->y[c] : p->y ? p->y[i] : 1;
                dx[at] = p->dout[at] * factor / root - x * along / (square * root * (double)width);
                greatest = fmax(greatest, fabs(p->dout[at] * factor / root));
                if (p->kind == NORM)
                    dy[c] += p->dout[at] * x / root;
            }
        }
    }
    return greatest;
}

static void call_row_operator(fixture *f, const row_problem *p, float *dx, float *dy, const float *dout, const float *x,
                              const float *y)
{
    if (p->kind == NORM)
        f->ops->rms_norm_backward(f->exec, dx, dy, dout, x, y, p->eps, p->n, p->width);
    else if (p->kind == ROW_RMS)
        f->ops->row_rms_backward(f->exec, dx, dout, x, p->n, p->width);
    else if (p->kind == RESCALE)
        f->ops->rescale_rows_backward(f->exec, dx, p->y ? dy : NULL, dout, x, y, p->n, p->width);
    else
        f->ops->silu_multiply_backward(f->exec, dx, dy, dout, x, y, p->n, p->width);
}

static void check_row_operator(fixture *f, int kind, int64_t n, int64_t width, bool no_target)
{
    int64_t count = n * width, y_count = kind == NORM ? width : kind == SILU ? count : n;
    int64_t dout_count = kind == ROW_RMS ? n : count;
    float *x = random_floats(f, count), *y = random_floats(f, y_count), *dout = random_floats(f, dout_count);
    row_problem p = {kind, n, width, kind == NORM ? 1e-5 : 1e-12, as_doubles(x, count), as_doubles(y, y_count),
                     as_doubles(dout, dout_count)};
    double *y_doubles = p.y, *dx = calloc((size_t)count, sizeof *dx), *dy = calloc((size_t)y_count, sizeof *dy);
    gradients g = make_gradients(f, count, y_count);
    if (no_target)
        p.y = NULL;
    double greatest = row_formulas(&p, dx, dy);
    call_row_operator(f, &p, g.a, g.b, dout, x, no_target ? NULL : y);
    bool dx_added = kind == NORM || kind == ROW_RMS, dy_added = kind != SILU, dy_made = kind != ROW_RMS && !no_target;
    assert_all_near(f, "dx", g.a, dx_added ? g.a_before : NULL, dx, count, 4e-6, greatest);
    if (dy_made)
        assert_all_near(f, "dy", g.b, dy_added ? g.b_before : NULL, dy, y_count, 4e-6, 0);
    else
        assert_untouched(g.b, g.b_before, y_count);
    if (count <= SMALL && width > 1) {
        double *numeric = differences(row_loss, &p, p.x, count);
        assert_all_near(f, "dx by differences", g.a, dx_added ? g.a_before : NULL, numeric, count, 1e-3, greatest);
        free(numeric);
    }
    if (count <= SMALL && dy_made) {
        double *numeric = differences(row_loss, &p, p.y, y_count);
        assert_all_near(f, "dy by differences", g.b, dy_added ? g.b_before : NULL, numeric, y_count, 1e-5, 0);
        free(numeric);
    }
    /* one of the two not wanted */
    float *a = copy_floats(g.a, count), *b = copy_floats(g.b, y_count);
    memcpy(g.a, g.a_before, (size_t)count * sizeof *a);
    memcpy(g.b, g.b_before, (size_t)y_count * sizeof *b);
    call_row_operator(f, &p, g.a, NULL, dout, x, no_target ? NULL : y);
    assert_memory_equal(g.a, a, (size_t)count * sizeof *a);
    if (kind != ROW_RMS)
        call_row_operator(f, &p, NULL, g.b, dout, x, no_target ? NULL : y);
    assert_memory_equal(g.b, b, (size_t)y_count * sizeof *b);
    free(a);
    free(b);
    free_gradients(&g);
    free(x);
    free(y);
    free(dout);
    free(p.x);
    free(y_doubles);
    free(p.dout);
    free(dx);
    free(dy);
}

static void check_row_operators(fixture *f)
{
    for (int s = 0; s < SHAPE_COUNT; s++)
        for (int kind = NORM; kind <= SILU; kind++)
            for (int no_target = 0; no_target <= (kind == RESCALE); no_target++)
                check_row_operator(f, kind, SHAPES[s][0], SHAPES[s][1], no_target);
}

static void norms_and_silu_flow_back(void **state)
{
    (void)state;
    for_each_setting(check_row_operators);
}

/* Gates of any size: the exponential must not overflow into a NaN. */
static void check_great_gates(fixture *f)
{
    enum { N = 41 };
    float gate[N], up[N], dout[N], dgate[N], dup[N];
    for (int i = 0; i < N; i++) {
        gate[i] = (float)(i - 20) * 50;
        up[i] = 1;
        dout[i] = 1;
    }
    f->ops->silu_multiply_backward(f->exec, dgate, dup, dout, gate, up, 1, N);
    for (int i = 0; i < N; i++) {
        double sigmoid = 1 / (1 + exp(-(double)gate[i]));
        assert_near(f, "dgate", i, dgate[i], sigmoid * (1 + gate[i] * (1 - sigmoid)), 1e-6);
        assert_near(f, "dup", i, dup[i], gate[i] * sigmoid, fabs(gate[i]) * 1e-6);
    }
}

static void silu_flows_back_for_great_gates(void **state)
{
    (void)state;
    for_each_setting(check_great_gates);
}

/* ---- loss --------------------------------------------------------------------------------------------------------- */

typedef struct loss_problem {
    int64_t n, vocab;
    double *logits;
    const int32_t *targets;
    const float *scale;
} loss_problem;

static double cross_entropy_loss(const void *context)
{
    const loss_problem *p = context;
    double loss = 0;
    for (int64_t i = 0; i < p->n; i++) {
        double sum = 0;
        for (int64_t c = 0; c < p->vocab; c++)
            sum += exp(p->logits[i * p->vocab + c]);
        loss += p->scale[i] * (log(sum) - p->logits[i * p->vocab + p->targets[i]]);
    }
    return loss;
}

static void check_cross_entropy(fixture *f)
{
    for (int s = 0; s < SHAPE_COUNT; s++) {
        int64_t n = SHAPES[s][0], vocab = SHAPES[s][1], count = n * vocab;
        float *logits = random_floats(f, count), *scale = random_floats(f, n), *out = random_floats(f, count);
        int32_t *targets = malloc((size_t)n * sizeof *targets);
        double *need = malloc((size_t)count * sizeof *need);
        for (int64_t i = 0; i < n; i++)
            targets[i] = (int32_t)(fam_random_next(&f->random) % (uint64_t)vocab);
        if (n > 2) { /* a row without weight may hold anything */
            scale[1] = 0;
            logits[vocab] = NAN;
        }
        for (int64_t i = 0; i < n; i++) {
            double sum = 0;
            for (int64_t c = 0; c < vocab; c++)
                sum += exp(logits[i * vocab + c]);
            for (int64_t c = 0; c < vocab; c++)
                need[i * vocab + c] = scale[i] == 0 ? 0 : scale[i] * (exp(logits[i * vocab + c]) / sum - (c == targets[i]));
        }
        f->ops->cross_entropy_backward(f->exec, out, logits, targets, scale, n, vocab);
        assert_all_near(f, "dlogits", out, NULL, need, count, 4e-6, 0);
        if (count <= SMALL) {
            if (n > 2)
                logits[vocab] = 0;
            loss_problem p = {n, vocab, as_doubles(logits, count), targets, scale};
            double *numeric = differences(cross_entropy_loss, &p, p.logits, count);
            assert_all_near(f, "dlogits by differences", out, NULL, numeric, count, 1e-4, 0);
            free(numeric);
            free(p.logits);
        }
        f->ops->cross_entropy_backward(f->exec, logits, logits, targets, scale, n, vocab);
        assert_memory_equal(logits, out, (size_t)count * sizeof *out);
        free(logits);
        free(scale);
        free(out);
        free(targets);
        free(need);
    }
}

static void cross_entropy_flows_back(void **state)
{
    (void)state;
    for_each_setting(check_cross_entropy);
}

/* ---- embedding, rotation -------------------------------------------------------------------------------------------- */

static void check_embed(fixture *f)
{
    static const int64_t vocabularies[] = {1, 3, 50};
    for (int s = 0; s < SHAPE_COUNT; s++) {
        int64_t n = SHAPES[s][0], width = SHAPES[s][1], vocab = vocabularies[s % 3];
        float *dout = random_floats(f, n * width), *before = random_floats(f, vocab * width);
        float *table = copy_floats(before, vocab * width);
        double *need = calloc((size_t)(vocab * width), sizeof *need);
        int32_t *tokens = malloc((size_t)n * sizeof *tokens);
        for (int64_t i = 0; i < n; i++) {
            tokens[i] = (int32_t)(fam_random_next(&f->random) % (uint64_t)vocab);
            for (int64_t c = 0; c < width; c++)
                need[tokens[i] * width + c] += dout[i * width + c];
        }
        f->ops->embed_backward(f->exec, NULL, dout, tokens, n, width);
        f->ops->embed_backward(f->exec, table, dout, tokens, n, width);
        assert_all_near(f, "dtable", table, before, need, vocab * width, 1e-5, 0);
        free(dout);
        free(before);
        free(table);
        free(need);
        free(tokens);
    }
}

static void embedding_flows_back(void **state)
{
    (void)state;
    for_each_setting(check_embed);
}

/* The rotation is linear: what flows back is its transpose, dx . x = dout . rope(x) for every x. */
static void check_rope(fixture *f)
{
    static const int64_t cases[][4] = {{1, 1, 2, 0}, {3, 2, 8, 0}, {5, 3, 64, 1}, {70, 4, 34, 2}, {2, 1, 5, 3}};
    for (int k = 0; k < 5; k++) {
        int64_t n = cases[k][0], heads = cases[k][1], dim = cases[k][2], half = dim / 2, width = heads * dim;
        bool rotates = cases[k][3] < 3;
        /* rows by heads as in a matrix, or each head's rows together, with something between */
        fam_head_layout layout = {width, dim};
        if (cases[k][3] == 1)
            layout = (fam_head_layout){dim, n * dim + 7};
        int64_t span = heads * layout.head_stride + n * layout.row_stride;
        float *dout = random_floats(f, span), *dx = random_floats(f, n * width);
        float *cosines = random_floats(f, n * half), *sines = random_floats(f, n * half);
        f->ops->rope_backward(f->exec, dx, dout, layout, rotates ? cosines : NULL, rotates ? sines : NULL, n, heads, dim);
        for (int64_t i = 0; i < n * width; i++) {
            int64_t row = i / width, e = i % dim, at = row * layout.row_stride + i % width / dim * layout.head_stride;
            double need = dout[at + e];
            if (rotates && e < half)
                need = (double)dout[at + e] * cosines[row * half + e] + (double)dout[at + e + half] * sines[row * half + e];
            else if (rotates)
                need = (double)dout[at + e] * cosines[row * half + e - half] -
                       (double)dout[at + e - half] * sines[row * half + e - half];
            assert_near(f, "dx", i, dx[i], need, 1e-5);
        }
        take_digest(f, dx, n * width);
        if (f->dtype == FAM_DTYPE_F32) { /* against the operator itself */
            float *x = random_floats(f, n * width), *out = calloc((size_t)span, sizeof *out);
            double forward = 0, back = 0, size = 0;
            f->ops->rope(f->exec, out, layout, x, rotates ? cosines : NULL, rotates ? sines : NULL, n, heads, dim);
            for (int64_t i = 0; i < n * width; i++) {
                int64_t at = i / width * layout.row_stride + i % width / dim * layout.head_stride + i % dim;
                forward += (double)out[at] * dout[at];
                back += (double)dx[i] * x[i];
                size += fabs((double)dx[i] * x[i]);
            }
            assert_near(f, "dx . x", 0, back, forward, size * 1e-5);
            free(x);
            free(out);
        }
        free(dout);
        free(dx);
        free(cosines);
        free(sines);
    }
}

static void rotation_flows_back(void **state)
{
    (void)state;
    for_each_setting(check_rope);
}

/* ---- matrix products ------------------------------------------------------------------------------------------------ */

typedef struct product {
    fam_type type;
    int64_t rows, columns, permuted_head_dim, n;
} product;

/* Products of matrices are made from bfloat16 there. */
static bool rounds(const fixture *f)
{
    return f->dtype == FAM_DTYPE_BF16 && f->isa >= FAM_CPU_AVX512BF16;
}

static void round_all(float *x, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        x[i] = fam_from_bf16(fam_to_bf16(x[i]));
}

static int64_t file_row(const product *p, int64_t row)
{
    int64_t d = p->permuted_head_dim;
    for (int64_t i = 0; d && i < d / 2; i++)
        for (int64_t s = 0; s < 2; s++)
            if (row % d == i + s * (d / 2))
                return row - row % d + 2 * i + s;
    return row;
}

static float *dequantized(const fixture *f, const product *p, const uint8_t *data)
{
    size_t row_bytes;
    float *w = malloc((size_t)(p->rows * p->columns) * sizeof *w);
    assert_true(fam_type_row_bytes(&row_bytes, p->type, p->columns));
    for (int64_t r = 0; r < p->rows; r++)
        fam_type_dequantize(w + r * p->columns, data + (size_t)file_row(p, r) * row_bytes, p->type, p->columns);
    if (rounds(f))
        round_all(w, p->rows * p->columns);
    return w;
}

typedef struct product_arrays {
    fam_weight *weight;
    uint8_t *whole;
    void *in;
    float *x, *w, *dout, *rounded; /* rounded: dout as the products take it */
} product_arrays;

static void make_product(fixture *f, const product *p, product_arrays *a)
{
    fam_error error;
    a->in = tensor_activations(&f->random, f->dtype, p->n * p->columns, &a->x);
    fam_weight_source source = {tensor_weights(&f->random, p->type, p->rows, p->columns, &a->whole), p->type, p->rows,
                                p->columns, p->permuted_head_dim};
    a->w = dequantized(f, p, source.data);
    a->dout = random_floats(f, p->n * p->rows);
    a->rounded = copy_floats(a->dout, p->n * p->rows);
    if (rounds(f))
        round_all(a->rounded, p->n * p->rows);
    assert_int_equal(f->ops->weight_create(f->backend, &a->weight, &source, &error), FAM_OK);
    assert_int_equal(f->ops->prepare_backward(f->exec, a->weight, p->n, &error), FAM_OK);
}

static void free_product(fixture *f, product_arrays *a)
{
    f->ops->weight_free(f->backend, a->weight);
    free(a->whole);
    free(a->in);
    free(a->x);
    free(a->w);
    free(a->dout);
    free(a->rounded);
}

/* need += a sum of products a[k * a_step] b[k * b_step]; *size += its terms' sizes */
static void add_products(double *need, double *size, const float *a, int64_t a_step, const float *b, int64_t b_step,
                         int64_t count)
{
    for (int64_t k = 0; k < count; k++) {
        double term = (double)a[k * a_step] * b[k * b_step];
        *need += term;
        *size += fabs(term);
    }
}

static void check_din(fixture *f, const product *p, const product_arrays *a, int count, const float *before,
                      const float *din)
{
    int64_t step = p->n * p->rows * p->columns > 500000 ? 61 : 1;
    for (int64_t at = 0; at < p->n * p->columns; at += step) {
        double need = before[at], size = fabs(before[at]);
        for (int j = 0; j < count; j++)
            add_products(&need, &size, a[j].rounded + at / p->columns * p->rows, 1, a[j].w + at % p->columns, p->columns,
                         p->rows);
        assert_near(f, "din", at, din[at], need, size * 4e-6 + 1e-30);
    }
    take_digest(f, din, p->n * p->columns);
}

static void check_dweight(fixture *f, const product *p, const product_arrays *a, const float *before,
                          const float *dweight)
{
    int64_t step = p->n * p->rows * p->columns > 500000 ? 61 : 1;
    for (int64_t at = 0; at < p->rows * p->columns; at += step) {
        double need = before[at], size = fabs(before[at]);
        add_products(&need, &size, a->rounded + at / p->columns, p->rows, a->x + at % p->columns, p->columns, p->n);
        assert_near(f, "dweight", at, dweight[at], need, size * 4e-6 + 1e-30);
    }
    take_digest(f, dweight, p->rows * p->columns);
}

static void check_product(fixture *f, const product *p)
{
    product_arrays a;
    make_product(f, p, &a);
    gradients g = make_gradients(f, p->n * p->columns, p->rows * p->columns);
    fam_matmul_backward_job job = {g.a, g.b, a.dout, a.in, a.weight, false};
    size_t allocations = f->memory.allocations;
    f->ops->matmul_backward(f->exec, &job, 1, p->n);
    assert_int_equal(f->memory.allocations, allocations);
    check_din(f, p, &a, 1, g.a_before, g.a);
    check_dweight(f, p, &a, g.b_before, g.b);
    float *din = copy_floats(g.a, g.a_count), *dweight = copy_floats(g.b, g.b_count);
    memcpy(g.a, g.a_before, (size_t)g.a_count * sizeof *g.a);
    memcpy(g.b, g.b_before, (size_t)g.b_count * sizeof *g.b);
    job = (fam_matmul_backward_job){.din = g.a, .dout = a.dout, .weight = a.weight};
    f->ops->matmul_backward(f->exec, &job, 1, p->n);
    job = (fam_matmul_backward_job){.dweight = g.b, .dout = a.dout, .in = a.in, .weight = a.weight};
    f->ops->matmul_backward(f->exec, &job, 1, p->n);
    assert_memory_equal(din, g.a, (size_t)g.a_count * sizeof *din);
    assert_memory_equal(dweight, g.b, (size_t)g.b_count * sizeof *dweight);
    for (int64_t i = 0; i < g.a_count; i++) {
        g.a[i] = NAN;
        din[i] = 0;
    }
    job = (fam_matmul_backward_job){.din = g.a, .dout = a.dout, .weight = a.weight, .overwrite = true};
    f->ops->matmul_backward(f->exec, &job, 1, p->n);
    check_din(f, p, &a, 1, din, g.a);
    free(din);
    free(dweight);
    free_gradients(&g);
    free_product(f, &a);
}

static void check_products(fixture *f)
{
    static const int64_t columns[] = {1, 7, 32, 33, 64, 96, 160, 288, 576};
    static const int64_t rows[] = {1, 2, 3, 8, 64, 70, 192, 300};
    static const int64_t n[] = {1, 2, 3, 4, 5, 15, 16, 17, 64, 65, 127};
    int step = 0;
    for (int type = 0; type < FAM_TYPE_COUNT; type++) {
        for (size_t c = 0; c < sizeof columns / sizeof *columns; c++) {
            if (columns[c] % fam_type_block_elements((fam_type)type))
                continue;
            for (size_t r = 0; r < sizeof rows / sizeof *rows; r++, step++) {
                product p = {(fam_type)type, rows[r], columns[c], 0, n[step % 11]};
                if (rows[r] % 64 == 0 && step % 2)
                    p.permuted_head_dim = rows[r] % 192 ? 32 : 64;
                check_product(f, &p);
            }
        }
    }
    /* more rows of input than are taken at a time; wide weights */
    check_product(f, &(product){FAM_TYPE_F32, 65, 40, 0, 2100});
    check_product(f, &(product){FAM_TYPE_BF16, 20, 30, 0, 2048});
    check_product(f, &(product){FAM_TYPE_F32, 5000, 33, 0, 20});
    check_product(f, &(product){FAM_TYPE_Q8_0, 70, 4096, 0, 33});
}

static void products_flow_back_for_all_types_and_shapes(void **state)
{
    (void)state;
    for_each_setting(check_products);
}

/* Several weights read one input, as q, k and v do: all add to one gradient of it; the first may take its place. */
static void check_shared_input(fixture *f)
{
    enum { JOBS = 4 };
    static const int64_t ns[] = {1, 16, 100, 600, 100, 600};
    for (int k = 0; k < 6; k++) {
        product p = {FAM_TYPE_BF16, 70, 96, 0, ns[k]};
        product_arrays a[JOBS];
        fam_matmul_backward_job jobs[JOBS];
        gradients g[JOBS];
        for (int j = 0; j < JOBS; j++) {
            make_product(f, &p, &a[j]);
            g[j] = make_gradients(f, p.n * p.columns, p.rows * p.columns);
            if (j == 1) { /* the same input as the first; the others have their own */
                free(a[1].in);
                memcpy(a[1].x, a[0].x, (size_t)(p.n * p.columns) * sizeof(float));
            }
            jobs[j] = (fam_matmul_backward_job){g[0].a, j == 2 ? NULL : g[j].b, a[j].dout, j == 1 ? a[0].in : a[j].in,
                                                a[j].weight, false};
        }
        for (int64_t i = 0; k >= 4 && i < g[0].a_count; i++) {
            jobs[0].overwrite = true;
            g[0].a[i] = NAN;
            g[0].a_before[i] = 0;
        }
        f->ops->matmul_backward(f->exec, jobs, JOBS, p.n);
        check_din(f, &p, a, JOBS, g[0].a_before, g[0].a);
        for (int j = 0; j < JOBS; j++)
            if (j == 2)
                assert_untouched(g[j].b, g[j].b_before, g[j].b_count);
            else
                check_dweight(f, &p, &a[j], g[j].b_before, g[j].b);
        for (int j = 0; j < JOBS; j++) {
            if (j == 1)
                a[1].in = NULL;
            free_product(f, &a[j]);
            free_gradients(&g[j]);
        }
    }
}

static void products_of_one_input_flow_back_together(void **state)
{
    (void)state;
    for_each_setting(check_shared_input);
}

/* The loss sum(dout * (x W^T)) is bilinear, so its differences are exact. */
typedef struct product_loss_problem {
    int64_t n, rows, columns;
    double *x, *w, *dout;
} product_loss_problem;

static double product_loss(const void *context)
{
    const product_loss_problem *p = context;
    double loss = 0;
    for (int64_t i = 0; i < p->n; i++)
        for (int64_t r = 0; r < p->rows; r++)
            for (int64_t c = 0; c < p->columns; c++)
                loss += p->dout[i * p->rows + r] * p->x[i * p->columns + c] * p->w[r * p->columns + c];
    return loss;
}

static void check_product_differences(fixture *f)
{
    product p = {FAM_TYPE_Q4_1, 6, 32, 6, 5};
    product_arrays a;
    make_product(f, &p, &a);
    gradients g = make_gradients(f, p.n * p.columns, p.rows * p.columns);
    fam_matmul_backward_job job = {g.a, g.b, a.dout, a.in, a.weight, false};
    f->ops->matmul_backward(f->exec, &job, 1, p.n);
    product_loss_problem loss = {p.n, p.rows, p.columns, as_doubles(a.x, g.a_count), as_doubles(a.w, g.b_count),
                                 as_doubles(a.rounded, p.n * p.rows)};
    double *din = differences(product_loss, &loss, loss.x, g.a_count);
    double *dweight = differences(product_loss, &loss, loss.w, g.b_count);
    assert_all_near(f, "din by differences", g.a, g.a_before, din, g.a_count, 1e-5, 0);
    assert_all_near(f, "dweight by differences", g.b, g.b_before, dweight, g.b_count, 1e-5, 0);
    free(din);
    free(dweight);
    free(loss.x);
    free(loss.w);
    free(loss.dout);
    free_gradients(&g);
    free_product(f, &a);
}

static void products_agree_with_differences(void **state)
{
    (void)state;
    for_each_setting(check_product_differences);
}

/* Each allocation of the preparation fails in turn; afterwards it works, and nothing is lost. */
static void check_preparation(fixture *f)
{
    enum { N = 600, ROWS = 70, COLUMNS = 300 };
    fam_error error;
    float *w = random_floats(f, ROWS * COLUMNS), *in = random_floats(f, N * COLUMNS), *dout = random_floats(f, N * ROWS);
    float *din = random_floats(f, N * COLUMNS), *dweight = random_floats(f, ROWS * COLUMNS);
    fam_weight_source source = {w, FAM_TYPE_F32, ROWS, COLUMNS, 0}, small = {w, FAM_TYPE_F32, 3, 40, 0};
    fam_weight *weight, *other;
    assert_int_equal(f->ops->weight_create(f->backend, &weight, &source, &error), FAM_OK);
    assert_int_equal(f->ops->weight_create(f->backend, &other, &small, &error), FAM_OK);
    assert_int_equal(f->ops->prepare_backward(f->exec, other, 5, &error), FAM_OK); /* its buffers must grow later */
    fam_status status;
    int failures = -1;
    do {
        failures++;
        f->memory.fail_at = f->memory.allocations + (size_t)failures + 1;
        status = f->ops->prepare_backward(f->exec, weight, N, &error);
        f->memory.fail_at = 0;
        if (status != FAM_OK) {
            assert_int_equal(status, FAM_STATUS_OUT_OF_MEMORY);
            f->ops->weight_free(f->backend, weight); /* so that all of it is made again */
            assert_int_equal(f->ops->weight_create(f->backend, &weight, &source, &error), FAM_OK);
        }
    } while (status != FAM_OK && failures < 1000);
    assert_true(status == FAM_OK && (f->isa == FAM_CPU_PORTABLE || failures > 3));
    fam_matmul_backward_job jobs[] = {{din, dweight, dout, in, weight, false}, {din, dweight, dout, in, other, false}};
    f->ops->matmul_backward(f->exec, jobs, 1, N);
    f->ops->matmul_backward(f->exec, jobs + 1, 1, 5);
    assert_int_equal(f->ops->finish(f->exec, &error), FAM_OK);
    if (f->isa > FAM_CPU_PORTABLE) { /* what was not prepared is refused, not computed wrongly */
        f->ops->matmul_backward(f->exec, jobs + 1, 1, N);
        assert_int_equal(f->ops->finish(f->exec, &error), FAM_STATUS_FAILED);
    }
    f->ops->weight_free(f->backend, weight);
    f->ops->weight_free(f->backend, other);
    free(w);
    free(in);
    free(dout);
    free(din);
    free(dweight);
}

static void preparation_fails_cleanly(void **state)
{
    (void)state;
    for_each_setting(check_preparation);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(norms_and_silu_flow_back),
    cmocka_unit_test(silu_flows_back_for_great_gates),
    cmocka_unit_test(cross_entropy_flows_back),
    cmocka_unit_test(embedding_flows_back),
    cmocka_unit_test(rotation_flows_back),
    cmocka_unit_test(products_flow_back_for_all_types_and_shapes),
    cmocka_unit_test(products_of_one_input_flow_back_together),
    cmocka_unit_test(products_agree_with_differences),
    cmocka_unit_test(preparation_fails_cleanly),
};

SUITE_MAIN(tests)
