/*
 * backend/cpu/gemm.c: see gemm.h. All knowledge of oneDNN (2.6, C interface) is here and in gemm_outer.c.
 *
 * Layout of a panel: whatever oneDNN chooses for the largest tile; all tiles share it. It is a blocked layout, so the
 * place of element (k, n) is a sum of a term in k and a term in n: two tables serve for packing.
 */
#include "backend/cpu/gemm_private.h"

#include <string.h>

#include "base/float16.h"

enum {
    RUN = 16,
    CLASSES = 18 /* tiles of 64, 32, 16 and 15 to 1 rows */
};

struct fam_gemm_plan {
    struct fam_gemm_plan *next;
    int64_t k, n;
    dnnl_memory_desc_t weights;
    int32_t *offset_k, *offset_n; /* in elements */
    bool bf16;
    bool runs; /* RUN columns, from each multiple of it on, lie side by side: numbers, or pairs of an even and an odd k */
    _Atomic(fam_tile_code *) tiles[2][CLASSES]; /* whose result takes the place of what was there; is added to it */
};

fam_status fam_dnnl_failure(fam_error *error, dnnl_status_t status, const char *what)
{
    if (status == dnnl_out_of_memory)
        return fam_out_of_memory(error, what);
    return fam_error_set(error, FAM_STATUS_FAILED, "%s: oneDNN: status %d", what, (int)status);
}

fam_status fam_cpu_gemm_create(fam_cpu_gemm **out, fam_memory *memory, int threads, bool bf16, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_cpu_gemm *gemm = NULL;
    *out = NULL;
    FAM_TRY_ALLOC(gemm, fam_alloc_zeroed(memory, sizeof *gemm), "matrix products");
    gemm->memory = memory;
    gemm->threads = threads;
    gemm->bf16 = bf16;
    FAM_TRY_ALLOC(gemm->streams, fam_alloc_array(memory, (size_t)threads, sizeof *gemm->streams), "matrix products");
    FAM_TRY_DNNL(dnnl_engine_create(&gemm->engine, dnnl_cpu, 0), "matrix products");
    for (int t = 0; t < threads; t++)
        FAM_TRY_DNNL(dnnl_stream_create(&gemm->streams[t], gemm->engine, dnnl_stream_default_flags), "matrix products");
    *out = gemm;
    gemm = NULL;
done:
    fam_cpu_gemm_free(gemm);
    return status;
}

bool fam_cpu_gemm_is_bf16(const fam_cpu_gemm *gemm)
{
    return gemm->bf16;
}

static void plan_free(fam_memory *memory, fam_gemm_plan *plan)
{
    for (int c = 0; c < 2 * CLASSES; c++)
        fam_tile_code_free(memory, atomic_load(&plan->tiles[c / CLASSES][c % CLASSES]));
    fam_free(memory, plan->offset_k);
    fam_free(memory, plan->offset_n);
    fam_free(memory, plan);
}

void fam_cpu_gemm_free(fam_cpu_gemm *gemm)
{
    if (!gemm)
        return;
    while (gemm->plans) {
        fam_gemm_plan *plan = gemm->plans;
        gemm->plans = plan->next;
        plan_free(gemm->memory, plan);
    }
    fam_gemm_outer_free(gemm->memory, atomic_load(&gemm->outers));
    for (int t = 0; gemm->streams && t < gemm->threads; t++)
        if (gemm->streams[t])
            dnnl_stream_destroy(gemm->streams[t]);
    if (gemm->engine)
        dnnl_engine_destroy(gemm->engine);
    fam_free(gemm->memory, gemm->streams);
    fam_free(gemm->memory, gemm);
}

/* ---- tiles ------------------------------------------------------------------------------------------------------- */

static int class_of(int64_t rows)
{
    return rows >= 64 ? 0 : rows >= 32 ? 1 : rows >= 16 ? 2 : 18 - (int)rows;
}

int64_t fam_gemm_tiles(int64_t n)
{
    return n / 64 + (n >> 5 & 1) + (n >> 4 & 1) + (n % 16 != 0);
}

int64_t fam_gemm_tile(int64_t n, int64_t index, int64_t *rows)
{
    int64_t row = n / 64 * 64;
    if (index < n / 64) {
        *rows = 64;
        return index * 64;
    }
    index -= n / 64;
    for (int64_t size = 32; size >= 16; size /= 2) {
        if (!(n & size))
            continue;
        if (index-- == 0) {
            *rows = size;
            return row;
        }
        row += size;
    }
    *rows = n % 16;
    return row;
}

