/*
 * backend/cpu/panels.c: packs a weight into panels of columns for products of many rows, whatever its type in the file.
 */
#include "backend/cpu/gemm.h"

/* Equal panels, a multiple of what oneDNN's layouts are blocked by. */
static int64_t panel_width(int64_t rows)
{
    const int64_t block = 64;
    int64_t count = (rows + FAM_GEMM_PANEL_COLUMNS - 1) / FAM_GEMM_PANEL_COLUMNS;
    int64_t width = ((rows + count - 1) / count + block - 1) / block * block;
    return width < rows ? width : rows;
}

int64_t fam_cpu_file_row(const fam_weight_source *source, int64_t row)
{
    int64_t d = source->permuted_head_dim;
    if (d == 0)
        return row;
    int64_t in_head = row % d, half = d / 2;
    return row - in_head + (in_head < half ? 2 * in_head : 2 * (in_head - half) + 1);
}

typedef struct packing {
    const fam_weight *weight;
    fam_cpu_panels *panels;
    bool transposed;
    float *rows; /* [threads][columns] */
} packing;

static void pack_rows(void *context, int64_t begin, int64_t end, int thread)
{
    const packing *p = context;
    const fam_cpu_panels *panels = p->panels;
    const fam_weight_source *source = &p->weight->source;
    float *values = p->rows + (size_t)thread * (size_t)source->columns;
    for (int64_t row = begin; row < end; row++) {
        int64_t panel = row / panels->width;
        const uint8_t *data = (const uint8_t *)source->data + (size_t)fam_cpu_file_row(source, row) * p->weight->row_bytes;
        fam_type_dequantize(values, data, source->type, source->columns);
        if (p->transposed) {
            for (panel = 0; panel < panels->count; panel++)
                fam_gemm_pack_row(panel == panels->count - 1 ? panels->last : panels->plan,
                                  panels->data + (size_t)panel * panels->panel_bytes, row, values + panel * panels->width);
            continue;
        }
        fam_gemm_pack(panel == panels->count - 1 ? panels->last : panels->plan,
                      panels->data + (size_t)panel * panels->panel_bytes, row - panel * panels->width, values);
    }
}

fam_status fam_cpu_panels_cut(fam_cpu_gemm *gemm, fam_cpu_panels *panels, int64_t k, int64_t n, fam_error *error)
{
    fam_status status = FAM_OK;
    panels->width = panel_width(n);
    panels->count = (n + panels->width - 1) / panels->width;
    int64_t last = n - (panels->count - 1) * panels->width;
    FAM_TRY(fam_gemm_plan_get(gemm, &panels->plan, k, panels->width, error));
    FAM_TRY(fam_gemm_plan_get(gemm, &panels->last, k, last, error));
    panels->panel_bytes = (fam_gemm_panel_bytes(panels->plan) + 63) / 64 * 64;
done:
    return status;
}

/* All panels as one matrix, if they are few and lie so. */
static fam_status join_panels(fam_cpu_gemm *gemm, fam_cpu_panels *panels, int64_t k, int64_t n, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_gemm_plan *whole;
    if ((size_t)panels->count * panels->panel_bytes > FAM_GEMM_WHOLE_BYTES)
        return FAM_OK;
    FAM_TRY(fam_gemm_plan_get(gemm, &whole, k, n, error));
    if (!fam_gemm_plans_join(whole, panels->plan, panels->last, panels->panel_bytes))
        return FAM_OK;
    FAM_TRY(fam_gemm_handle_create(gemm, &panels->whole_handle, whole, panels->data, error));
    panels->whole = whole;
done:
    return status;
}

fam_status fam_cpu_panels_compile(fam_cpu_gemm *gemm, const fam_cpu_panels *panels, int64_t n, fam_error *error)
{
    fam_status status = FAM_OK;
    FAM_TRY(fam_gemm_plan_compile(gemm, panels->plan, n, false, error));
    FAM_TRY(fam_gemm_plan_compile(gemm, panels->last, n, false, error));
    if (fam_gemm_takes_whole(panels, n)) {
        FAM_TRY(fam_gemm_plan_compile(gemm, panels->whole, n, false, error));
        FAM_TRY(fam_gemm_plan_compile(gemm, panels->whole, n, true, error));
    }
done:
    return status;
}

bool fam_cpu_panels_compiled(const fam_cpu_panels *panels, int64_t n)
{
    return fam_gemm_plan_has(panels->plan, n, false) && fam_gemm_plan_has(panels->last, n, false) &&
           (!fam_gemm_takes_whole(panels, n) ||
            (fam_gemm_plan_has(panels->whole, n, false) && fam_gemm_plan_has(panels->whole, n, true)));
}

uint64_t fam_cpu_panels_bytes(const fam_cpu_gemm *gemm, int64_t k, int64_t n)
{
    int64_t width = panel_width(n), count = (n + width - 1) / width;
    return (uint64_t)count * fam_gemm_panel_bytes_about(gemm, k, width);
}

fam_status fam_cpu_panels_make(fam_cpu_backend *backend, fam_weight *weight, bool transposed, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_cpu_panels *panels = NULL;
    packing p = {.weight = weight, .transposed = transposed};
    const fam_weight_source *source = &weight->source;
    _Atomic(fam_cpu_panels *) *place = transposed ? &weight->transposed : &weight->panels;
    size_t columns = (size_t)source->columns;
    if (atomic_load(place))
        return FAM_OK;
    FAM_TRY_ALLOC(panels, fam_alloc_zeroed(backend->memory, sizeof *panels), "packed weights");
    FAM_TRY(fam_cpu_panels_cut(backend->gemm, panels, transposed ? source->rows : source->columns,
                               transposed ? source->columns : source->rows, error));
    FAM_TRY_ALLOC(panels->data, fam_alloc_array(backend->memory, (size_t)panels->count, panels->panel_bytes),
                  "packed weights");
    FAM_TRY_ALLOC(panels->handles, fam_alloc_array(backend->memory, (size_t)panels->count, sizeof *panels->handles),
                  "packed weights");
    FAM_TRY_ALLOC(p.rows,
                  fam_alloc_array(backend->memory, (size_t)fam_pool_threads(backend->pool), columns * sizeof(float)),
                  "packed weights");
    p.panels = panels;
    fam_pool_run(backend->pool, pack_rows, &p, source->rows, 16);
    for (int64_t i = 0; i < panels->count; i++)
        FAM_TRY(fam_gemm_handle_create(backend->gemm, &panels->handles[i],
                                       i == panels->count - 1 ? panels->last : panels->plan,
                                       panels->data + (size_t)i * panels->panel_bytes, error));
    FAM_TRY(join_panels(backend->gemm, panels, transposed ? source->rows : source->columns,
                        transposed ? source->columns : source->rows, error));
    atomic_store(place, panels);
    panels = NULL;
done:
    fam_free(backend->memory, p.rows);
    fam_cpu_panels_free(backend, panels);
    return status;
}

void fam_cpu_panels_free(fam_cpu_backend *backend, fam_cpu_panels *panels)
{
    if (!panels)
        return;
    for (int64_t i = 0; panels->handles && i < panels->count; i++)
        fam_gemm_handle_free(panels->handles[i]);
    fam_gemm_handle_free(panels->whole_handle);
    fam_free(backend->memory, panels->handles);
    fam_free(backend->memory, panels->data);
    fam_free(backend->memory, panels);
}
