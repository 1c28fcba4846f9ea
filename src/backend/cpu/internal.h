/*
 * backend/cpu/internal.h: what the files of the CPU backend share: the backend, its executions, its weights.
 *
 * Thread-safety: a fam_cpu_backend is shared by all executions. Its pool lets one loop run at a time, so whatever is
 * indexed by the pool's thread number and used only inside a loop body needs no lock. A fam_cpu_exec belongs to one
 * caller at a time.
 */
#ifndef FAM_BACKEND_CPU_INTERNAL_H
#define FAM_BACKEND_CPU_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "backend/backend.h"
#include "backend/cpu/cpu.h"
#include "backend/cpu/kernels.h"

typedef struct fam_cpu_gemm fam_cpu_gemm;     /* oneDNN and its compiled products (gemm.h) */
typedef struct fam_cpu_panels fam_cpu_panels; /* one weight packed for products of many rows (panels.c) */

typedef struct fam_cpu_backward fam_cpu_backward; /* what products backward need of memory (backward_matmul.c) */

typedef struct fam_cpu_backend {
    fam_backend base;
    fam_memory *memory;
    fam_pool *pool;
    fam_cpu_kernels kernels;
    fam_cpu_gemm *gemm;   /* NULL at FAM_CPU_PORTABLE: all products row by row */
    pthread_mutex_t lock; /* held while weights are packed and products compiled */
} fam_cpu_backend;

struct fam_weight {
    fam_weight_source source;
    size_t row_bytes;
    void *own; /* where the source's data lies once new values were written; else NULL */
    _Atomic(fam_cpu_panels *) panels; /* NULL until a product of many rows is prepared */
    _Atomic(fam_cpu_panels *) transposed; /* the same of W^T: NULL until a product backward is prepared */
};

/* Bytes of fam_cpu_exec.partial: partial results of attention when one query's keys are split among threads. */
enum { FAM_CPU_PARTIAL_BYTES = 1 << 20 };

/* Rows up to which a product goes row by row (gemv) instead of through packed panels. */
enum { FAM_CPU_GEMV_ROWS_MAX = 3 };

enum { FAM_CPU_PREPARED_SLOTS = 8 };

typedef struct fam_cpu_exec {
    fam_exec base; /* base.backend is the fam_cpu_backend */
    fam_pool *pool;
    const fam_cpu_kernels *kernels;
    fam_memory *memory;
    int threads;
    int64_t rows_max;
    fam_error failure;     /* status FAM_OK: none since the last `finish` */
    uint8_t *scratch;      /* [threads][FAM_ATTENTION_SCRATCH_MAX], each 64-byte aligned: free for any loop body */
    float *partial;        /* FAM_CPU_PARTIAL_BYTES: the caller's */
    uint8_t *prepared;     /* activations as gemv kernels want them: FAM_CPU_PREPARED_SLOTS rows */
    size_t prepared_bytes; /* of one slot */
    float *widened;        /* bf16 activations as float32, where products of many rows are made in float32 */
    size_t widened_bytes;
    fam_cpu_backward *backward; /* NULL until a product backward is prepared */
} fam_cpu_exec;

static inline fam_cpu_backend *fam_cpu_of(fam_backend *backend)
{
    return (fam_cpu_backend *)backend;
}

static inline fam_cpu_exec *fam_cpu_exec_of(fam_exec *exec)
{
    return (fam_cpu_exec *)exec;
}

static inline void *fam_cpu_scratch(const fam_cpu_exec *exec, int thread)
{
    return exec->scratch + (size_t)thread * FAM_ATTENTION_SCRATCH_MAX;
}

/* panels.c: packs the weight (or its transpose) if it is not yet; the lock is held. */
fam_status fam_cpu_panels_make(fam_cpu_backend *backend, fam_weight *weight, bool transposed, fam_error *error);
/* Which row of the file is row `row` of the weight. */
int64_t fam_cpu_file_row(const fam_weight_source *source, int64_t row);
void fam_cpu_panels_free(fam_cpu_backend *backend, fam_cpu_panels *panels);

/* weights.c */
fam_status fam_cpu_weight_create(fam_backend *backend, fam_weight **out, const fam_weight_source *source,
                                 fam_error *error);
void fam_cpu_weight_free(fam_backend *backend, fam_weight *weight);
fam_status fam_cpu_weight_write(fam_exec *exec, fam_weight *weight, const float *values, double factor,
                                fam_error *error);

/* Buffers of fam_prepared_bytes. */
enum { FAM_CPU_BUFFER_PREPARED, FAM_CPU_BUFFER_WIDENED, FAM_CPU_BUFFER_NARROWED, FAM_CPU_BUFFER_WIDENED_BACK };

static inline void fam_cpu_count_buffer(fam_prepared_bytes *sum, int buffer, uint64_t bytes)
{
    if (sum->buffers[buffer] < bytes)
        sum->buffers[buffer] = bytes;
}