/* Whether the panels of `part`, one behind the other, and a last one of `last` lie as `whole` would have them. */
bool fam_gemm_plans_join(const fam_gemm_plan *whole, const fam_gemm_plan *part, const fam_gemm_plan *last,
                         size_t panel_bytes)
{
    size_t panel = panel_bytes / (whole->bf16 ? 2 : 4);
    for (int64_t n = 0; n < whole->n; n++) {
        int64_t number = n / part->n, column = n % part->n;
        const fam_gemm_plan *plan = whole->n - number * part->n < part->n ? last : part;
        if ((size_t)whole->offset_n[n] != (size_t)number * panel + (size_t)plan->offset_n[column])
            return false;
    }
    return memcmp(whole->offset_k, part->offset_k, (size_t)whole->k * sizeof *whole->offset_k) == 0 &&
           memcmp(whole->offset_k, last->offset_k, (size_t)whole->k * sizeof *whole->offset_k) == 0;
}

/* ---- plans ------------------------------------------------------------------------------------------------------- */

/* The description of one product whose panel's layout oneDNN may choose. */
static dnnl_status_t describe_panel(dnnl_primitive_desc_t *out, const fam_cpu_gemm *gemm, int64_t k, int64_t n)
{
    dnnl_memory_desc_t in, free_layout;
    dnnl_dims_t in_dims = {FAM_GEMM_TILE_ROWS, k}, weight_dims = {k, n};
    dnnl_status_t s = dnnl_memory_desc_init_by_tag(&in, 2, in_dims, fam_dnnl_type(gemm), dnnl_ab);
    if (s == dnnl_success)
        s = dnnl_memory_desc_init_by_tag(&free_layout, 2, weight_dims, fam_dnnl_type(gemm), dnnl_format_tag_any);
    const fam_product_shape shape = {&in, &free_layout, FAM_GEMM_TILE_ROWS, n, false};
    return s == dnnl_success ? fam_dnnl_describe(out, gemm, &shape) : s;
}

/* The place of each index along one dimension of a blocked layout. */
static void fill_offsets(int32_t *offset, const dnnl_memory_desc_t *layout, int dimension, int64_t count)
{
    const dnnl_blocking_desc_t *blocking = &layout->format_desc.blocking;
    for (int64_t i = 0; i < count; i++) {
        int64_t rest = i, at = 0, step = 1;
        for (int b = blocking->inner_nblks - 1; b >= 0; b--) {
            if (blocking->inner_idxs[b] == dimension) {
                at += rest % blocking->inner_blks[b] * step;
                rest /= blocking->inner_blks[b];
            }
            step *= blocking->inner_blks[b];
        }
        offset[i] = (int32_t)(at + rest * blocking->strides[dimension]);
    }
}

static bool has_runs(const fam_gemm_plan *plan)
{
    int step = plan->bf16 ? 2 : 1;
    for (int64_t n = 0; n < plan->n; n++)
        if (n % RUN && plan->offset_n[n] != plan->offset_n[n - 1] + step)
            return false;
    for (int64_t k = 0; k < plan->k && plan->bf16; k++)
        if (k % 2 && plan->offset_k[k] != plan->offset_k[k - 1] + 1)
            return false;
    return true;
}

static fam_status plan_make(fam_cpu_gemm *gemm, fam_gemm_plan **out, int64_t k, int64_t n, fam_error *error)
{
    fam_status status = FAM_OK;
    dnnl_primitive_desc_t description = NULL;
    fam_gemm_plan *plan;
    FAM_TRY_ALLOC(plan, fam_alloc_zeroed(gemm->memory, sizeof *plan), "matrix products");
    plan->k = k;
    plan->n = n;
    plan->bf16 = gemm->bf16;
    FAM_TRY_ALLOC(plan->offset_k, fam_alloc_array(gemm->memory, (size_t)k, sizeof(int32_t)), "matrix products");
    FAM_TRY_ALLOC(plan->offset_n, fam_alloc_array(gemm->memory, (size_t)n, sizeof(int32_t)), "matrix products");
    FAM_TRY_DNNL(describe_panel(&description, gemm, k, n), "matrix products");
    plan->weights = *dnnl_primitive_desc_query_md(description, dnnl_query_weights_md, 0);
    FAM_FAIL_IF(plan->weights.format_kind != dnnl_blocked ||
                    dnnl_memory_desc_get_size(&plan->weights) > (size_t)INT32_MAX,
                FAM_STATUS_UNSUPPORTED, "matrix products: found a panel of %lld by %lld, need a smaller one",
                (long long)k, (long long)n);
    fill_offsets(plan->offset_k, &plan->weights, 0, k);
    fill_offsets(plan->offset_n, &plan->weights, 1, n);
    plan->runs = has_runs(plan);
    *out = plan;
    plan = NULL;
done:
    if (plan)
        plan_free(gemm->memory, plan);
    if (description)
        dnnl_primitive_desc_destroy(description);
    return status;
}

