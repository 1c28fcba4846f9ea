/*
 * backend/cpu/backward_matmul.c: what flows back through matrix products: din += dout W, dweight += dout^T in.
 *
 * din is a product of many rows as matmul.c makes them: tiles of rows of dout by panels of W^T, packed once. dweight
 * takes tiles of its own rows, for which dout and the input are read as they lie, a few hundred rows at a time. Each
 * element of a gradient gets its sums in one order, whatever the number of threads. Without oneDNN (FAM_CPU_PORTABLE)
 * plain loops.
 */
#include <string.h>

#include "backend/cpu/gemm.h"
#include "base/float16.h"

enum {
    CHUNK = 2048,       /* rows of input and dout at a time, */
    PART = 512,         /* which dweight takes in such parts */
    GROUP_MAX = 8,      /* jobs that go together */
    GROUP_WIDTHS = 2,   /* room for a group: so many times the widest weight */
    CONVERT_ROWS = 16,  /* an item where numbers are rounded or widened */
    COLUMNS = 256       /* of din, an item of the plain loops: whole blocks of every type */
};

/* ---- plain loops ------------------------------------------------------------------------------------------------- */

typedef struct plain_work {
    const fam_matmul_backward_job *job;
    fam_dtype dtype;
    int64_t n;
} plain_work;

static void plain_din(void *context, int64_t begin, int64_t end, int thread)
{
    const plain_work *work = context;
    const fam_matmul_backward_job *job = work->job;
    const fam_weight_source *source = &job->weight->source;
    (void)thread;
    for (int64_t item = begin; item < end; item++) {
        int64_t column = item * COLUMNS, left = source->columns - column, count = left < COLUMNS ? left : COLUMNS;
        size_t offset = 0;
        (void)fam_type_row_bytes(&offset, source->type, column);
        for (int64_t r = 0; r < source->rows; r++) {
            float w[COLUMNS];
            fam_type_dequantize(w, (const uint8_t *)source->data + offset +
                                       (size_t)fam_cpu_file_row(source, r) * job->weight->row_bytes, source->type, count);
            for (int64_t i = 0; i < work->n; i++) {
                float dout = job->dout[i * source->rows + r], *din = job->din + i * source->columns + column;
                if (job->overwrite && r == 0)
                    memset(din, 0, (size_t)count * sizeof *din);
                for (int64_t c = 0; c < count; c++)
                    din[c] += dout * w[c];
            }
        }
    }
}

static void plain_dweight(void *context, int64_t begin, int64_t end, int thread)
{
    const plain_work *work = context;
    const fam_matmul_backward_job *job = work->job;
    int64_t rows = job->weight->source.rows, columns = job->weight->source.columns;
    (void)thread;
    for (int64_t r = begin; r < end; r++) {
        float *dweight = job->dweight + r * columns;
        for (int64_t i = 0; i < work->n; i++) {
            float dout = job->dout[i * rows + r];
            const float *f32 = (const float *)job->in + i * columns;
            const uint16_t *bf16 = (const uint16_t *)job->in + i * columns;
            if (work->dtype == FAM_DTYPE_F32)
                for (int64_t c = 0; c < columns; c++)
                    dweight[c] += dout * f32[c];
            else
                for (int64_t c = 0; c < columns; c++)
                    dweight[c] += dout * fam_from_bf16(bf16[c]);
        }
    }
}

static void plain_jobs(fam_cpu_exec *exec, const fam_matmul_backward_job *jobs, int count, int64_t n)
{
    for (int j = 0; j < count; j++) {
        plain_work work = {&jobs[j], exec->kernels->dtype, n};
        const fam_weight_source *source = &jobs[j].weight->source;
        if (jobs[j].din)
            fam_pool_run(exec->pool, plain_din, &work, (source->columns + COLUMNS - 1) / COLUMNS, 1);
        if (jobs[j].dweight)
            fam_pool_run(exec->pool, plain_dweight, &work, source->rows, 4);
    }
}

/* ---- memory of an execution -------------------------------------------------------------------------------------- */

