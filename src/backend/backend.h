/*
 * backend/backend.h: a device, memory on it, and the operators that the model is made of: one table of functions that
 * each device fills.
 *
 * Knows tensors as rows of numbers; knows nothing of blocks, states, files or sessions. Forward and backward of an
 * operator stand side by side in the table; a backend without training leaves the backward ones NULL.
 *
 * Letters: n rows, E width, H query heads, G key/value heads, D head width. "Activation" means an element of the
 * execution's arithmetic type: float (FAM_DTYPE_F32) or bfloat16 (FAM_DTYPE_BF16). Everything said to be float32 is so
 * under both. Matrices are row-major.
 */
#ifndef FAM_BACKEND_BACKEND_H
#define FAM_BACKEND_BACKEND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/memory.h"
#include "base/pool.h"
#include "fam/modes.h"
#include "format/tensor.h"

static inline size_t fam_dtype_bytes(fam_dtype dtype)
{
    return dtype == FAM_DTYPE_F32 ? 4 : 2;
}

typedef struct fam_backend fam_backend; /* a device; immutable once made, shared by threads */
typedef struct fam_weight fam_weight;   /* a matrix or vector of the model on the device; immutable */
typedef struct fam_exec fam_exec;       /* one line of execution: scratch memory; used by one thread at a time */

/* What a weight is made from. The data stays where it is (a mapped file) and must outlive the weight. */
typedef struct fam_weight_source {
    const void *data; /* [rows, columns] of `type`, possibly unaligned */
    fam_type type;
    int64_t rows, columns; /* out, in */
    /* If > 0: the rows are llama.cpp's order of Q or K with this head width D: within each head, row 2i + s of the file
     * is row i + s D/2 of the weight. All results come in the weight's order. */
    int64_t permuted_head_dim;
} fam_weight_source;

/* One product of a group: out = in W^T, or out += in W^T. */
typedef struct fam_matmul_job {
    void *out;        /* [n, rows of W], float32 */
    const void *in;   /* [n, columns of W], activations */
    const fam_weight *weight;
    bool accumulate;
    bool activation_out; /* out holds activations instead of float32 (never with accumulate) */
} fam_matmul_job;

enum { FAM_MATMUL_JOBS_MAX = 32 };

/* What flows back through one product: din += dout W (with `overwrite` din = dout W), dweight += dout^T in; either may be
 * NULL. */
typedef struct fam_matmul_backward_job {
    float *din;        /* [n, columns of W] */
    float *dweight;    /* [rows, columns of W] */
    const float *dout; /* [n, rows of W] */
    const void *in;    /* [n, columns of W], activations; for dweight */
    const fam_weight *weight;
    bool overwrite;
} fam_matmul_backward_job;

/* Where the rows of heads lie: element (row, head, i) at row * row_stride + head * head_stride + i. */
typedef struct fam_head_layout {
    int64_t row_stride, head_stride; /* in elements */
} fam_head_layout;

/* A run of keys and values that the queries of a job may see: activations, [G, rows, D], head g at g * head_stride.
 * Query i of the job sees keys lower_i <= j < upper_i of the run, clipped to [0, rows):
 * lower_i = lower + (lower_moves ? i : 0), upper_i = upper + (upper_moves ? i : 0). */
typedef struct fam_key_range {
    const void *k, *v;
    int64_t head_stride; /* in elements */
    int64_t rows;
    int64_t lower, upper;
    bool lower_moves, upper_moves;
} fam_key_range;

enum { FAM_KEY_RANGES_MAX = 6 };

/* Softmax attention of some queries over all keys of their ranges together. Every query sees at least one key. */
typedef struct fam_attention_job {
    void *out;       /* activations, row i at i * out_stride: [H, D] */
    const void *q;   /* activations, row i at i * q_stride: [H, D], RoPE applied, not scaled */
    int64_t q_stride, out_stride; /* in elements */
    int64_t queries;
    int range_count;
    fam_key_range ranges[FAM_KEY_RANGES_MAX];
} fam_attention_job;