void fam_cpu_prepared_bytes(const fam_backend *backend, fam_prepared_bytes *sum, const fam_weight *weight, int64_t n,
                            bool backward);

/* matmul.c */
fam_status fam_cpu_prepare(fam_exec *exec, const fam_weight *weight, int64_t n, fam_error *error);
void fam_cpu_matmul(fam_exec *exec, const fam_matmul_job *jobs, int count, int64_t n);

/* rows.c */
/* Runs `body` over n rows of `width` elements: in the caller if they make one item. */
void fam_cpu_for_rows(fam_exec *exec, fam_pool_body *body, void *context, int64_t n, int64_t width);
void fam_cpu_embed(fam_exec *exec, float *out, const fam_weight *table, const int32_t *tokens, int64_t n);
void fam_cpu_rms_norm(fam_exec *exec, void *out, const float *x, const float *gain, double eps, int64_t n,
                      int64_t width);
void fam_cpu_rope_table(fam_exec *exec, float *cosines, float *sines, const double *positions,
                        const double *inverse_frequency, int64_t n, int64_t half);
void fam_cpu_rope(fam_exec *exec, void *out, fam_head_layout layout, const float *x, const float *cosines,
                  const float *sines, int64_t n, int64_t heads, int64_t head_dim);
void fam_cpu_silu_multiply(fam_exec *exec, void *out, const float *gate, const float *up, int64_t n, int64_t width);
void fam_cpu_row_rms(fam_exec *exec, float *target, const float *x, int64_t n, int64_t width);
void fam_cpu_rescale_rows(fam_exec *exec, float *x, const float *target, int64_t n, int64_t width);
void fam_cpu_zero(fam_exec *exec, void *memory, size_t bytes);
void fam_cpu_add(fam_exec *exec, float *out, const float *x, int64_t count);
void fam_cpu_cross_entropy(fam_exec *exec, double *nll, const float *logits, const int32_t *targets, int64_t n,
                           int64_t width);

/* attention_op.c */
void fam_cpu_attention_op(fam_exec *exec, const fam_attention_job *jobs, int count, const fam_attention_shape *shape);

/* training_ops.c */
void fam_cpu_add_noise(fam_exec *exec, float *x, double level, uint64_t seed, int64_t n, int64_t width);
void fam_cpu_row_best(fam_exec *exec, int32_t *best, const float *x, int64_t n, int64_t width);

/* backward_rows.c */
void fam_cpu_embed_backward(fam_exec *exec, float *dtable, const float *dout, const int32_t *tokens, int64_t n,
                            int64_t width);
void fam_cpu_rms_norm_backward(fam_exec *exec, float *dx, float *dgain, const float *dout, const float *x,
                               const float *gain, double eps, int64_t n, int64_t width);
void fam_cpu_rope_backward(fam_exec *exec, float *dx, const float *dout, fam_head_layout layout, const float *cosines,
                           const float *sines, int64_t n, int64_t heads, int64_t head_dim);
void fam_cpu_silu_multiply_backward(fam_exec *exec, float *dgate, float *dup, const float *dout, const float *gate,
                                    const float *up, int64_t n, int64_t width);
void fam_cpu_row_rms_backward(fam_exec *exec, float *dx, const float *dtarget, const float *x, int64_t n,
                              int64_t width);
void fam_cpu_rescale_rows_backward(fam_exec *exec, float *dx, float *dtarget, const float *dout, const float *x,
                                   const float *target, int64_t n, int64_t width);
void fam_cpu_cross_entropy_backward(fam_exec *exec, float *dlogits, const float *logits, const int32_t *targets,
                                    const float *scale, int64_t n, int64_t vocab);

/* backward_matmul.c */
void fam_cpu_matmul_backward(fam_exec *exec, const fam_matmul_backward_job *jobs, int count, int64_t n);
fam_status fam_cpu_prepare_backward(fam_exec *exec, const fam_weight *weight, int64_t n, fam_error *error);
/* The buffers' part of fam_cpu_prepared_bytes. */
void fam_cpu_count_backward(const fam_cpu_backend *backend, fam_prepared_bytes *sum, const fam_weight *weight,
                            int64_t n);

void fam_cpu_backward_free(fam_memory *memory, fam_cpu_backward *backward);

/* optimizer_ops.c */
double fam_cpu_sum_squares(fam_exec *exec, const float *x, int64_t count);
void fam_cpu_adamw_op(fam_exec *exec, float *x, float *m, float *v, const float *gradient, int64_t count,
                      const fam_adamw_step *step);
void fam_cpu_adafactor_op(fam_exec *exec, float *x, float *m, float *row, float *column, const float *gradient,
                          int64_t rows, int64_t columns, const fam_adafactor_step *step);

/* backward_attention.c */
void fam_cpu_attention_backward(fam_exec *exec, const fam_attention_backward_job *jobs, int count,
                                const fam_attention_shape *shape);

#endif
