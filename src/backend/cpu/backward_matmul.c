/*
 * backend/cpu/backward_matmul.c: what flows back through matrix products: din += dout W, dweight += dout^T in.
 *
 * Both are products of many rows, made as matmul.c makes them: tiles of rows by packed panels of columns. din takes tiles
 * of dout and panels of W^T, packed once; dweight takes tiles of dout^T and panels of the input, laid out for CHUNK rows
 * of input at a time. Each element of a gradient gets one sum a chunk, in one order, whatever the number of threads.
 * Without oneDNN (FAM_CPU_PORTABLE) plain loops.
 */
#include <string.h>

#include "backend/cpu/gemm.h"
#include "base/float16.h"

enum {
    CHUNK = 512,   /* rows of input and dout at a time */
    K_BLOCK = 32,  /* a chunk is filled up with zero rows to a multiple: fewer different products to compile */
    PACK_ROWS = 8, /* rows of input that a thread packs at a time */
    COLUMNS = 256  /* of din, an item of the plain loops: whole blocks of every type */
};

/* ---- plain loops -------------------------------------------------------------------------------------------------- */

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

/* ---- memory of an execution --------------------------------------------------------------------------------------- */

/* How an input of k rows is packed into fam_cpu_backward.packed; panels.data is not used. */
typedef struct input_view {
    struct input_view *next;
    int64_t k, columns;
    fam_cpu_panels panels;
} input_view;

struct fam_cpu_backward {
    input_view *views;
    uint8_t *packed;     /* a chunk of the input in panels */
    uint8_t *turned;     /* a chunk of dout^T [rows of W][k], in the products' type */
    uint16_t *narrowed;  /* a chunk of dout as bfloat16, if that is the products' type */
    size_t packed_bytes, turned_bytes, narrowed_bytes;
};

static void view_free(fam_memory *memory, input_view *view)
{
    for (int64_t i = 0; view->panels.handles && i < view->panels.count; i++)
        fam_gemm_handle_free(view->panels.handles[i]);
    fam_free(memory, view->panels.handles);
    fam_free(memory, view);
}

void fam_cpu_backward_free(fam_memory *memory, fam_cpu_backward *backward)
{
    if (!backward)
        return;
    while (backward->views) {
        input_view *view = backward->views;
        backward->views = view->next;
        view_free(memory, view);
    }
    fam_free(memory, backward->packed);
    fam_free(memory, backward->turned);
    fam_free(memory, backward->narrowed);
    fam_free(memory, backward);
}

static int64_t padded(int64_t rows)
{
    return (rows + K_BLOCK - 1) / K_BLOCK * K_BLOCK;
}

static const input_view *view_find(const fam_cpu_backward *backward, int64_t k, int64_t columns)
{
    const input_view *view = backward ? backward->views : NULL;
    while (view && (view->k != k || view->columns != columns))
        view = view->next;
    return view;
}

/* A larger buffer; what it held does not matter. */
static void *reserved(fam_cpu_exec *exec, void *old, size_t *have, size_t need)
{
    if (*have >= need)
        return old;
    void *grown = fam_alloc_zeroed(exec->memory, need);
    if (grown) {
        fam_free(exec->memory, old);
        *have = need;
    }
    return grown;
}

static fam_status reserve_packed(fam_cpu_exec *exec, size_t need, fam_error *error)
{
    fam_cpu_backward *backward = exec->backward;
    uint8_t *packed = reserved(exec, backward->packed, &backward->packed_bytes, need);
    if (!packed)
        return fam_out_of_memory(error, "gradients");
    if (packed == backward->packed)
        return FAM_OK;
    backward->packed = packed;
    for (input_view *view = backward->views; view; view = view->next)
        for (int64_t i = 0; i < view->panels.count; i++)
            fam_gemm_handle_move(view->panels.handles[i], packed + (size_t)i * view->panels.panel_bytes);
    return FAM_OK;
}

