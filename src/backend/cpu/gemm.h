/*
 * backend/cpu/gemm.h: products of many rows by oneDNN, a tile of rows and a panel of columns at a time.
 *
 * oneDNN is called by one thread for one tile; which thread takes which tile is matmul.c's affair. It writes dense
 * tiles only (its fast kernels refuse a stride in the result). So a tile of whole rows goes straight to its place,
 * where rows are many and the matrix is not too large to be read once a tile; else a tile goes to the thread's scratch
 * and from there to its place.
 */
#ifndef FAM_BACKEND_CPU_GEMM_H
#define FAM_BACKEND_CPU_GEMM_H

#include "backend/cpu/internal.h"

enum {
    FAM_GEMM_TILE_ROWS = 64,     /* of the activations; larger tiles were not faster */
    FAM_GEMM_PANEL_COLUMNS = 256, /* of the result */
    FAM_GEMM_TILE_BYTES = FAM_GEMM_TILE_ROWS * FAM_GEMM_PANEL_COLUMNS * (int)sizeof(float),
    FAM_GEMM_WORK_BYTES = FAM_ATTENTION_SCRATCH_MAX - FAM_GEMM_TILE_BYTES, /* what it leaves of a thread's scratch */
    FAM_GEMM_WHOLE_ROWS = 256,             /* from so many rows on tiles are whole rows, */
    FAM_GEMM_WHOLE_BYTES = 3 << 19,        /* of a packed matrix up to so large: a cache holds it from tile to tile */
    FAM_GEMM_PACK_COLUMNS = 16    /* that are packed together; panels begin at multiples of it */
};

/* All products of K columns of input with one panel of N columns of output. */
typedef struct fam_gemm_plan fam_gemm_plan;

/* All sums of outer products to [rows, columns] += a [k, rows]^T b [k, columns]. */
typedef struct fam_gemm_outer fam_gemm_outer;

struct fam_cpu_panels {
    int64_t count, width;             /* panels, columns of the result in each but perhaps the last */
    const fam_gemm_plan *plan, *last; /* of all panels but the last; of the last */
    uint8_t *data;                    /* [count] panels of panel_bytes */
    size_t panel_bytes;
    void **handles; /* [count] oneDNN's view of each panel */
    const fam_gemm_plan *whole; /* of all panels as one; NULL: too large, or they do not lie so */
    void *whole_handle;
};

/* Whether n rows are made as tiles of whole rows. The number of threads plays no part. */
static inline bool fam_gemm_takes_whole(const fam_cpu_panels *panels, int64_t n)
{
    return n >= FAM_GEMM_WHOLE_ROWS && panels->whole;
}

/* Threads: the most that call fam_gemm_run, numbered from 0. `bf16`: panels and activations are bfloat16, else float32.
 */
fam_status fam_cpu_gemm_create(fam_cpu_gemm **out, fam_memory *memory, int threads, bool bf16, fam_error *error);
void fam_cpu_gemm_free(fam_cpu_gemm *gemm);
bool fam_cpu_gemm_is_bf16(const fam_cpu_gemm *gemm);

/* Finds or makes the plan of K by N. Not thread-safe (backend lock). Plans live as long as `gemm`. */
fam_status fam_gemm_plan_get(fam_cpu_gemm *gemm, const fam_gemm_plan **out, int64_t k, int64_t n, fam_error *error);
/* Compiles all tiles that n rows need; `add`: those that add to what is there. Not thread-safe (backend lock). */
fam_status fam_gemm_plan_compile(fam_cpu_gemm *gemm, const fam_gemm_plan *plan, int64_t n, bool add, fam_error *error);
bool fam_gemm_plan_has(const fam_gemm_plan *plan, int64_t n, bool add); /* whether that has been done */
bool fam_gemm_plans_join(const fam_gemm_plan *whole, const fam_gemm_plan *part, const fam_gemm_plan *last,
                         size_t panel_bytes);

