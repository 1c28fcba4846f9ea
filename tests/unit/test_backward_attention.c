/*
 * What flows back through the CPU's attention, against plain double loops and against finite differences of attention in
 * double: shapes and ranges drawn from a seed, several jobs over the same keys, every instruction set level and type, the
 * same bits with one thread, two and three. Keys that no query sees hold NaN, and their gradients must stay untouched.
 */
#define SUITE_TIMEOUT 300

#include "backward_fixture.h"

enum { JOBS_MAX = 4, POOLS = 3 };

/* Keys and values that jobs look at through slices, and their gradients. */
typedef struct pool {
    int64_t rows, head_stride, gradient_stride;
    void *k, *v;                 /* activations [G, rows, D] at head_stride */
    double *k_exact, *v_exact;   /* the same */
    float *dk, *dv, *dk_before, *dv_before; /* at gradient_stride */
    double *dk_need, *dv_need, *dk_size, *dv_size;
    bool *seen;                  /* [rows] */
    int64_t count, gradient_count;
} pool;

typedef struct query_set {
    void *q, *out;
    double *q_exact, *out_exact;
    float *dout, *dq;
    double *dq_need, *dq_size;
    int64_t q_count, out_count;
    int pool_of[FAM_KEY_RANGES_MAX];
    int64_t first[FAM_KEY_RANGES_MAX]; /* the range's first row in its pool */
} query_set;

typedef struct problem {
    fam_attention_shape shape;
    fam_dtype dtype;
    int count;
    pool pools[POOLS];
    query_set sets[JOBS_MAX];
    fam_attention_job forward[JOBS_MAX];
    fam_attention_backward_job jobs[JOBS_MAX];
    double score_max;
} problem;

static int64_t draw(fam_random *random, int64_t from, int64_t to) /* both included */
{
    return from + (int64_t)(fam_random_next(random) % (uint64_t)(to - from + 1));
}

static void *make_activations(fixture *f, int64_t count, double **exact)
{
    float *x;
    void *typed = tensor_activations(&f->random, f->dtype, count, &x);
    *exact = as_doubles(x, count);
    free(x);
    return typed;
}

/* ---- what jobs see ---------------------------------------------------------------------------------------------------- */

static bool sees(const fam_key_range *range, int64_t query, int64_t key)
{
    return key >= range->lower + (range->lower_moves ? query : 0) && key < range->upper + (range->upper_moves ? query : 0);
}

static bool every_query_sees_a_key(const fam_attention_job *job)
{
    for (int64_t query = 0; query < job->queries; query++) {
        bool any = false;
        for (int r = 0; r < job->range_count && !any; r++)
            for (int64_t key = 0; key < job->ranges[r].rows && !any; key++)
                any = sees(&job->ranges[r], query, key);
        if (!any)
            return false;
    }
    return true;
}

static void draw_job(fixture *f, problem *p, int j, int64_t queries_max)
{
    fam_attention_job *job = &p->forward[j];
    fam_random *random = &f->random;
    do {
        job->queries = draw(random, 1, queries_max);
        job->range_count = (int)draw(random, 1, 5);
        for (int r = 0; r < job->range_count; r++) {
            fam_key_range *range = &job->ranges[r];
            int index = p->sets[j].pool_of[r] = (int)draw(random, 0, POOLS - 1);
            int64_t rows = draw(random, 0, p->pools[index].rows);
            p->sets[j].first[r] = draw(random, 0, p->pools[index].rows - rows);
            switch (draw(random, 0, 3)) {
            case 0: /* all */
                *range = (fam_key_range){.rows = rows, .lower = -5, .upper = INT64_MAX / 4};
                break;
            case 1: /* causal */
                *range = (fam_key_range){.rows = rows, .lower = INT64_MIN / 4, .upper = rows - job->queries + 1,
                                         .upper_moves = true};
                break;
            case 2: /* a sliding window */
                *range = (fam_key_range){.rows = rows, .lower = -7, .upper = 1, .lower_moves = true, .upper_moves = true};
                break;
            default:
                *range = (fam_key_range){.rows = rows, .lower = draw(random, -job->queries, rows),
                    .upper = draw(random, -job->queries / 2, rows + 10), .lower_moves = draw(random, 0, 1),
                    .upper_moves = draw(random, 0, 1)};
            }
        }
    } while (!every_query_sees_a_key(job));
}

/* ---- arrays ------------------------------------------------------------------------------------------------------------ */

