/*
 * backend/cpu/gemm_private.h: what gemm.c and gemm_outer.c share; nobody else includes it, or oneDNN's header.
 */
#ifndef FAM_BACKEND_CPU_GEMM_PRIVATE_H
#define FAM_BACKEND_CPU_GEMM_PRIVATE_H

#include <dnnl.h>

#include "backend/cpu/gemm.h"

/* One compiled product. The memory objects belong to one thread each: their addresses are set before every call. */
typedef struct fam_tile_code {
    dnnl_primitive_t primitive;
    dnnl_memory_t *in, *weights, *out, *work; /* [threads]; weights NULL: the caller has an object for them */
    int threads;
    uint8_t *own_work; /* [threads][work_bytes]: oneDNN's scratchpad if it is too large for an execution's scratch */
    size_t work_bytes;
} fam_tile_code;

struct fam_cpu_gemm {
    fam_memory *memory;
    int threads;
    bool bf16;
    dnnl_engine_t engine;
    dnnl_stream_t *streams; /* [threads] */
    fam_gemm_plan *plans;
    _Atomic(fam_gemm_outer *) outers; /* only ever grows at its head */
};

/* A product in [rows, k] weights [k, n] as oneDNN is told of it; with `add` the result is added to what is there. */
typedef struct fam_product_shape {
    const dnnl_memory_desc_t *in, *weights;
    int64_t rows, n;
    bool add;
} fam_product_shape;

fam_status fam_dnnl_failure(fam_error *error, dnnl_status_t status, const char *what);

#define FAM_TRY_DNNL(call, what)                                                                                       \
    do {                                                                                                               \
        dnnl_status_t dnnl_result = (call);                                                                            \
        if (dnnl_result != dnnl_success) {                                                                             \
            status = fam_dnnl_failure(error, dnnl_result, (what));                                                     \
            goto done;                                                                                                 \
        }                                                                                                              \
    } while (0)

/* Between the two calls OpenMP's width is 1: oneDNN asks for it when it compiles and when it runs. */
int fam_dnnl_narrow(void);
void fam_dnnl_widen(int width);

dnnl_data_type_t fam_dnnl_type(const fam_cpu_gemm *gemm);
dnnl_status_t fam_dnnl_describe(dnnl_primitive_desc_t *out, const fam_cpu_gemm *gemm, const fam_product_shape *shape);
/* own_weights: the code gets memory objects for them too. */
fam_status fam_tile_code_make(fam_cpu_gemm *gemm, fam_tile_code **out, const fam_product_shape *shape, bool own_weights,
                              fam_error *error);
void fam_tile_code_free(fam_memory *memory, fam_tile_code *code);
/* `weights`: an object that has its address already, or NULL with b, the address for the code's own object. `room`:
 * scratch of FAM_GEMM_WORK_BYTES. */
bool fam_tile_code_run(fam_cpu_gemm *gemm, fam_tile_code *code, const void *in, dnnl_memory_t weights, const void *b,
                       void *out, void *room, int thread);

void fam_gemm_outer_free(fam_memory *memory, fam_gemm_outer *outer); /* and those behind it */

#endif