/* A buffer for a chunk of a group, and the most that one prepared weight takes of it; groups fill the whole. */
typedef struct group_room {
    void *data;
    size_t bytes, one;
} group_room;

struct fam_cpu_backward {
    group_room narrowed; /* dout as bfloat16, if that is the products' type */
    group_room widened;  /* the input as float32, if it is bfloat16 and the products are not */
};

void fam_cpu_backward_free(fam_memory *memory, fam_cpu_backward *backward)
{
    if (!backward)
        return;
    fam_free(memory, backward->narrowed.data);
    fam_free(memory, backward->widened.data);
    fam_free(memory, backward);
}

static fam_status reserve(fam_cpu_exec *exec, group_room *room, int64_t rows, int64_t width, size_t element,
                          fam_error *error)
{
    fam_status status = FAM_OK;
    size_t one, bytes;
    FAM_FAIL_IF(!fam_mul_size(&one, (size_t)rows, (size_t)width) || !fam_mul_size(&bytes, one, GROUP_WIDTHS * element),
                FAM_STATUS_OUT_OF_MEMORY, "gradients: out of memory");
    if (room->one >= one * element)
        return FAM_OK;
    void *grown;
    FAM_TRY_ALLOC(grown, fam_alloc(exec->memory, bytes), "gradients");
    fam_free(exec->memory, room->data);
    room->data = grown;
    room->bytes = bytes;
    room->one = one * element;
done:
    return status;
}

static bool narrows(const fam_cpu_exec *exec)
{
    return fam_cpu_gemm_is_bf16(fam_cpu_of(exec->base.backend)->gemm);
}

static bool widens(const fam_cpu_exec *exec)
{
    return exec->kernels->dtype == FAM_DTYPE_BF16 && !narrows(exec);
}

/* The lengths of the parts of k rows: PART, and what is left; 0: there is none. */
static void part_lengths(int64_t out[2], int64_t k)
{
    out[0] = k < PART ? 0 : PART;
    out[1] = k % PART;
}

void fam_cpu_count_backward(const fam_cpu_backend *backend, fam_prepared_bytes *sum, const fam_weight *weight,
                            int64_t n)
{
    uint64_t rows = (uint64_t)(n < CHUNK ? n : CHUNK) * GROUP_WIDTHS;
    bool bf16 = fam_cpu_gemm_is_bf16(backend->gemm);
    if (bf16)
        fam_cpu_count_buffer(sum, FAM_CPU_BUFFER_NARROWED, rows * (uint64_t)weight->source.rows * sizeof(uint16_t));
    if (backend->base.dtype == FAM_DTYPE_BF16 && !bf16)
        fam_cpu_count_buffer(sum, FAM_CPU_BUFFER_WIDENED_BACK, rows * (uint64_t)weight->source.columns * sizeof(float));
}

static fam_status prepare_locked(fam_cpu_exec *exec, fam_weight *weight, int64_t n, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_cpu_backend *backend = fam_cpu_of(exec->base.backend);
    int64_t parts[2];
    FAM_TRY(fam_cpu_panels_make(backend, weight, true, error));
    FAM_TRY(fam_cpu_panels_compile(backend->gemm, atomic_load(&weight->transposed), n, error));
    part_lengths(parts, n);
    for (int i = 0; i < 2; i++)
        if (parts[i])
            FAM_TRY(fam_gemm_outer_make(backend->gemm, parts[i], weight->source.rows, weight->source.columns, error));
done:
    return status;
}

fam_status fam_cpu_prepare_backward(fam_exec *base, const fam_weight *weight, int64_t n, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_cpu_exec *exec = fam_cpu_exec_of(base);
    fam_cpu_backend *backend = fam_cpu_of(base->backend);
    int64_t rows = n < CHUNK ? n : CHUNK;
    if (!backend->gemm || n <= 0)
        return FAM_OK;
    if (!exec->backward)
        FAM_TRY_ALLOC(exec->backward, fam_alloc_zeroed(exec->memory, sizeof *exec->backward), "gradients");
    if (narrows(exec))
        FAM_TRY(reserve(exec, &exec->backward->narrowed, rows, weight->source.rows, sizeof(uint16_t), error));
    if (widens(exec))
        FAM_TRY(reserve(exec, &exec->backward->widened, rows, weight->source.columns, sizeof(float), error));
    pthread_mutex_lock(&backend->lock);
    status = prepare_locked(exec, (fam_weight *)weight, n, error); /* the panels are a cache inside the weight */
    pthread_mutex_unlock(&backend->lock);
done:
    return status;
}