static void make_pools(fixture *f, problem *p, int64_t rows_max)
{
    for (int i = 0; i < POOLS; i++) {
        pool *k = &p->pools[i];
        k->rows = draw(&f->random, 1, rows_max);
        k->head_stride = k->rows * p->shape.head_dim + draw(&f->random, 0, 9);
        k->gradient_stride = k->rows * p->shape.head_dim + draw(&f->random, 0, 9);
        k->count = k->head_stride * p->shape.kv_heads;
        k->gradient_count = k->gradient_stride * p->shape.kv_heads;
        k->k = make_activations(f, k->count, &k->k_exact);
        k->v = make_activations(f, k->count, &k->v_exact);
        k->dk_before = random_floats(f, k->gradient_count);
        k->dv_before = random_floats(f, k->gradient_count);
        k->dk = copy_floats(k->dk_before, k->gradient_count);
        k->dv = copy_floats(k->dv_before, k->gradient_count);
        k->dk_need = as_doubles(k->dk, k->gradient_count);
        k->dv_need = as_doubles(k->dv, k->gradient_count);
        k->dk_size = calloc((size_t)k->gradient_count, sizeof(double));
        k->dv_size = calloc((size_t)k->gradient_count, sizeof(double));
        k->seen = calloc((size_t)k->rows, sizeof(bool));
    }
}

static void make_set(fixture *f, problem *p, int j)
{
    fam_attention_job *job = &p->forward[j];
    query_set *set = &p->sets[j];
    int64_t width = p->shape.heads * p->shape.head_dim;
    size_t element = fam_dtype_bytes(f->dtype);
    job->q_stride = width + draw(&f->random, 0, 3);
    job->out_stride = width + draw(&f->random, 0, 3);
    set->q_count = job->queries * job->q_stride;
    set->out_count = job->queries * job->out_stride;
    job->q = set->q = make_activations(f, set->q_count, &set->q_exact);
    job->out = set->out = make_activations(f, set->out_count, &set->out_exact);
    set->dout = random_floats(f, set->out_count);
    set->dq = random_floats(f, set->q_count); /* overwritten */
    set->dq_need = calloc((size_t)set->q_count, sizeof(double));
    set->dq_size = calloc((size_t)set->q_count, sizeof(double));
    p->jobs[j] = (fam_attention_backward_job){.forward = job, .dout = set->dout, .dq = set->dq};
    for (int r = 0; r < job->range_count; r++) {
        pool *from = &p->pools[set->pool_of[r]];
        int64_t at = set->first[r] * p->shape.head_dim;
        job->ranges[r].k = (uint8_t *)from->k + (size_t)at * element;
        job->ranges[r].v = (uint8_t *)from->v + (size_t)at * element;
        job->ranges[r].head_stride = from->head_stride;
        p->jobs[j].gradients[r].dk = from->dk + at;
        p->jobs[j].gradients[r].dv = from->dv + at;
        p->jobs[j].gradients[r].head_stride = from->gradient_stride;
        for (int64_t key = 0; key < job->ranges[r].rows; key++)
            for (int64_t query = 0; query < job->queries; query++)
                from->seen[set->first[r] + key] |= sees(&job->ranges[r], query, key);
    }
}

static void poison_unseen(problem *p)
{
    size_t row_bytes = (size_t)p->shape.head_dim * fam_dtype_bytes(p->dtype);
    for (int i = 0; i < POOLS; i++)
        for (int64_t key = 0; key < p->pools[i].rows; key++)
            for (int64_t head = 0; head < p->shape.kv_heads && !p->pools[i].seen[key]; head++) {
                size_t at = (size_t)(head * p->pools[i].head_stride + key * p->shape.head_dim) * fam_dtype_bytes(p->dtype);
                memset((uint8_t *)p->pools[i].k + at, 0xff, row_bytes);
                memset((uint8_t *)p->pools[i].v + at, 0xff, row_bytes);
            }
}

static void make_problem(fixture *f, problem *p, const fam_attention_shape *shape, int64_t queries_max, int64_t rows_max)
{
    memset(p, 0, sizeof *p);
    p->shape = *shape;
    p->shape.scale = 1 / sqrtf((float)shape->head_dim);
    p->dtype = f->dtype;
    p->count = (int)draw(&f->random, 1, JOBS_MAX);
    make_pools(f, p, rows_max);
    for (int j = 0; j < p->count; j++) {
        draw_job(f, p, j, queries_max);
        make_set(f, p, j);
    }
    poison_unseen(p);
    f->ops->attention(f->exec, p->forward, p->count, &p->shape);
    for (int j = 0; j < p->count; j++)
        for (int64_t i = 0; i < p->sets[j].out_count; i++)
            p->sets[j].out_exact[i] = f->dtype == FAM_DTYPE_F32 ? ((float *)p->sets[j].out)[i]
                                                                : fam_from_bf16(((uint16_t *)p->sets[j].out)[i]);
}

