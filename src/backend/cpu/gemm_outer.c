/*
 * backend/cpu/gemm_outer.c: sums of outer products, to += a^T b, by oneDNN: the gradient of a weight from dout and the
 * input, both as they lie, row by row. Nothing is turned around or packed: measured, oneDNN's general product takes
 * them at the speed of its packed one (float32 158 to 177 GFLOP/s a thread against 160 to 176, bfloat16 83 against 87).
 */
#include "backend/cpu/gemm_private.h"

enum { LAST = 1 }; /* the tile of the rows that are left over */

struct fam_gemm_outer {
    fam_gemm_outer *next;
    int64_t k, rows, columns;
    fam_tile_code *tiles[2];
};

int64_t fam_gemm_outer_tiles(int64_t rows)
{
    return (rows + FAM_GEMM_TILE_ROWS - 1) / FAM_GEMM_TILE_ROWS;
}

const fam_gemm_outer *fam_gemm_outer_find(const fam_cpu_gemm *gemm, int64_t k, int64_t rows, int64_t columns)
{
    const fam_gemm_outer *outer = atomic_load_explicit(&gemm->outers, memory_order_acquire);
    while (outer && (outer->k != k || outer->rows != rows || outer->columns != columns))
        outer = outer->next;
    return outer;
}

void fam_gemm_outer_free(fam_memory *memory, fam_gemm_outer *outer)
{
    while (outer) {
        fam_gemm_outer *next = outer->next;
        for (int i = 0; i < 2; i++)
            fam_tile_code_free(memory, outer->tiles[i]);
        fam_free(memory, outer);
        outer = next;
    }
}

/* `count` rows of a^T, that is columns of a, whose rows are outer->rows apart. */
static fam_status make_tile(fam_cpu_gemm *gemm, const fam_gemm_outer *outer, fam_tile_code **out, int64_t count,
                            fam_error *error)
{
    fam_status status = FAM_OK;
    dnnl_memory_desc_t in, weights;
    dnnl_dims_t in_dims = {count, outer->k}, in_strides = {1, outer->rows}, weight_dims = {outer->k, outer->columns};
    FAM_TRY_DNNL(dnnl_memory_desc_init_by_strides(&in, 2, in_dims, fam_dnnl_type(gemm), in_strides), "gradients");
    FAM_TRY_DNNL(dnnl_memory_desc_init_by_tag(&weights, 2, weight_dims, fam_dnnl_type(gemm), dnnl_ab), "gradients");
    const fam_product_shape shape = {&in, &weights, count, outer->columns, true};
    FAM_TRY(fam_tile_code_make(gemm, out, &shape, true, error));
done:
    return status;
}

fam_status fam_gemm_outer_make(fam_cpu_gemm *gemm, int64_t k, int64_t rows, int64_t columns, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_gemm_outer *outer = NULL;
    int width = fam_dnnl_narrow();
    if (fam_gemm_outer_find(gemm, k, rows, columns))
        goto done;
    FAM_TRY_ALLOC(outer, fam_alloc_zeroed(gemm->memory, sizeof *outer), "gradients");
    outer->k = k;
    outer->rows = rows;
    outer->columns = columns;
    if (rows >= FAM_GEMM_TILE_ROWS)
        FAM_TRY(make_tile(gemm, outer, &outer->tiles[0], FAM_GEMM_TILE_ROWS, error));
    if (rows % FAM_GEMM_TILE_ROWS)
        FAM_TRY(make_tile(gemm, outer, &outer->tiles[LAST], rows % FAM_GEMM_TILE_ROWS, error));
    outer->next = atomic_load(&gemm->outers);
    atomic_store_explicit(&gemm->outers, outer, memory_order_release);
    outer = NULL;
done:
    fam_dnnl_widen(width);
    fam_gemm_outer_free(gemm->memory, outer);
    return status;
}

bool fam_gemm_outer_run(fam_cpu_gemm *gemm, const fam_gemm_outer *outer, int64_t tile, const void *a, const void *b,
                        float *to, void *room, int thread)
{
    int64_t row = tile * FAM_GEMM_TILE_ROWS;
    fam_tile_code *code = outer->tiles[outer->rows - row < FAM_GEMM_TILE_ROWS ? LAST : 0];
    return fam_tile_code_run(gemm, code, (const uint8_t *)a + (size_t)row * (gemm->bf16 ? 2 : 4), NULL, b,
                             to + row * outer->columns, room, thread);
}