/* The widest head that attention takes; a wider one is refused when a model is made. */
enum { FAM_HEAD_DIM_MAX = 512 };

/* Scratch of fam_backend_ops.attention, whatever the number of keys: at most this much a thread. */
enum { FAM_ATTENTION_SCRATCH_MAX = 256 * 1024 };

/* What flows back through an attention job. Gradients of keys and values are laid out as the ranges are. */
typedef struct fam_attention_backward_job {
    const fam_attention_job *forward; /* as it ran; `out` holds what it gave */
    const float *dout;                /* [queries, H D], row i at i * forward->out_stride */
    float *dq;                        /* [queries, H D], row i at i * forward->q_stride; overwritten */
    struct {
        float *dk, *dv;      /* added to: element (g, row, i) of range r at g * head_stride + row * D + i */
        int64_t head_stride; /* in elements */
    } gradients[FAM_KEY_RANGES_MAX];
} fam_attention_backward_job;

typedef struct fam_attention_shape {
    int64_t heads, kv_heads, head_dim; /* H, G, D; query head h uses key/value head h / (H/G) */
    float scale;                       /* 1/sqrt(D) */
} fam_attention_shape;

/* The true gradient is scale * gradient. step counts from 1, for the corrections of the moments' bias. */
typedef struct fam_adamw_step {
    double rate, beta1, beta2, epsilon, weight_decay, scale;
    int64_t step;
} fam_adamw_step;

/* With b = beta2 (1 - beta2^(step-1)) / (1 - beta2^step), the decay that has Adam's correction in it, and
 * s = max(epsilon^2, 1e-30): row = b row + (1-b) mean of (scale gradient)^2 + s along the row, column alike;
 * u = scale gradient / sqrt(row column / mean(row)), or / sqrt(row) where that holds them whole; u is divided by
 * max(1, rms(u) / clip); m = beta1 m + (1 - beta1) rate u; x = (1 - rate weight_decay) x - m. */
typedef struct fam_adafactor_step {
    double rate, beta1, beta2, epsilon, weight_decay, scale;
    double clip; /* of the update's RMS (1 in the paper of Shazeer and Stern); 0: not */
    int64_t step;
} fam_adafactor_step;

/* Memory that products need, counted weight by weight. */
enum { FAM_PREPARED_BUFFERS = 6 };

typedef struct fam_prepared_bytes {
    uint64_t weights;                       /* packed weights, all together */
    uint64_t buffers[FAM_PREPARED_BUFFERS]; /* of an execution: each as large as the neediest weight wants it */
} fam_prepared_bytes;