fam_status fam_gemm_plan_get(fam_cpu_gemm *gemm, const fam_gemm_plan **out, int64_t k, int64_t n, fam_error *error)
{
    fam_gemm_plan *plan = gemm->plans;
    while (plan && (plan->k != k || plan->n != n))
        plan = plan->next;
    if (!plan) {
        int width = fam_dnnl_narrow();
        fam_status status = plan_make(gemm, &plan, k, n, error);
        fam_dnnl_widen(width);
        if (status != FAM_OK)
            return status;
        plan->next = gemm->plans;
        gemm->plans = plan;
    }
    *out = plan;
    return FAM_OK;
}

size_t fam_gemm_panel_bytes(const fam_gemm_plan *plan)
{
    return dnnl_memory_desc_get_size(&plan->weights);
}

void fam_gemm_pack(const fam_gemm_plan *plan, void *panel, int64_t column, const float *values)
{
    const int32_t *at = plan->offset_k;
    if (plan->bf16) {
        uint16_t *to = (uint16_t *)panel + plan->offset_n[column];
        for (int64_t k = 0; k < plan->k; k++)
            to[at[k]] = fam_to_bf16(values[k]);
    } else {
        float *to = (float *)panel + plan->offset_n[column];
        for (int64_t k = 0; k < plan->k; k++)
            to[at[k]] = values[k];
    }
}

uint64_t fam_gemm_panel_bytes_about(const fam_cpu_gemm *gemm, int64_t k, int64_t n)
{
    int64_t block = gemm->bf16 ? 32 : 16;
    return (uint64_t)((k + block - 1) / block * block * ((n + 63) / 64 * 64)) * (gemm->bf16 ? 2 : 4);
}

/* Sixteen columns side by side: a turn of 4-byte elements, which are numbers or pairs of an even and an odd k. */
static void pack_run(uint32_t *to, const uint8_t *values, size_t stride)
{
    for (int c = 0; c < RUN; c++)
        memcpy(&to[c], values + (size_t)c * stride, sizeof *to);
}

void fam_gemm_pack_columns(const fam_gemm_plan *plan, void *panel, int64_t column, int64_t columns, int64_t k,
                           int64_t count, const void *values, int64_t stride)
{
    size_t element = plan->bf16 ? 2 : 4;
    int64_t step = plan->bf16 ? 2 : 1, i = 0;
    uint8_t *to = (uint8_t *)panel + (size_t)plan->offset_n[column] * element;
    const int32_t *at = plan->offset_k + k;
    for (; plan->runs && columns == RUN && i + step <= count; i += step) {
        uint32_t run[RUN];
        pack_run(run, (const uint8_t *)values + (size_t)i * element, (size_t)stride * element);
        memcpy(to + (size_t)at[i] * element, run, sizeof run);
    }
    for (int64_t c = 0; c < columns; c++)
        for (int64_t rest = i; rest < count; rest++)
            memcpy((uint8_t *)panel + (size_t)(at[rest] + plan->offset_n[column + c]) * element,
                   (const uint8_t *)values + (size_t)(c * stride + rest) * element, element);
}

void fam_gemm_pack_row(const fam_gemm_plan *plan, void *panel, int64_t row, const float *values)
{
    const int32_t *at = plan->offset_n;
    if (plan->bf16) {
        uint16_t *to = (uint16_t *)panel + plan->offset_k[row];
        for (int64_t n = 0; n < plan->n; n++)
            to[at[n]] = fam_to_bf16(values[n]);
        return;
    }
    float *to = (float *)panel + plan->offset_k[row];
    int64_t n = 0;
    for (; plan->runs && n + RUN <= plan->n; n += RUN)
        memcpy(to + at[n], values + n, RUN * sizeof *to);
    for (; n < plan->n; n++)
        to[at[n]] = values[n];
}