/* The backend's lock is held. */
static fam_status view_make(fam_cpu_exec *exec, fam_cpu_gemm *gemm, int64_t k, const fam_weight_source *source,
                            fam_error *error)
{
    fam_status status = FAM_OK;
    input_view *view = NULL;
    if (!view_find(exec->backward, k, source->columns)) {
        FAM_TRY_ALLOC(view, fam_alloc_zeroed(exec->memory, sizeof *view), "gradients");
        view->k = k;
        view->columns = source->columns;
        fam_cpu_panels *panels = &view->panels;
        FAM_TRY(fam_cpu_panels_cut(gemm, panels, k, source->columns, error));
        FAM_TRY(reserve_packed(exec, (size_t)panels->count * panels->panel_bytes, error));
        FAM_TRY_ALLOC(panels->handles, fam_alloc_array(exec->memory, (size_t)panels->count, sizeof *panels->handles),
                      "gradients");
        for (int64_t i = 0; i < panels->count; i++)
            FAM_TRY(fam_gemm_handle_create(gemm, &panels->handles[i], i == panels->count - 1 ? panels->last : panels->plan,
                                           exec->backward->packed + (size_t)i * panels->panel_bytes, error));
        view->next = exec->backward->views;
        exec->backward->views = view;
        view = NULL;
    }
    const fam_cpu_panels *panels = &view_find(exec->backward, k, source->columns)->panels;
    FAM_TRY(fam_gemm_plan_compile(gemm, panels->plan, source->rows, error));
    FAM_TRY(fam_gemm_plan_compile(gemm, panels->last, source->rows, error));
done:
    if (view)
        view_free(exec->memory, view);
    return status;
}

static fam_status reserve_dout(fam_cpu_exec *exec, bool bf16, int64_t k, int64_t rows, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_cpu_backward *backward = exec->backward;
    uint8_t *turned;
    uint16_t *narrowed;
    size_t elements;
    FAM_FAIL_IF(!fam_mul_size(&elements, (size_t)k, (size_t)rows), FAM_STATUS_OUT_OF_MEMORY, "gradients: out of memory");
    FAM_TRY_ALLOC(turned, reserved(exec, backward->turned, &backward->turned_bytes, elements * (bf16 ? 2 : 4)), "gradients");
    backward->turned = turned;
    if (bf16) {
        FAM_TRY_ALLOC(narrowed, reserved(exec, backward->narrowed, &backward->narrowed_bytes, elements * 2), "gradients");
        backward->narrowed = narrowed;
    }
done:
    return status;
}

void fam_cpu_count_backward(const fam_cpu_backend *backend, fam_prepared_bytes *sum, const fam_weight *weight,
                            int64_t n)
{
    int64_t k = padded(n < CHUNK ? n : CHUNK);
    uint64_t elements = (uint64_t)(k * weight->source.rows);
    bool bf16 = fam_cpu_gemm_is_bf16(backend->gemm);
    fam_cpu_count_buffer(sum, FAM_CPU_BUFFER_PACKED, fam_cpu_panels_bytes(backend->gemm, k, weight->source.columns));
    fam_cpu_count_buffer(sum, FAM_CPU_BUFFER_TURNED, elements * (bf16 ? 2 : 4));
    fam_cpu_count_buffer(sum, FAM_CPU_BUFFER_NARROWED, bf16 ? elements * 2 : 0);
}

static fam_status prepare_locked(fam_cpu_exec *exec, fam_weight *weight, int64_t n, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_cpu_backend *backend = fam_cpu_of(exec->base.backend);
    int64_t chunks[] = {n < CHUNK ? 0 : CHUNK, n % CHUNK};
    FAM_TRY(fam_cpu_panels_make(backend, weight, true, error));
    const fam_cpu_panels *panels = atomic_load(&weight->transposed);
    for (int i = 0; i < 2; i++) {
        if (chunks[i] == 0)
            continue;
        FAM_TRY(fam_gemm_plan_compile(backend->gemm, panels->plan, chunks[i], error));
        FAM_TRY(fam_gemm_plan_compile(backend->gemm, panels->last, chunks[i], error));
        FAM_TRY(view_make(exec, backend->gemm, padded(chunks[i]), &weight->source, error));
    }
done:
    return status;
}

fam_status fam_cpu_prepare_backward(fam_exec *base, const fam_weight *weight, int64_t n, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_cpu_exec *exec = fam_cpu_exec_of(base);
    fam_cpu_backend *backend = fam_cpu_of(base->backend);
    if (!backend->gemm || n <= 0)
        return FAM_OK;
    if (!exec->backward)
        FAM_TRY_ALLOC(exec->backward, fam_alloc_zeroed(exec->memory, sizeof *exec->backward), "gradients");
    FAM_TRY(reserve_dout(exec, fam_cpu_gemm_is_bf16(backend->gemm), padded(n < CHUNK ? n : CHUNK), weight->source.rows,
                         error));
    pthread_mutex_lock(&backend->lock);
    status = prepare_locked(exec, (fam_weight *)weight, n, error); /* the panels are a cache inside the weight */
    pthread_mutex_unlock(&backend->lock);
done:
    return status;
}

/* ---- one job, one chunk --------------------------------------------------------------------------------------------- */

