/*
 * backend/cpu/weights.c: weights: made from a file's bytes where they lie, or written anew while a model is trained.
 *
 * A written weight owns its values, in the arithmetic type. What was packed from it is packed again in the same pass
 * over the rows, 16 at a time, so that a step of training reads every new value once.
 */
#include <string.h>

#include "backend/cpu/gemm.h"
#include "base/float16.h"

fam_status fam_cpu_weight_create(fam_backend *base, fam_weight **out, const fam_weight_source *source, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_weight *weight = NULL;
    size_t row_bytes, total;
    int64_t d = source->permuted_head_dim;
    *out = NULL;
    FAM_FAIL_IF(source->rows < 1 || source->columns < 1 ||
                    !fam_type_row_bytes(&row_bytes, source->type, source->columns) ||
                    !fam_mul_size(&total, row_bytes, (size_t)source->rows),
                FAM_STATUS_INVALID_ARGUMENT, "weight: found %lld rows of %lld columns, need whole blocks of %s",
                (long long)source->rows, (long long)source->columns, fam_type_name(source->type));
    FAM_FAIL_IF(d < 0 || d % 2 != 0 || (d > 0 && source->rows % d != 0), FAM_STATUS_INVALID_ARGUMENT,
                "weight: found %lld permuted rows, need heads of an even %lld", (long long)source->rows, (long long)d);
    FAM_TRY_ALLOC(weight, fam_alloc_zeroed(fam_cpu_of(base)->memory, sizeof *weight), "weight");
    weight->source = *source;
    weight->row_bytes = row_bytes;
    *out = weight;
done:
    return status;
}

void fam_cpu_weight_free(fam_backend *base, fam_weight *weight)
{
    if (!weight)
        return;
    fam_cpu_panels_free(fam_cpu_of(base), atomic_load(&weight->panels));
    fam_cpu_panels_free(fam_cpu_of(base), atomic_load(&weight->transposed));
    fam_free(fam_cpu_of(base)->memory, weight->own);
    fam_free(fam_cpu_of(base)->memory, weight);
}

void fam_cpu_prepared_bytes(const fam_backend *base, fam_prepared_bytes *sum, const fam_weight *weight, int64_t n,
                            bool backward)
{
    const fam_cpu_backend *backend = (const fam_cpu_backend *)base;
    int64_t rows = weight->source.rows, columns = weight->source.columns;
    fam_cpu_count_buffer(sum, FAM_CPU_BUFFER_PREPARED,
                         FAM_CPU_PREPARED_SLOTS * backend->kernels.gemv[weight->source.type].prepared_bytes(columns));
    if (!backend->gemm)
        return;
    if (n > FAM_CPU_GEMV_ROWS_MAX && !atomic_load(&weight->panels))
        sum->weights += fam_cpu_panels_bytes(backend->gemm, columns, rows);
    if (n > FAM_CPU_GEMV_ROWS_MAX && base->dtype == FAM_DTYPE_BF16 && !fam_cpu_gemm_is_bf16(backend->gemm))
        fam_cpu_count_buffer(sum, FAM_CPU_BUFFER_WIDENED, (uint64_t)(n * columns) * sizeof(float));
    if (!backward)
        return;
    if (!atomic_load(&weight->transposed))
        sum->weights += fam_cpu_panels_bytes(backend->gemm, rows, columns);
    fam_cpu_count_backward(backend, sum, weight, n);
}

/* ---- new values --------------------------------------------------------------------------------------------------- */

enum { PIECE = FAM_GEMM_PANEL_COLUMNS }; /* columns of W at a time where numbers are converted */

typedef struct writing {
    const fam_cpu_kernels *kernels;
    const fam_weight *weight;
    const float *values;
    double factor;
    bool narrow;        /* own values are bfloat16 */
    bool narrow_panels; /* the panels' are */
} writing;

static uint8_t *own_at(const writing *w, int64_t row, int64_t column)
{
    return (uint8_t *)w->weight->own + (size_t)row * w->weight->row_bytes + (size_t)column * (w->narrow ? 2 : 4);
}

static void write_row(const writing *w, int64_t row)
{
    int64_t columns = w->weight->source.columns;
    const float *values = w->values + row * columns;
    for (int64_t c = 0; c < columns; c += PIECE) {
        float scaled[PIECE];
        int64_t n = columns - c < PIECE ? columns - c : PIECE;
        for (int64_t i = 0; i < n; i++)
            scaled[i] = (float)(w->factor * (double)values[c + i]);
        w->kernels->to_activations(own_at(w, row, c), scaled, n);
    }
}