void fam_gemm_pack_rows_bits(const fam_gemm_plan *plan, void *panel, int64_t row, const uint16_t *even,
                             const uint16_t *odd)
{
    const int32_t *at = plan->offset_n;
    uint16_t *to = (uint16_t *)panel + plan->offset_k[row], *next = (uint16_t *)panel + plan->offset_k[row + 1];
    int64_t n = 0;
    for (; plan->runs && n + RUN <= plan->n; n += RUN) {
        uint16_t pairs[2 * RUN];
        for (int i = 0; i < RUN; i++) {
            pairs[2 * i] = even[n + i];
            pairs[2 * i + 1] = odd[n + i];
        }
        memcpy(to + at[n], pairs, sizeof pairs);
    }
    for (; n < plan->n; n++) {
        to[at[n]] = even[n];
        next[at[n]] = odd[n];
    }
}

fam_status fam_gemm_handle_create(fam_cpu_gemm *gemm, void **out, const fam_gemm_plan *plan, void *panel,
                                  fam_error *error)
{
    dnnl_memory_t memory;
    int width = fam_dnnl_narrow();
    dnnl_status_t result = dnnl_memory_create(&memory, &plan->weights, gemm->engine, panel);
    fam_dnnl_widen(width);
    if (result != dnnl_success)
        return fam_dnnl_failure(error, result, "packed weights");
    *out = memory;
    return FAM_OK;
}

void fam_gemm_handle_free(void *handle)
{
    if (handle)
        dnnl_memory_destroy(handle);
}

/* ---- compiled tiles ---------------------------------------------------------------------------------------------- */

static fam_status compile(fam_cpu_gemm *gemm, fam_tile_code **out, const fam_gemm_plan *plan, int64_t rows, bool add,
                          fam_error *error)
{
    fam_status status = FAM_OK;
    dnnl_memory_desc_t in;
    dnnl_dims_t in_dims = {rows, plan->k};
    FAM_TRY_DNNL(dnnl_memory_desc_init_by_tag(&in, 2, in_dims, fam_dnnl_type(gemm), dnnl_ab), "matrix products");
    const fam_product_shape shape = {&in, &plan->weights, rows, plan->n, add};
    FAM_TRY(fam_tile_code_make(gemm, out, &shape, false, error));
done:
    return status;
}

fam_status fam_gemm_plan_compile(fam_cpu_gemm *gemm, const fam_gemm_plan *plan, int64_t n, bool add, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_gemm_plan *own = (fam_gemm_plan *)plan; /* every plan is ours; others only read it */
    int width = fam_dnnl_narrow();
    for (int64_t i = 0; i < fam_gemm_tiles(n); i += i < n / 64 - 1 ? n / 64 - 1 : 1) {
        int64_t rows;
        fam_gemm_tile(n, i, &rows);
        _Atomic(fam_tile_code *) *slot = &own->tiles[add][class_of(rows)];
        fam_tile_code *code;
        if (atomic_load(slot))
            continue;
        FAM_TRY(compile(gemm, &code, plan, rows, add, error));
        atomic_store(slot, code);
    }
done:
    fam_dnnl_widen(width);
    return status;
}

bool fam_gemm_plan_has(const fam_gemm_plan *plan, int64_t n, bool add)
{
    bool has = true;
    for (int64_t i = 0; i < fam_gemm_tiles(n); i += i < n / 64 - 1 ? n / 64 - 1 : 1) {
        int64_t rows;
        fam_gemm_tile(n, i, &rows);
        has = has && atomic_load_explicit(&plan->tiles[add][class_of(rows)], memory_order_acquire);
    }
    return has;
}

bool fam_gemm_run(fam_cpu_gemm *gemm, const fam_gemm_plan *plan, void *handle, const void *in, int64_t rows, float *out,
                  bool add, void *room, int thread)
{
    fam_tile_code *code = atomic_load_explicit(&plan->tiles[add][class_of(rows)], memory_order_acquire);
    return fam_tile_code_run(gemm, code, in, handle, NULL, out, room, thread);
}

int fam_gemm_enter(void)
{
    return fam_dnnl_narrow();
}

void fam_gemm_leave(int width)
{
    fam_dnnl_widen(width);
}