typedef struct chunk_work {
    fam_cpu_exec *exec;
    fam_cpu_gemm *gemm;
    const fam_matmul_backward_job *job;
    const input_view *view;
    const fam_cpu_panels *transposed;
    int64_t first, count;               /* rows of the chunk */
    int64_t strips, din_items, tiles;   /* tiles: of rows of dweight */
    bool bf16;
    atomic_bool failed;
} chunk_work;

/* Columns [column, column + FAM_CPU_STRIP) of the chunk of dout: turned around for dweight, rounded for din. */
static void lay_out_strip(const chunk_work *work, int64_t column)
{
    const fam_cpu_backward *backward = work->exec->backward;
    int64_t rows = work->job->weight->source.rows, left = rows - column, k = work->view->k;
    work->exec->kernels->turn_strip(backward->turned + (size_t)(column * k) * (work->bf16 ? 2 : 4),
                                    work->bf16 ? backward->narrowed + column : NULL,
                                    work->job->dout + work->first * rows + column, rows, work->count, k,
                                    left < FAM_CPU_STRIP ? left : FAM_CPU_STRIP);
}

static const uint16_t zeros[2 * FAM_GEMM_PANEL_COLUMNS];

/* Row `row` of the chunk of the input from one column on, in float32; beyond the chunk's end zeros. */
static const float *input_row(const chunk_work *work, int64_t row, int64_t column, int64_t count, float *widened)
{
    int64_t at = (work->first + row) * work->view->columns + column;
    if (row >= work->count)
        return (const float *)(const void *)zeros;
    if (work->exec->kernels->dtype == FAM_DTYPE_F32)
        return (const float *)work->job->in + at;
    for (int64_t c = 0; c < count; c++)
        widened[c] = fam_from_bf16(((const uint16_t *)work->job->in)[at + c]);
    return widened;
}

static const uint16_t *input_bits(const chunk_work *work, int64_t row, int64_t column)
{
    return row < work->count ? (const uint16_t *)work->job->in + (work->first + row) * work->view->columns + column : zeros;
}

/* Rows `row` (even) and the next of the chunk of the input, in their place in all panels. */
static void pack_input_rows(const chunk_work *work, int64_t row)
{
    const fam_cpu_panels *panels = &work->view->panels;
    for (int64_t p = 0; p < panels->count; p++) {
        const fam_gemm_plan *plan = p == panels->count - 1 ? panels->last : panels->plan;
        uint8_t *panel = work->exec->backward->packed + (size_t)p * panels->panel_bytes;
        int64_t column = p * panels->width, left = work->view->columns - column;
        int64_t count = left < panels->width ? left : panels->width;
        float widened[FAM_GEMM_PANEL_COLUMNS];
        if (work->bf16) {
            fam_gemm_pack_rows_bits(plan, panel, row, input_bits(work, row, column), input_bits(work, row + 1, column));
            continue;
        }
        fam_gemm_pack_row(plan, panel, row, input_row(work, row, column, count, widened));
        fam_gemm_pack_row(plan, panel, row + 1, input_row(work, row + 1, column, count, widened));
    }
}

static void lay_out_items(void *context, int64_t begin, int64_t end, int thread)
{
    const chunk_work *work = context;
    (void)thread;
    for (int64_t item = begin; item < end; item++) {
        if (item < work->strips) {
            lay_out_strip(work, item * FAM_CPU_STRIP);
            continue;
        }
        for (int64_t row = (item - work->strips) * PACK_ROWS; row < (item - work->strips + 1) * PACK_ROWS; row += 2)
            pack_input_rows(work, row);
    }
}

/* One tile of rows by one panel; the result is added to `to`, whose rows are `columns` wide. */
static bool add_tile(const chunk_work *work, const fam_cpu_panels *panels, int64_t panel, const void *in, int64_t rows,
                     float *to, int64_t columns, int thread)
{
    int64_t column = panel * panels->width, left = columns - column, count = left < panels->width ? left : panels->width;
    float *tile = fam_cpu_scratch(work->exec, thread);
    if (!fam_gemm_run(work->gemm, panel == panels->count - 1 ? panels->last : panels->plan, panels->handles[panel], in, rows,
                      tile, thread))
        return false;
    for (int64_t i = 0; i < rows; i++)
        work->exec->kernels->add(to + i * columns + column, tile + i * count, count);
    return true;
}

static bool din_item(const chunk_work *work, int64_t item, int thread)
{
    const fam_weight_source *source = &work->job->weight->source;
    int64_t tiles = fam_gemm_tiles(work->count), rows, row = fam_gemm_tile(work->count, item % tiles, &rows);
    const void *in = work->bf16 ? (const void *)(work->exec->backward->narrowed + row * source->rows)
                                : (const void *)(work->job->dout + (work->first + row) * source->rows);
    return add_tile(work, work->transposed, item / tiles, in, rows,
                    work->job->din + (work->first + row) * source->columns, source->columns, thread);
}