static void free_problem(problem *p)
{
    for (int i = 0; i < POOLS; i++) {
        pool *k = &p->pools[i];
        void *all[] = {k->k, k->v, k->k_exact, k->v_exact, k->dk, k->dv, k->dk_before, k->dv_before, k->dk_need, k->dv_need,
                       k->dk_size, k->dv_size, k->seen};
        for (size_t n = 0; n < sizeof all / sizeof *all; n++)
            free(all[n]);
    }
    for (int j = 0; j < p->count; j++) {
        query_set *s = &p->sets[j];
        void *all[] = {s->q, s->out, s->q_exact, s->out_exact, s->dout, s->dq, s->dq_need, s->dq_size};
        for (size_t n = 0; n < sizeof all / sizeof *all; n++)
            free(all[n]);
    }
}

/* ---- what must come out ------------------------------------------------------------------------------------------------- */

static double dot(const double *a, const double *b, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

static const double *key_row(const problem *p, int j, int r, int64_t head, int64_t key, bool value)
{
    const pool *from = &p->pools[p->sets[j].pool_of[r]];
    return (value ? from->v_exact : from->k_exact) + head * from->head_stride +
           (p->sets[j].first[r] + key) * p->shape.head_dim;
}

/* log(sum(e^score)) of one head of one query. */
static double log_sum(problem *p, int j, int64_t query, int64_t head)
{
    const fam_attention_job *job = &p->forward[j];
    int64_t kv = head / (p->shape.heads / p->shape.kv_heads), dim = p->shape.head_dim;
    const double *q = p->sets[j].q_exact + query * job->q_stride + head * dim;
    double sum = 0, greatest = -INFINITY;
    for (int pass = 0; pass < 2; pass++)
        for (int r = 0; r < job->range_count; r++)
            for (int64_t key = 0; key < job->ranges[r].rows; key++) {
                if (!sees(&job->ranges[r], query, key))
                    continue;
                double score = dot(q, key_row(p, j, r, kv, key, false), dim) * p->shape.scale;
                greatest = fmax(greatest, score);
                p->score_max = fmax(p->score_max, fabs(score));
                if (pass)
                    sum += exp(score - greatest);
            }
    return greatest + log(sum);
}

static void expect_key(problem *p, int j, int64_t query, int64_t head, int r, int64_t key, double log_of_sum)
{
    const fam_attention_job *job = &p->forward[j];
    query_set *set = &p->sets[j];
    pool *from = &p->pools[set->pool_of[r]];
    int64_t dim = p->shape.head_dim, kv = head / (p->shape.heads / p->shape.kv_heads);
    int64_t q_at = query * job->q_stride + head * dim, out_at = query * job->out_stride + head * dim;
    int64_t to = kv * from->gradient_stride + (set->first[r] + key) * dim;
    const double *k = key_row(p, j, r, kv, key, false), *v = key_row(p, j, r, kv, key, true), *q = set->q_exact + q_at;
    double through = 0, dweight = 0, terms = 0;
    for (int64_t i = 0; i < dim; i++) {
        through += set->dout[out_at + i] * set->out_exact[out_at + i];
        dweight += set->dout[out_at + i] * v[i];
        terms += fabs(set->dout[out_at + i] * set->out_exact[out_at + i]) + fabs(set->dout[out_at + i] * v[i]);
    }
    double weight = exp(dot(q, k, dim) * p->shape.scale - log_of_sum);
    double dscore = weight * (dweight - through) * p->shape.scale, size = weight * terms * p->shape.scale;
    for (int64_t i = 0; i < dim; i++) {
        from->dv_need[to + i] += weight * set->dout[out_at + i];
        from->dv_size[to + i] += fabs(weight * set->dout[out_at + i]);
        from->dk_need[to + i] += dscore * q[i];
        from->dk_size[to + i] += fabs(size * q[i]);
        set->dq_need[q_at + i] += dscore * k[i];
        set->dq_size[q_at + i] += fabs(size * k[i]);
    }
}

static void expect_all(problem *p)
{
    for (int j = 0; j < p->count; j++)
        for (int64_t query = 0; query < p->forward[j].queries; query++)
            for (int64_t head = 0; head < p->shape.heads; head++) {
                double sum = log_sum(p, j, query, head);
                for (int r = 0; r < p->forward[j].range_count; r++)
                    for (int64_t key = 0; key < p->forward[j].ranges[r].rows; key++)
                        if (sees(&p->forward[j].ranges[r], query, key))
                            expect_key(p, j, query, head, r, key, sum);
            }
}

static void compare(fixture *f, const char *what, const float *found, const float *before, const double *need,
                    const double *size, int64_t count, double relative)
{
    for (int64_t i = 0; i < count; i++) {
        if (before && size[i] == 0)
            assert_true(memcmp(&found[i], &before[i], sizeof *found) == 0);
        assert_near(f, what, i, found[i], need[i], relative * size[i] + (before ? fabs(before[i]) * 1e-5 : 0) + 1e-30);
    }
    take_digest(f, found, count);
}

static void compare_all(fixture *f, problem *p)
{
    /* with matrix tiles the factors of the products are rounded to bfloat16 */
    bool rounds = f->dtype == FAM_DTYPE_BF16 && f->isa >= FAM_CPU_AMX && p->shape.head_dim % 32 == 0;
    double relative = (rounds ? 0x1.02p-7 : 0) + 3e-6 * (2 + p->score_max);
    for (int i = 0; i < POOLS; i++) {
        pool *k = &p->pools[i];
        compare(f, "dk", k->dk, k->dk_before, k->dk_need, k->dk_size, k->gradient_count, relative);
        compare(f, "dv", k->dv, k->dv_before, k->dv_need, k->dv_size, k->gradient_count, relative);
    }
    for (int j = 0; j < p->count; j++) {
        query_set *s = &p->sets[j];
        int64_t stride = p->forward[j].q_stride, width = p->shape.heads * p->shape.head_dim;
        for (int64_t query = 0; query < p->forward[j].queries; query++) /* not what lies between the rows */
            compare(f, "dq", s->dq + query * stride, NULL, s->dq_need + query * stride, s->dq_size + query * stride, width,
                    relative);
    }
}

/* ---- tests --------------------------------------------------------------------------------------------------------------- */

static void check_shape(fixture *f, int64_t heads, int64_t kv_heads, int64_t dim, int64_t queries, int64_t rows)
{
    problem p;
    fam_attention_shape shape = {heads, kv_heads, dim, 0};
    make_problem(f, &p, &shape, queries, rows);
    expect_all(&p);
    size_t allocations = f->memory.allocations;
    f->ops->attention_backward(f->exec, p.jobs, p.count, &p.shape);
    assert_int_equal(f->memory.allocations, allocations);
    compare_all(f, &p);
    free_problem(&p);
}

static void check_shapes(fixture *f)
{
    static const int64_t shapes[][5] = {
        {1, 1, 2, 1, 1},     {1, 1, 2, 5, 9},     {2, 1, 8, 20, 40},   {3, 3, 16, 33, 70},  {4, 2, 20, 40, 60},
        {9, 3, 64, 40, 130}, {4, 4, 64, 70, 300}, {2, 2, 80, 33, 100}, {2, 1, 34, 64, 64},  {4, 1, 128, 17, 90},
        {2, 1, 256, 20, 50}, {1, 1, 512, 35, 40}, {1, 1, 520, 3, 10},  {10, 2, 32, 30, 99}, {2, 2, 48, 150, 600},
        {2, 1, 64, 40, 900}, /* more keys than scores are kept of */
    };
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int repeat = 0; repeat < 4; repeat++)
            check_shape(f, shapes[s][0], shapes[s][1], shapes[s][2], shapes[s][3], shapes[s][4]);
}

