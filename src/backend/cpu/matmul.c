/*
 * backend/cpu/matmul.c: the matmul operator: a group of products shared out among the pool's threads.
 *
 * Few rows: each thread streams runs of weight rows from where the file is mapped (gemv). Many rows: each thread takes
 * (panel of columns, tile of rows) items and calls oneDNN for them. Knows no instruction sets.
 */
#include <string.h>

#include "backend/cpu/gemm.h"
#include "base/float16.h"

enum {
    CHUNK_ROWS = 64,         /* weight rows that a thread takes at a time, at most */
    CHUNK_BYTES = 32 * 1024, /* and about this much of them: they stay cached for the other rows of the input */
    GROUP_MAX = FAM_MATMUL_JOBS_MAX
};

/* ---- where results go -------------------------------------------------------------------------------------------- */

/* Row `row` of the file is this row of the weight. */
static int64_t weight_row(const fam_weight_source *source, int64_t row)
{
    int64_t d = source->permuted_head_dim;
    if (d == 0)
        return row;
    int64_t in_head = row % d;
    return row - in_head + in_head / 2 + in_head % 2 * (d / 2);
}

/* Puts results of consecutive columns of one row of the result in their place. */
static void put(const fam_cpu_kernels *kernels, const fam_matmul_job *job, int64_t row, int64_t column, int64_t count,
                const float *values)
{
    size_t at = (size_t)row * (size_t)job->weight->source.rows + (size_t)column;
    float *out = (float *)job->out + at;
    if (job->activation_out)
        kernels->to_activations((uint8_t *)job->out + at * fam_dtype_bytes(kernels->dtype), values, count);
    else if (job->accumulate)
        kernels->add(out, values, count);
    else
        memcpy(out, values, (size_t)count * sizeof *out);
}

static void put_permuted(const fam_cpu_kernels *kernels, const fam_matmul_job *job, int64_t row, int64_t file_row,
                         int64_t count, const float *values)
{
    for (int64_t i = 0; i < count; i++)
        put(kernels, job, row, weight_row(&job->weight->source, file_row + i), 1, &values[i]);
}

/* ---- few rows ---------------------------------------------------------------------------------------------------- */

typedef struct gemv_group {
    const fam_cpu_exec *exec;
    int count;
    int64_t n;
    const fam_matmul_job *jobs[GROUP_MAX];
    const uint8_t *prepared[GROUP_MAX]; /* [n] slots */
    int64_t first_item[GROUP_MAX + 1];
    int64_t chunk[GROUP_MAX]; /* weight rows an item */
} gemv_group;

static int64_t chunk_rows(const fam_weight *weight)
{
    int64_t rows = (int64_t)(CHUNK_BYTES / weight->row_bytes) / 8 * 8;
    return rows < 8 ? 8 : rows > CHUNK_ROWS ? CHUNK_ROWS : rows;
}

static void gemv_chunk(const gemv_group *group, int j, int64_t begin, int64_t end)
{
    const fam_cpu_kernels *kernels = group->exec->kernels;
    const fam_matmul_job *job = group->jobs[j];
    const fam_weight *weight = job->weight;
    const fam_weight_source *source = &weight->source;
    const uint8_t *data = (const uint8_t *)source->data + (size_t)begin * weight->row_bytes;
    bool direct = !job->accumulate && !job->activation_out && source->permuted_head_dim == 0;
    for (int64_t i = 0; i < group->n; i++) {
        const void *x = group->prepared[j] + (size_t)i * group->exec->prepared_bytes;
        float values[CHUNK_ROWS], *out = direct ? (float *)job->out + i * source->rows + begin : values;
        kernels->gemv[source->type].run(out, data, x, end - begin, source->columns);
        if (direct)
            continue;
        if (source->permuted_head_dim)
            put_permuted(kernels, job, i, begin, end - begin, values);
        else
            put(kernels, job, i, begin, end - begin, values);
    }
}