/* ---- a group of jobs, one chunk ---------------------------------------------------------------------------------- */

typedef struct group_job {
    const fam_matmul_backward_job *job;
    const fam_cpu_panels *transposed;
    const void *dout, *in;  /* the chunk's, in the products' type */
    bool narrow, widen;     /* they are made so: by this job, if another has not */
    bool whole;             /* rows of din are made whole: so for all jobs that share it */
    int64_t first_din;      /* items of din: this job's, if it is the first of those that share it */
    int64_t first_dweight;
} group_job;

typedef struct chunk_work {
    fam_cpu_exec *exec;
    fam_cpu_gemm *gemm;
    group_job jobs[GROUP_MAX];
    int count;
    int64_t n;            /* rows of the whole call */
    int64_t first, rows;  /* of the chunk */
    int64_t din_items, items;
    atomic_bool failed;
} chunk_work;

static const void *rows_at(const void *data, int64_t row, int64_t width, size_t element)
{
    return (const uint8_t *)data + (size_t)(row * width) * element;
}

static void convert_rows(void *context, int64_t begin, int64_t end, int thread)
{
    const chunk_work *work = context;
    (void)thread;
    for (int j = 0; j < work->count; j++) {
        const group_job *g = &work->jobs[j];
        const fam_weight_source *source = &g->job->weight->source;
        int64_t from = begin * CONVERT_ROWS, last = end * CONVERT_ROWS, to = last < work->rows ? last : work->rows;
        if (g->narrow)
            work->exec->kernels->to_activations((uint16_t *)g->dout + from * source->rows,
                                                g->job->dout + (work->first + from) * source->rows,
                                                (to - from) * source->rows);
        for (int64_t i = from * source->columns; g->widen && i < to * source->columns; i++)
            ((float *)g->in)[i] = fam_from_bf16(((const uint16_t *)g->job->in)[work->first * source->columns + i]);
    }
}

/* Rows of din: what all jobs that share it add, in their order. */
static bool din_tile(const chunk_work *work, int first, int64_t panel, int64_t row, int64_t rows, int thread)
{
    float *din = work->jobs[first].job->din, *tile = fam_cpu_scratch(work->exec, thread);
    void *room = (uint8_t *)tile + FAM_GEMM_TILE_BYTES;
    bool done = true;
    for (int j = first; j < work->count; j++) {
        const group_job *g = &work->jobs[j];
        const fam_weight_source *source = &g->job->weight->source;
        const fam_cpu_panels *panels = g->transposed;
        if (g->job->din != din)
            continue;
        const void *in = rows_at(g->dout, row, source->rows, fam_cpu_gemm_is_bf16(work->gemm) ? 2 : 4);
        float *to = din + (work->first + row) * source->columns;
        if (g->whole) {
            done &= fam_gemm_run(work->gemm, panels->whole, panels->whole_handle, in, rows, to, !g->job->overwrite,
                                 room, thread);
            continue;
        }
        int64_t column = panel * panels->width, left = source->columns - column;
        int64_t count = left < panels->width ? left : panels->width;
        done &= fam_gemm_run(work->gemm, panel == panels->count - 1 ? panels->last : panels->plan,
                             panels->handles[panel], in, rows, tile, false, room, thread);
        for (int64_t i = 0; i < rows; i++) {
            float *place = to + i * source->columns + column;
            if (g->job->overwrite)
                memcpy(place, tile + i * count, (size_t)count * sizeof *place);
            else
                work->exec->kernels->add(place, tile + i * count, count);
        }
    }
    return done;
}