static void attention_flows_back(void **state)
{
    (void)state;
    for_each_setting(check_shapes);
}

static void check_unwanted(fixture *f)
{
    for (int repeat = 0; repeat < 12; repeat++) {
        problem p;
        fam_attention_shape shape = {4, 2, 32, 0};
        make_problem(f, &p, &shape, 50, 80);
        /* one kind of gradient is not wanted: of no job, or not of some range */
        int kind = repeat % 3;
        f->ops->attention_backward(f->exec, p.jobs, p.count, &p.shape);
        float *dq = copy_floats(p.sets[0].dq, p.sets[0].q_count), *dk[POOLS], *dv[POOLS];
        for (int i = 0; i < POOLS; i++) {
            pool *k = &p.pools[i];
            dk[i] = copy_floats(kind == 1 ? k->dk_before : k->dk, k->gradient_count);
            dv[i] = copy_floats(kind == 2 ? k->dv_before : k->dv, k->gradient_count);
            memcpy(k->dk, k->dk_before, (size_t)k->gradient_count * sizeof(float));
            memcpy(k->dv, k->dv_before, (size_t)k->gradient_count * sizeof(float));
        }
        for (int64_t i = 0; i < p.sets[0].q_count; i++)
            p.sets[0].dq[i] = kind == 0 ? dq[i] : 0;
        for (int j = 0; j < p.count; j++) {
            p.jobs[j].dq = kind == 0 ? NULL : p.jobs[j].dq;
            for (int r = 0; r < p.forward[j].range_count; r++) {
                p.jobs[j].gradients[r].dk = kind == 1 ? NULL : p.jobs[j].gradients[r].dk;
                p.jobs[j].gradients[r].dv = kind == 2 ? NULL : p.jobs[j].gradients[r].dv;
            }
        }
        f->ops->attention_backward(f->exec, p.jobs, p.count, &p.shape);
        for (int64_t row = 0; row < p.forward[0].queries; row++)
            assert_memory_equal(dq + row * p.forward[0].q_stride, p.sets[0].dq + row * p.forward[0].q_stride, 4 * 32 * sizeof(float));
        for (int i = 0; i < POOLS; i++) {
            assert_memory_equal(dk[i], p.pools[i].dk, (size_t)p.pools[i].gradient_count * sizeof(float));
            assert_memory_equal(dv[i], p.pools[i].dv, (size_t)p.pools[i].gradient_count * sizeof(float));
            free(dk[i]);
            free(dv[i]);
        }
        free(dq);
        free_problem(&p);
    }
}