/* Own values [row][column ...) as float32. */
static const float *floats_at(const writing *w, int64_t row, int64_t column, int64_t count, float *widened)
{
    const uint8_t *own = own_at(w, row, column);
    if (!w->narrow)
        return (const float *)(const void *)own;
    for (int64_t i = 0; i < count; i++)
        widened[i] = fam_from_bf16(((const uint16_t *)(const void *)own)[i]);
    return widened;
}

/* Rows of W are columns of the panels. */
static void pack_columns(const writing *w, const fam_cpu_panels *panels, int64_t row, int64_t rows)
{
    int64_t number = row / panels->width, column = row - number * panels->width, k = w->weight->source.columns;
    const fam_gemm_plan *plan = number == panels->count - 1 ? panels->last : panels->plan;
    uint8_t *panel = panels->data + (size_t)number * panels->panel_bytes;
    if (w->narrow == w->narrow_panels) {
        fam_gemm_pack_columns(plan, panel, column, rows, 0, k, own_at(w, row, 0), k);
        return;
    }
    for (int64_t at = 0; at < k; at += PIECE) {
        float widened[FAM_GEMM_PACK_COLUMNS * PIECE];
        int64_t n = k - at < PIECE ? k - at : PIECE;
        for (int64_t i = 0; i < rows; i++)
            floats_at(w, row + i, at, n, widened + i * PIECE);
        fam_gemm_pack_columns(plan, panel, column, rows, at, n, widened, PIECE);
    }
}

/* Rows of W are rows of the panels of W^T; `row` is even. */
static void pack_rows(const writing *w, const fam_cpu_panels *panels, int64_t row, int64_t rows)
{
    int64_t columns = w->weight->source.columns;
    bool bits = w->narrow && w->narrow_panels;
    for (int64_t p = 0; p < panels->count; p++) {
        const fam_gemm_plan *plan = p == panels->count - 1 ? panels->last : panels->plan;
        uint8_t *panel = panels->data + (size_t)p * panels->panel_bytes;
        int64_t column = p * panels->width, n = columns - column < panels->width ? columns - column : panels->width,
                i = 0;
        for (; bits && i + 2 <= rows; i += 2)
            fam_gemm_pack_rows_bits(plan, panel, row + i, (const uint16_t *)(const void *)own_at(w, row + i, column),
                                    (const uint16_t *)(const void *)own_at(w, row + i + 1, column));
        for (; i < rows; i++) {
            float widened[PIECE];
            fam_gemm_pack_row(plan, panel, row + i, floats_at(w, row + i, column, n, widened));
        }
    }
}

/* An item is FAM_GEMM_PACK_COLUMNS rows of W, so that no panel's item has two writers. */
static void write_items(void *context, int64_t begin, int64_t end, int thread)
{
    const writing *w = context;
    const fam_cpu_panels *panels = atomic_load(&w->weight->panels), *transposed = atomic_load(&w->weight->transposed);
    (void)thread;
    for (int64_t item = begin; item < end; item++) {
        int64_t row = item * FAM_GEMM_PACK_COLUMNS, left = w->weight->source.rows - row;
        int64_t rows = left < FAM_GEMM_PACK_COLUMNS ? left : FAM_GEMM_PACK_COLUMNS;
        for (int64_t i = 0; i < rows; i++)
            write_row(w, row + i);
        if (panels)
            pack_columns(w, panels, row, rows);
        if (transposed)
            pack_rows(w, transposed, row, rows);
    }
}

fam_status fam_cpu_weight_write(fam_exec *base, fam_weight *weight, const float *values, double factor,
                                fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_cpu_exec *exec = fam_cpu_exec_of(base);
    const fam_cpu_backend *backend = fam_cpu_of(base->backend);
    size_t element = fam_dtype_bytes(exec->kernels->dtype), row_bytes = (size_t)weight->source.columns * element, total;
    if (!weight->own) {
        void *own =
            fam_mul_size(&total, row_bytes, (size_t)weight->source.rows) ? fam_alloc(exec->memory, total) : NULL;
        FAM_TRY_ALLOC(weight->own, own, "weight");
        weight->row_bytes = row_bytes;
        weight->source.data = weight->own;
        weight->source.type = element == 4 ? FAM_TYPE_F32 : FAM_TYPE_BF16;
        weight->source.permuted_head_dim = 0;
    }
    writing w = {exec->kernels, weight,       values,
                 factor,        element == 2, backend->gemm && fam_cpu_gemm_is_bf16(backend->gemm)};
    fam_pool_run(exec->pool, write_items, &w, (weight->source.rows + FAM_GEMM_PACK_COLUMNS - 1) / FAM_GEMM_PACK_COLUMNS,
                 1);
done:
    return status;
}