typedef struct fam_backend_ops {
    const char *name; /* "cpu" */

    void (*free_backend)(fam_backend *backend);

    /* ---- memory on the device, zeroed; 64-byte aligned -------------------------------------------------------- */
    fam_status (*alloc)(fam_backend *backend, void **out, size_t bytes, const char *what, fam_error *error);
    void (*free)(fam_backend *backend, void *memory);
    void (*write)(fam_backend *backend, void *device, const void *host, size_t bytes);
    void (*read)(fam_backend *backend, void *host, const void *device, size_t bytes);
    void (*copy)(fam_backend *backend, void *to, const void *from, size_t bytes); /* device to device, no overlap */

    /* ---- weights ------------------------------------------------------------------------------------------------ */
    fam_status (*weight_create)(fam_backend *backend, fam_weight **out, const fam_weight_source *source,
                                fam_error *error);
    void (*weight_free)(fam_backend *backend, fam_weight *weight);

    /* ---- execution ---------------------------------------------------------------------------------------------- */
    /* rows_max: the most rows (n) that any call will have. */
    fam_status (*exec_create)(fam_backend *backend, fam_exec **out, int64_t rows_max, fam_error *error);
    /* About what an execution takes, with all that `prepare` adds to it for products of up to columns_max columns. */
    uint64_t (*exec_bytes)(const fam_backend *backend, int64_t rows_max, int64_t columns_max);
    void (*exec_free)(fam_exec *exec);
    /* Makes whatever products of n rows with this weight need (packed panels, compiled code), so that no operator can
     * fail for want of memory afterwards. Cheap when done before. */
    fam_status (*prepare)(fam_exec *exec, const fam_weight *weight, int64_t n, fam_error *error);
    /* Adds to *sum what `prepare` for n rows with this weight will take (with `backward` prepare_backward too); what it
     * has packed already is not counted. exec_bytes with columns_max 0 is the rest of an execution. */
    void (*prepared_bytes)(const fam_backend *backend, fam_prepared_bytes *sum, const fam_weight *weight, int64_t n,
                           bool backward);
    /* The first failure of an operator since the last call (a lost device). What operators wrote since is then void. */
    fam_status (*finish)(fam_exec *exec, fam_error *error);

    /* ---- operators ------------------------------------------------------------------------------------------------ */
    /* out [n, E] float32 = rows `tokens` [n] (host memory) of a table. */
    void (*embed)(fam_exec *exec, float *out, const fam_weight *table, const int32_t *tokens, int64_t n);

    /* out [n, E] activations = x / sqrt(mean(x^2) + eps) * gain; x [n, E] float32, gain [E] float32. */
    void (*rms_norm)(fam_exec *exec, void *out, const float *x, const float *gain, double eps, int64_t n, int64_t width);

    /* All jobs have n rows; no job reads what another writes. */
    void (*matmul)(fam_exec *exec, const fam_matmul_job *jobs, int count, int64_t n);

    /* cos, sin [n, half] float32 of positions[i] * inverse_frequency[k], the angle in double. Positions and frequencies
     * are host memory. */
    void (*rope_table)(fam_exec *exec, float *cos, float *sin, const double *positions, const double *inverse_frequency,
                       int64_t n, int64_t half);

    /* out activations (layout given) = x [n, heads * D] float32, rotated: element i of a head is paired with element
     * i + D/2. With cos NULL only converted and laid out. */
    void (*rope)(fam_exec *exec, void *out, fam_head_layout layout, const float *x, const float *cos, const float *sin,
                 int64_t n, int64_t heads, int64_t head_dim);

    void (*attention)(fam_exec *exec, const fam_attention_job *jobs, int count, const fam_attention_shape *shape);

    /* out [n, width] activations = silu(gate) * up; gate and up [n, width] float32. */
    void (*silu_multiply)(fam_exec *exec, void *out, const float *gate, const float *up, int64_t n, int64_t width);

    /* target [n] float32 = sqrt(mean(x^2) + 1e-12) of each row of x [n, E]. */
    void (*row_rms)(fam_exec *exec, float *target, const float *x, int64_t n, int64_t width);

    /* x [n, E] float32 *= target / sqrt(mean(x^2) + 1e-12), row by row, in place; target [n], or NULL for 1 (spec
     * section 3, state_norm). */
    void (*rescale_rows)(fam_exec *exec, float *x, const float *target, int64_t n, int64_t width);

    /* nll [n] (host memory) = -log softmax(logits)[target] of each row of logits [n, V] float32; targets [n] host
     * memory. */
    void (*cross_entropy)(fam_exec *exec, double *nll, const float *logits, const int32_t *targets, int64_t n,
                          int64_t vocab);

    /* ---- what flows back: NULL on a device that does not train ------------------------------------------------------- */
    void (*zero)(fam_exec *exec, void *memory, size_t bytes);
    /* out [count] += x. */
    void (*add)(fam_exec *exec, float *out, const float *x, int64_t count);

    /* Gradients are float32, and added to what is there unless said otherwise. A gradient that is not wanted is NULL.
     * Each operator gives the same bits whatever the number of threads. */

    /* dtable [V, E]: row tokens[i] += dout[i]; dout [n, E]. */
    void (*embed_backward)(fam_exec *exec, float *dtable, const float *dout, const int32_t *tokens, int64_t n,
                           int64_t width);

    /* dx [n, E], dgain [E], from dout [n, E]; x and gain as they went in. */
    void (*rms_norm_backward)(fam_exec *exec, float *dx, float *dgain, const float *dout, const float *x,
                              const float *gain, double eps, int64_t n, int64_t width);

    /* Jobs may add to the same din, in the order of the jobs; no two share a dweight. */
    void (*matmul_backward)(fam_exec *exec, const fam_matmul_backward_job *jobs, int count, int64_t n);
    /* As prepare, for matmul_backward. */
    fam_status (*prepare_backward)(fam_exec *exec, const fam_weight *weight, int64_t n, fam_error *error);

    /* dx [n, heads * D] (overwritten) from dout float32, laid out as `layout` says; cos NULL: as in rope. */
    void (*rope_backward)(fam_exec *exec, float *dx, const float *dout, fam_head_layout layout, const float *cos,
                          const float *sin, int64_t n, int64_t heads, int64_t head_dim);

    /* Ranges of several jobs may overlap in memory: their gradients are then added in the order of the jobs. */
    void (*attention_backward)(fam_exec *exec, const fam_attention_backward_job *jobs, int count,
                               const fam_attention_shape *shape);

    /* dgate, dup [n, width] (overwritten) from dout [n, width]; gate and up as they went in. */
    void (*silu_multiply_backward)(fam_exec *exec, float *dgate, float *dup, const float *dout, const float *gate,
                                   const float *up, int64_t n, int64_t width);

    /* dx [n, E], from the gradient dtarget [n] of row_rms(x). */
    void (*row_rms_backward)(fam_exec *exec, float *dx, const float *dtarget, const float *x, int64_t n,
                             int64_t width);

    /* dx [n, E] (overwritten) and dtarget [n] from dout [n, E]; x [n, E] before it was rescaled; target as it went in
     * (NULL: 1, then dtarget is NULL too). */
    void (*rescale_rows_backward)(fam_exec *exec, float *dx, float *dtarget, const float *dout, const float *x,
                                  const float *target, int64_t n, int64_t width);

    /* dlogits [n, V] (overwritten) = scale[i] (softmax(logits) - onehot(target)); scale [n] and targets [n] are host
     * memory. dlogits may be logits. */
    void (*cross_entropy_backward)(fam_exec *exec, float *dlogits, const float *logits, const int32_t *targets,
                                   const float *scale, int64_t n, int64_t vocab);

    /* ---- training: NULL on a device that does not train ---------------------------------------------------------------- */
    /* Gives a weight new values: factor * values [rows, columns] (device memory, float32, in the weight's order), rounded to
     * the arithmetic type. The weight then owns its data; whatever was packed from it is made again here, in place. Only the
     * first time on a weight can fail for want of memory. Nobody else may use the weight meanwhile. */
    fam_status (*weight_write)(fam_exec *exec, fam_weight *weight, const float *values, double factor, fam_error *error);

    /* best [n] (host memory) = the column of the largest element of each row of x [n, width], the first of equals. */
    void (*row_best)(fam_exec *exec, int32_t *best, const float *x, int64_t n, int64_t width);

    /* x [n, width] += level * rms(row) * standard normal numbers; element i of the whole gets number i of the stream that
     * the seed names, whatever the number of threads. */
    void (*add_noise)(fam_exec *exec, float *x, double level, uint64_t seed, int64_t n, int64_t width);

    /* The sum of squares of x [count], in double, in one order whatever the number of threads. */
    double (*sum_squares)(fam_exec *exec, const float *x, int64_t count);
    /* One step of AdamW on x [count] with moments m and v. */
    void (*adamw)(fam_exec *exec, float *x, float *m, float *v, const float *gradient, int64_t count,
                  const fam_adamw_step *step);
    /* One step of Adafactor on x [rows, columns] with momentum m; second moments factored into row [rows] and column
     * [columns]; where rows or columns is 1, row [count] holds them whole and column is NULL. */
    void (*adafactor)(fam_exec *exec, float *x, float *m, float *row, float *column, const float *gradient, int64_t rows,
                      int64_t columns, const fam_adafactor_step *step);
} fam_backend_ops;

/* Every backend begins with this. */
struct fam_backend {
    const fam_backend_ops *ops;
    fam_dtype dtype; /* the arithmetic type of all executions on it */
};

struct fam_exec {
    fam_backend *backend;
};

#endif