static void gradients_of_attention_that_are_not_wanted_stay_out(void **state)
{
    (void)state;
    for_each_setting(check_unwanted);
}

/* Sum of dout * attention in double: what the gradients are of. */
static double attention_loss(const void *context)
{
    problem *p = (problem *)context; /* log_sum keeps a maximum in it */
    int64_t dim = p->shape.head_dim, group = p->shape.heads / p->shape.kv_heads;
    double loss = 0;
    for (int j = 0; j < p->count; j++)
        for (int64_t query = 0; query < p->forward[j].queries; query++)
            for (int64_t head = 0; head < p->shape.heads; head++) {
                const double *q = p->sets[j].q_exact + query * p->forward[j].q_stride + head * dim;
                const float *dout = p->sets[j].dout + query * p->forward[j].out_stride + head * dim;
                double sum = log_sum(p, j, query, head);
                for (int r = 0; r < p->forward[j].range_count; r++)
                    for (int64_t key = 0; key < p->forward[j].ranges[r].rows; key++) {
                        if (!sees(&p->forward[j].ranges[r], query, key))
                            continue;
                        const double *v = key_row(p, j, r, head / group, key, true);
                        double weight = exp(dot(q, key_row(p, j, r, head / group, key, false), dim) * p->shape.scale - sum);
                        for (int64_t i = 0; i < dim; i++)
                            loss += dout[i] * weight * v[i];
                    }
            }
    return loss;
}

static void check_differences(fixture *f)
{
    if (f->dtype != FAM_DTYPE_F32 || f->threads > 1)
        return;
    for (int repeat = 0; repeat < 4; repeat++) {
        problem p;
        fam_attention_shape shape = {2, 1, 4, 0};
        make_problem(f, &p, &shape, 5, 7);
        f->ops->attention_backward(f->exec, p.jobs, p.count, &p.shape);
        for (int j = 0; j < p.count; j++) {
            query_set *s = &p.sets[j];
            double *numeric = differences(attention_loss, &p, s->q_exact, s->q_count);
            for (int64_t i = 0; i < s->q_count; i++)
                if (i % p.forward[j].q_stride < 8)
                    assert_near(f, "dq by differences", i, s->dq[i], numeric[i], 2e-4);
            free(numeric);
        }
        for (int i = 0; i < POOLS; i++) {
            pool *k = &p.pools[i];
            double *dk = differences(attention_loss, &p, k->k_exact, k->rows * 4);
            double *dv = differences(attention_loss, &p, k->v_exact, k->rows * 4);
            for (int64_t at = 0; at < k->rows * 4; at++) {
                assert_near(f, "dk by differences", at, k->dk[at], k->dk_before[at] + dk[at], 2e-4);
                assert_near(f, "dv by differences", at, k->dv[at], k->dv_before[at] + dv[at], 2e-4);
            }
            free(dk);
            free(dv);
        }
        free_problem(&p);
    }
}

static void attention_agrees_with_differences(void **state)
{
    (void)state;
    for_each_setting(check_differences);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(attention_flows_back),
    cmocka_unit_test(gradients_of_attention_that_are_not_wanted_stay_out),
    cmocka_unit_test(attention_agrees_with_differences),
};

SUITE_MAIN(tests)