static bool din_item(const chunk_work *work, int64_t item, int thread)
{
    int first = 0;
    for (int j = 0; j < work->count; j++)
        if (work->jobs[j].first_din >= 0 && work->jobs[j].first_din <= item)
            first = j;
    int64_t tiles = fam_gemm_tiles(work->rows), rows, at = item - work->jobs[first].first_din;
    int64_t row = fam_gemm_tile(work->rows, at % tiles, &rows);
    return din_tile(work, first, at / tiles, row, rows, thread);
}

static bool dweight_item(const chunk_work *work, int64_t item, int thread)
{
    int j = work->count - 1;
    while (work->jobs[j].first_dweight < 0 || work->jobs[j].first_dweight > item)
        j--;
    const group_job *g = &work->jobs[j];
    const fam_weight_source *source = &g->job->weight->source;
    size_t element = fam_cpu_gemm_is_bf16(work->gemm) ? 2 : 4;
    void *room = (uint8_t *)fam_cpu_scratch(work->exec, thread) + FAM_GEMM_TILE_BYTES;
    bool done = true;
    for (int64_t at = 0; at < work->rows; at += PART) {
        int64_t k = work->rows - at < PART ? work->rows - at : PART;
        done &= fam_gemm_outer_run(work->gemm, fam_gemm_outer_find(work->gemm, k, source->rows, source->columns),
                                   item - g->first_dweight, rows_at(g->dout, at, source->rows, element),
                                   rows_at(g->in, at, source->columns, element), g->job->dweight, room, thread);
    }
    return done;
}

static void product_items(void *context, int64_t begin, int64_t end, int thread)
{
    chunk_work *work = context;
    int width = fam_gemm_enter();
    for (int64_t item = begin; item < end; item++)
        if (!(item < work->din_items ? din_item(work, item, thread) : dweight_item(work, item, thread)))
            atomic_store(&work->failed, true);
    fam_gemm_leave(width);
}

/* Where the chunk's dout and input lie in the products' type; jobs that share them share what is converted. */
static void place_operands(chunk_work *work)
{
    const fam_cpu_exec *exec = work->exec;
    size_t narrowed = 0, widened = 0, element = fam_dtype_bytes(exec->kernels->dtype);
    for (int j = 0; j < work->count; j++) {
        group_job *g = &work->jobs[j];
        const fam_weight_source *source = &g->job->weight->source;
        g->narrow = narrows(exec);
        g->widen = widens(exec) && g->job->dweight;
        g->dout = rows_at(g->job->dout, work->first, source->rows, sizeof(float));
        g->in = rows_at(g->job->in, g->job->in ? work->first : 0, source->columns, element);
        for (int i = 0; i < j && g->widen; i++)
            if (work->jobs[i].widen && work->jobs[i].job->in == g->job->in) {
                g->widen = false;
                g->in = work->jobs[i].in;
            }
        if (g->narrow) {
            g->dout = (uint8_t *)exec->backward->narrowed.data + narrowed;
            narrowed += (size_t)(work->rows * source->rows) * sizeof(uint16_t);
        }
        if (g->widen) {
            g->in = (uint8_t *)exec->backward->widened.data + widened;
            widened += (size_t)(work->rows * source->columns) * sizeof(float);
        }
    }
}

static void number_items(chunk_work *work)
{
    int64_t tiles = fam_gemm_tiles(work->rows);
    work->din_items = 0;
    for (int j = 0; j < work->count; j++) {
        group_job *g = &work->jobs[j];
        bool first = g->job->din != NULL;
        g->whole = true;
        for (int i = 0; i < work->count; i++) {
            if (work->jobs[i].job->din != g->job->din)
                continue;
            first = first && i >= j;
            g->whole = g->whole && fam_gemm_takes_whole(work->jobs[i].transposed, work->n);
        }
        g->first_din = first ? work->din_items : -1;
        if (first)
            work->din_items += tiles * (g->whole ? 1 : g->transposed->count);
    }
    work->items = work->din_items;
    for (int j = 0; j < work->count; j++) {
        group_job *g = &work->jobs[j];
        g->first_dweight = g->job->dweight ? work->items : -1;
        work->items += g->job->dweight ? fam_gemm_outer_tiles(g->job->weight->source.rows) : 0;
    }
}