static void gemv_items(void *context, int64_t begin, int64_t end, int thread)
{
    const gemv_group *group = context;
    int j = 0;
    (void)thread;
    for (int64_t item = begin; item < end; item++) {
        while (item >= group->first_item[j + 1])
            j++;
        int64_t row = (item - group->first_item[j]) * group->chunk[j], rows = group->jobs[j]->weight->source.rows;
        gemv_chunk(group, j, row, rows - row < group->chunk[j] ? rows : row + group->chunk[j]);
    }
}

static void gemv_flush(gemv_group *group)
{
    group->first_item[0] = 0;
    for (int j = 0; j < group->count; j++) {
        int64_t rows = group->jobs[j]->weight->source.rows;
        group->chunk[j] = chunk_rows(group->jobs[j]->weight);
        group->first_item[j + 1] = group->first_item[j] + (rows + group->chunk[j] - 1) / group->chunk[j];
    }
    fam_pool_run(group->exec->pool, gemv_items, group, group->first_item[group->count], 1);
    group->count = 0;
}

/* Jobs with the same input share what is prepared from it. */
static const uint8_t *find_prepared(const gemv_group *group, const fam_matmul_job *job)
{
    const fam_cpu_gemv_kernel *kernels = group->exec->kernels->gemv;
    for (int j = group->count - 1; j >= 0; j--) {
        const fam_weight_source *other = &group->jobs[j]->weight->source;
        if (group->jobs[j]->in == job->in && other->columns == job->weight->source.columns &&
            kernels[other->type].prepare == kernels[job->weight->source.type].prepare)
            return group->prepared[j];
    }
    return NULL;
}

static void gemv_jobs(fam_cpu_exec *exec, const fam_matmul_job *jobs, int count, int64_t n)
{
    gemv_group group = {.exec = exec, .n = n};
    int slots = 0;
    for (int j = 0; j < count; j++) {
        const fam_weight_source *source = &jobs[j].weight->source;
        const uint8_t *prepared = find_prepared(&group, &jobs[j]);
        if (!prepared) {
            if (slots + n > FAM_CPU_PREPARED_SLOTS) {
                gemv_flush(&group);
                slots = 0;
            }
            prepared = exec->prepared + (size_t)slots * exec->prepared_bytes;
            size_t row_bytes = (size_t)source->columns * fam_dtype_bytes(exec->kernels->dtype);
            for (int64_t i = 0; i < n; i++, slots++)
                exec->kernels->gemv[source->type].prepare(exec->prepared + (size_t)slots * exec->prepared_bytes,
                                                          (const uint8_t *)jobs[j].in + (size_t)i * row_bytes,
                                                          source->columns);
        }
        group.jobs[group.count] = &jobs[j];
        group.prepared[group.count++] = prepared;
    }
    if (group.count)
        gemv_flush(&group);
}

/* ---- many rows --------------------------------------------------------------------------------------------------- */

typedef struct gemm_group {
    const fam_cpu_exec *exec;
    fam_cpu_gemm *gemm;
    const fam_matmul_job *jobs;
    const void *in[GROUP_MAX];
    int count;
    int64_t n, tiles;
    int64_t first_item[GROUP_MAX + 1];
    atomic_bool failed;
} gemm_group;

/* Whether the job's items are tiles of whole rows, which need no scratch. */
static bool takes_whole(const fam_matmul_job *job, int64_t n)
{
    const fam_cpu_panels *panels = atomic_load_explicit(&job->weight->panels, memory_order_acquire);
    return !job->activation_out && fam_gemm_takes_whole(panels, n);
}

/* One tile of rows, whole or by one panel of columns. */
static bool gemm_item(const gemm_group *group, int j, int64_t item, int thread)
{
    const fam_matmul_job *job = &group->jobs[j];
    const fam_cpu_panels *panels = atomic_load_explicit(&job->weight->panels, memory_order_acquire);
    int64_t panel = item / group->tiles, total = job->weight->source.rows, column = panel * panels->width, rows;
    int64_t row = fam_gemm_tile(group->n, item % group->tiles, &rows);
    int64_t columns = total - column < panels->width ? total - column : panels->width;
    size_t element = fam_cpu_gemm_is_bf16(group->gemm) ? 2 : 4;
    const uint8_t *in = (const uint8_t *)group->in[j] + (size_t)row * (size_t)job->weight->source.columns * element;
    float *tile = fam_cpu_scratch(group->exec, thread);
    void *room = (uint8_t *)tile + FAM_GEMM_TILE_BYTES;
    if (takes_whole(job, group->n))
        return fam_gemm_run(group->gemm, panels->whole, panels->whole_handle, in, rows, (float *)job->out + row * total,
                            job->accumulate, room, thread);
    if (!fam_gemm_run(group->gemm, panel == panels->count - 1 ? panels->last : panels->plan, panels->handles[panel], in,
                      rows, tile, false, room, thread))
        return false;
    for (int64_t i = 0; i < rows; i++)
        put(group->exec->kernels, job, row + i, column, columns, tile + i * columns);
    return true;
}