size_t fam_gemm_panel_bytes(const fam_gemm_plan *plan);
/* About the same without a plan: oneDNN fills up with zeros to whole blocks. */
uint64_t fam_gemm_panel_bytes_about(const fam_cpu_gemm *gemm, int64_t k, int64_t n);
/* Puts one column of the panel (a row of W, K float32) in its place, rounding if the panel is bfloat16. */
void fam_gemm_pack(const fam_gemm_plan *plan, void *panel, int64_t column, const float *values);
/* Puts elements [k, k + count) of up to FAM_GEMM_PACK_COLUMNS columns, from a multiple of it on, in their place; k is
 * even. Column c is at values + c * stride, of the panel's type (bfloat16 or float32). */
void fam_gemm_pack_columns(const fam_gemm_plan *plan, void *panel, int64_t column, int64_t columns, int64_t k,
                           int64_t count, const void *values, int64_t stride);
/* Puts one row of the panel (N values of one k) in its place; or two, `row` even, that are bfloat16 already as the panel
 * is. */
void fam_gemm_pack_row(const fam_gemm_plan *plan, void *panel, int64_t row, const float *values);
void fam_gemm_pack_rows_bits(const fam_gemm_plan *plan, void *panel, int64_t row, const uint16_t *even,
                             const uint16_t *odd);
fam_status fam_gemm_handle_create(fam_cpu_gemm *gemm, void **out, const fam_gemm_plan *plan, void *panel,
                                  fam_error *error);
void fam_gemm_handle_free(void *handle);

/* panels.c: how a matrix of K by N is cut into panels (width, count, plans, bytes of a panel). Not thread-safe (backend
 * lock). */
fam_status fam_cpu_panels_cut(fam_cpu_gemm *gemm, fam_cpu_panels *panels, int64_t k, int64_t n, fam_error *error);
/* Compiles all products that n rows with these panels need. Not thread-safe (backend lock). */
fam_status fam_cpu_panels_compile(fam_cpu_gemm *gemm, const fam_cpu_panels *panels, int64_t n, fam_error *error);
bool fam_cpu_panels_compiled(const fam_cpu_panels *panels, int64_t n);

/* About what all panels of a matrix of K by N take, as fam_cpu_panels_cut cuts it, for any number of panels. */
uint64_t fam_cpu_panels_bytes(const fam_cpu_gemm *gemm, int64_t k, int64_t n);

/* n rows as tiles: how many, and which rows tile `index` has. */
int64_t fam_gemm_tiles(int64_t n);
int64_t fam_gemm_tile(int64_t n, int64_t index, int64_t *rows);

/* A thread calls these around its calls of fam_gemm_run: OpenMP's width for it is 1 in between. */
int fam_gemm_enter(void);
void fam_gemm_leave(int width);

/* out [rows, N] float32, dense = (add: +=) in [rows, K] panel; `rows` a tile's, compiled. `room`: FAM_GEMM_WORK_BYTES
 * of this thread's scratch. False if oneDNN refuses. */
bool fam_gemm_run(fam_cpu_gemm *gemm, const fam_gemm_plan *plan, void *handle, const void *in, int64_t rows, float *out,
                  bool add, void *room, int thread);

/* Makes what fam_gemm_outer_find finds. Not thread-safe (backend lock). It lives as long as `gemm`. */
fam_status fam_gemm_outer_make(fam_cpu_gemm *gemm, int64_t k, int64_t rows, int64_t columns, fam_error *error);
/* NULL if there is none. Thread-safe. */
const fam_gemm_outer *fam_gemm_outer_find(const fam_cpu_gemm *gemm, int64_t k, int64_t rows, int64_t columns);
int64_t fam_gemm_outer_tiles(int64_t rows);
/* One tile of the rows of `to`; a and b are of the products' type. As fam_gemm_run. */
bool fam_gemm_outer_run(fam_cpu_gemm *gemm, const fam_gemm_outer *outer, int64_t tile, const void *a, const void *b,
                        float *to, void *room, int thread);

#endif