static bool dweight_item(const chunk_work *work, int64_t item, int thread)
{
    const fam_weight_source *source = &work->job->weight->source;
    int64_t rows, row = fam_gemm_tile(source->rows, item % work->tiles, &rows);
    const uint8_t *in = work->exec->backward->turned + (size_t)(row * work->view->k) * (work->bf16 ? 2 : 4);
    return add_tile(work, &work->view->panels, item / work->tiles, in, rows, work->job->dweight + row * source->columns,
                    source->columns, thread);
}

static void product_items(void *context, int64_t begin, int64_t end, int thread)
{
    chunk_work *work = context;
    int width = fam_gemm_enter();
    for (int64_t item = begin; item < end; item++)
        if (!(item < work->din_items ? din_item(work, item, thread) : dweight_item(work, item - work->din_items, thread)))
            atomic_store(&work->failed, true);
    fam_gemm_leave(width);
}

/* `same_input`: the packed input is still that of this chunk. */
static bool run_chunk(fam_cpu_exec *exec, const fam_matmul_backward_job *job, int64_t first, int64_t count, bool same_input)
{
    const fam_weight_source *source = &job->weight->source;
    fam_cpu_gemm *gemm = fam_cpu_of(exec->base.backend)->gemm;
    chunk_work work = {.exec = exec, .gemm = gemm, .job = job, .first = first, .count = count,
                       .view = view_find(exec->backward, padded(count), source->columns),
                       .transposed = atomic_load_explicit(&job->weight->transposed, memory_order_acquire),
                       .bf16 = fam_cpu_gemm_is_bf16(gemm), .tiles = fam_gemm_tiles(source->rows)};
    if (job->dweight || (job->din && work.bf16))
        work.strips = (source->rows + FAM_CPU_STRIP - 1) / FAM_CPU_STRIP;
    int64_t pack_items = job->dweight && !same_input ? work.view->k / PACK_ROWS : 0;
    if (work.strips + pack_items)
        fam_pool_run(exec->pool, lay_out_items, &work, work.strips + pack_items, 1);
    work.din_items = job->din ? work.transposed->count * fam_gemm_tiles(count) : 0;
    fam_pool_run(exec->pool, product_items, &work,
                 work.din_items + (job->dweight ? work.view->panels.count * work.tiles : 0), 1);
    return !atomic_load(&work.failed);
}

/* ---- the operator ------------------------------------------------------------------------------------------------- */

/* Whether `prepare_backward` was called for this. */
static bool is_prepared(const fam_cpu_exec *exec, const fam_weight *weight, int64_t n)
{
    const fam_cpu_panels *panels = atomic_load_explicit(&weight->transposed, memory_order_acquire);
    int64_t chunks[] = {n < CHUNK ? 0 : CHUNK, n % CHUNK}, most = padded(n < CHUNK ? n : CHUNK);
    size_t element = fam_cpu_gemm_is_bf16(fam_cpu_of(exec->base.backend)->gemm) ? 2 : 4;
    if (!panels || !exec->backward || exec->backward->turned_bytes < (size_t)(most * weight->source.rows) * element)
        return false;
    for (int i = 0; i < 2; i++) {
        if (chunks[i] == 0)
            continue;
        const input_view *view = view_find(exec->backward, padded(chunks[i]), weight->source.columns);
        if (!view || !fam_gemm_plan_has(panels->plan, chunks[i]) || !fam_gemm_plan_has(panels->last, chunks[i]) ||
            !fam_gemm_plan_has(view->panels.plan, weight->source.rows) ||
            !fam_gemm_plan_has(view->panels.last, weight->source.rows))
            return false;
    }
    return true;
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
    for (int64_t first = 0; first < n; first += CHUNK) {
        const fam_matmul_backward_job *packed = NULL; /* whose input lies packed */
        for (int j = 0; j < count; j++) {
            bool same = packed && packed->in == jobs[j].in &&
                        packed->weight->source.columns == jobs[j].weight->source.columns;
            done &= run_chunk(exec, &jobs[j], first, n - first < CHUNK ? n - first : CHUNK, same);
            packed = jobs[j].dweight ? &jobs[j] : packed;
        }
    }
    if (!done)
        fam_error_set(&exec->failure, FAM_STATUS_FAILED, "gradients: oneDNN refused a product that it had compiled");
}