static void gemm_items(void *context, int64_t begin, int64_t end, int thread)
{
    gemm_group *group = context;
    int j = 0, width = fam_gemm_enter();
    for (int64_t item = begin; item < end; item++) {
        while (item >= group->first_item[j + 1])
            j++;
        if (!gemm_item(group, j, item - group->first_item[j], thread))
            atomic_store(&group->failed, true);
    }
    fam_gemm_leave(width);
}

typedef struct widening {
    float *to;
    const uint16_t *from;
} widening;

static void widen_items(void *context, int64_t begin, int64_t end, int thread)
{
    const widening *w = context;
    (void)thread;
    for (int64_t i = begin; i < end; i++)
        w->to[i] = fam_from_bf16(w->from[i]);
}

static void gemm_jobs(fam_cpu_exec *exec, const fam_matmul_job *jobs, int count, int64_t n)
{
    fam_cpu_gemm *gemm = fam_cpu_of(exec->base.backend)->gemm;
    gemm_group group = {.exec = exec, .gemm = gemm, .jobs = jobs, .count = count, .n = n, .tiles = fam_gemm_tiles(n)};
    for (int j = 0; j < count; j++) {
        const fam_cpu_panels *panels = atomic_load_explicit(&jobs[j].weight->panels, memory_order_acquire);
        group.in[j] = jobs[j].in;
        group.first_item[j + 1] = group.first_item[j] + (takes_whole(&jobs[j], n) ? 1 : panels->count) * group.tiles;
    }
    if (exec->kernels->dtype == FAM_DTYPE_BF16 && !fam_cpu_gemm_is_bf16(gemm)) {
        widening w = {exec->widened, jobs[0].in};
        fam_pool_run(exec->pool, widen_items, &w, n * jobs[0].weight->source.columns, 1 << 14);
        for (int j = 0; j < count; j++)
            group.in[j] = exec->widened;
    }
    fam_pool_run(exec->pool, gemm_items, &group, group.first_item[count], 1);
    if (atomic_load(&group.failed) && exec->failure.status == FAM_OK)
        fam_error_set(&exec->failure, FAM_STATUS_FAILED, "matrix products: oneDNN refused one that it had compiled");
}

/* How many of the jobs can go together: all, unless their input must be widened into the one buffer for it. */
static int group_size(const fam_cpu_exec *exec, const fam_matmul_job *jobs, int count)
{
    if (exec->kernels->dtype == FAM_DTYPE_F32 || fam_cpu_gemm_is_bf16(fam_cpu_of(exec->base.backend)->gemm))
        return count;
    int size = 1;
    while (size < count && jobs[size].in == jobs[0].in)
        size++;
    return size;
}

/* ---- the operator ------------------------------------------------------------------------------------------------ */

static bool by_rows(const fam_cpu_backend *backend, int64_t n)
{
    return n <= FAM_CPU_GEMV_ROWS_MAX || !backend->gemm;
}

/* Whether `prepare` was called for this. */
static bool is_prepared(const fam_cpu_exec *exec, const fam_matmul_job *job, int64_t n)
{
    const fam_cpu_backend *backend = fam_cpu_of(exec->base.backend);
    const fam_weight_source *source = &job->weight->source;
    if (by_rows(backend, n))
        return exec->prepared_bytes >= exec->kernels->gemv[source->type].prepared_bytes(source->columns);
    const fam_cpu_panels *panels = atomic_load_explicit(&job->weight->panels, memory_order_acquire);
    if (!panels || !fam_cpu_panels_compiled(panels, n))
        return false;
    return exec->kernels->dtype == FAM_DTYPE_F32 || fam_cpu_gemm_is_bf16(backend->gemm) ||
           exec->widened_bytes >= (size_t)(n * source->columns) * sizeof(float);
}