static bool run_group(fam_cpu_exec *exec, const fam_matmul_backward_job *jobs, int count, int64_t n)
{
    chunk_work work = {.exec = exec, .gemm = fam_cpu_of(exec->base.backend)->gemm, .count = count, .n = n};
    for (int j = 0; j < count; j++)
        work.jobs[j] = (group_job){.job = &jobs[j], .transposed = atomic_load_explicit(&jobs[j].weight->transposed,
                                                                                      memory_order_acquire)};
    for (work.first = 0; work.first < n; work.first += CHUNK) {
        work.rows = n - work.first < CHUNK ? n - work.first : CHUNK;
        place_operands(&work);
        number_items(&work);
        if (narrows(exec) || widens(exec))
            fam_pool_run(exec->pool, convert_rows, &work, (work.rows + CONVERT_ROWS - 1) / CONVERT_ROWS, 1);
        fam_pool_run(exec->pool, product_items, &work, work.items, 1);
    }
    return !atomic_load(&work.failed);
}

/* ---- the operator ------------------------------------------------------------------------------------------------ */

/* Whether `prepare_backward` was called for this. */
static bool is_prepared(const fam_cpu_exec *exec, const fam_weight *weight, int64_t n)
{
    const fam_cpu_panels *panels = atomic_load_explicit(&weight->transposed, memory_order_acquire);
    size_t rows = (size_t)(n < CHUNK ? n : CHUNK);
    int64_t parts[2];
    if (!panels || !exec->backward || !fam_cpu_panels_compiled(panels, n) ||
        (narrows(exec) && exec->backward->narrowed.one < rows * (size_t)weight->source.rows * sizeof(uint16_t)) ||
        (widens(exec) && exec->backward->widened.one < rows * (size_t)weight->source.columns * sizeof(float)))
        return false;
    part_lengths(parts, n);
    for (int i = 0; i < 2; i++)
        if (parts[i] && !fam_gemm_outer_find(fam_cpu_of(exec->base.backend)->gemm, parts[i], weight->source.rows,
                                             weight->source.columns))
            return false;
    return true;
}

/* How many of the jobs go together: those that the rooms have place for. */
static int group_size(const fam_cpu_exec *exec, const fam_matmul_backward_job *jobs, int count, int64_t n)
{
    size_t rows = (size_t)(n < CHUNK ? n : CHUNK), narrowed = 0, widened = 0;
    int size = 0;
    for (; size < count && size < GROUP_MAX; size++) {
        narrowed += rows * (size_t)jobs[size].weight->source.rows * sizeof(uint16_t);
        widened += rows * (size_t)jobs[size].weight->source.columns * sizeof(float);
        if ((narrows(exec) && narrowed > exec->backward->narrowed.bytes) ||
            (widens(exec) && widened > exec->backward->widened.bytes))
            break;
    }
    return size;
}

void fam_cpu_matmul_backward(fam_exec *base, const fam_matmul_backward_job *jobs, int count, int64_t n)
{
    fam_cpu_exec *exec = fam_cpu_exec_of(base);
    if (exec->failure.status != FAM_OK || n <= 0)
        return;
    if (!fam_cpu_of(base->backend)->gemm) {
        plain_jobs(exec, jobs, count, n);
        return;
    }
    for (int j = 0; j < count; j++) {
        if (!is_prepared(exec, jobs[j].weight, n)) {
            fam_error_set(&exec->failure, FAM_STATUS_FAILED, "gradients: %lld rows were not prepared for", (long long)n);
            return;
        }
    }
    bool done = true;
    for (int at = 0, size; at < count; at += size) {
        size = group_size(exec, jobs + at, count - at, n);
        done &= run_group(exec, jobs + at, size, n);
    }
    if (!done)
        fam_error_set(&exec->failure, FAM_STATUS_FAILED, "gradients: oneDNN refused a product that it had compiled");
}