void fam_cpu_matmul(fam_exec *base, const fam_matmul_job *jobs, int count, int64_t n)
{
    fam_cpu_exec *exec = fam_cpu_exec_of(base);
    fam_cpu_backend *backend = fam_cpu_of(base->backend);
    if (exec->failure.status != FAM_OK || n <= 0)
        return;
    for (int j = 0; j < count; j++) {
        if (!is_prepared(exec, &jobs[j], n)) {
            fam_error_set(&exec->failure, FAM_STATUS_FAILED, "matrix products: %lld rows were not prepared for",
                          (long long)n);
            return;
        }
    }
    if (by_rows(backend, n)) {
        for (int64_t row = 0; row < n; row += FAM_CPU_GEMV_ROWS_MAX) {
            /* without panels any number of rows comes here; a few at a time fit the slots */
            fam_matmul_job part[GROUP_MAX];
            int64_t rows = n - row < FAM_CPU_GEMV_ROWS_MAX ? n - row : FAM_CPU_GEMV_ROWS_MAX;
            for (int j = 0; j < count; j++) {
                size_t element = fam_dtype_bytes(exec->kernels->dtype);
                const fam_weight_source *source = &jobs[j].weight->source;
                part[j] = jobs[j];
                part[j].in = (const uint8_t *)jobs[j].in + (size_t)(row * source->columns) * element;
                part[j].out = (uint8_t *)jobs[j].out +
                              (size_t)(row * source->rows) * (jobs[j].activation_out ? element : sizeof(float));
            }
            gemv_jobs(exec, part, count, rows);
        }
        return;
    }
    for (int at = 0, size; at < count; at += size) {
        size = group_size(exec, jobs + at, count - at);
        gemm_jobs(exec, jobs + at, size, n);
    }
}

/* Grows a buffer of the execution; what it held does not matter. */
static fam_status reserve(fam_cpu_exec *exec, void **buffer, size_t *have, size_t need, size_t times, fam_error *error)
{
    size_t bytes;
    if (*have >= need)
        return FAM_OK;
    void *grown = fam_mul_size(&bytes, need, times) ? fam_alloc(exec->memory, bytes) : NULL;
    if (!grown)
        return fam_out_of_memory(error, "activations");
    fam_free(exec->memory, *buffer);
    *buffer = grown;
    *have = need;
    return FAM_OK;
}

fam_status fam_cpu_prepare(fam_exec *base, const fam_weight *weight, int64_t n, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_cpu_exec *exec = fam_cpu_exec_of(base);
    fam_cpu_backend *backend = fam_cpu_of(base->backend);
    const fam_weight_source *source = &weight->source;
    bool locked = false;
    void *buffer = exec->prepared;
    FAM_TRY(reserve(exec, &buffer, &exec->prepared_bytes,
                    exec->kernels->gemv[source->type].prepared_bytes(source->columns), FAM_CPU_PREPARED_SLOTS, error));
    exec->prepared = buffer;
    if (by_rows(backend, n))
        goto done;
    if (exec->kernels->dtype == FAM_DTYPE_BF16 && !fam_cpu_gemm_is_bf16(backend->gemm)) {
        buffer = exec->widened;
        FAM_TRY(reserve(exec, &buffer, &exec->widened_bytes, (size_t)(n * source->columns) * sizeof(float), 1, error));
        exec->widened = buffer;
    }
    pthread_mutex_lock(&backend->lock);
    locked = true;
    FAM_TRY(fam_cpu_panels_make(backend, (fam_weight *)weight, false, error)); /* the panels are a cache inside the weight */
    const fam_cpu_panels *panels = atomic_load(&weight->panels);
    FAM_TRY(fam_cpu_panels_compile(backend->gemm, panels, n, error));
done:
    if (locked)
        pthread_mutex_unlock(&backend->lock);
    return status;
}
