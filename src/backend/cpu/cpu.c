/*
 * backend/cpu/cpu.c: the CPU backend's table: memory, executions. Weights are in weights.c, the operators in matmul.c,
 * rows.c and attention_op.c, what flows back through them in backward_*.c, what only training needs in training_ops.c,
 * the optimisers in optimizer_ops.c.
 */
#include "backend/cpu/cpu.h"

#include <string.h>

#include "backend/cpu/gemm.h"

static void free_backend(fam_backend *base)
{
    fam_cpu_backend *backend = fam_cpu_of(base);
    if (!backend)
        return;
    fam_cpu_gemm_free(backend->gemm);
    fam_pool_free(backend->pool);
    pthread_mutex_destroy(&backend->lock);
    fam_free(backend->memory, backend);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static fam_status alloc(fam_backend *base, void **out, size_t bytes, const char *what, fam_error *error)
{
    fam_status status = FAM_OK;
    FAM_TRY_ALLOC(*out, fam_alloc_zeroed(fam_cpu_of(base)->memory, bytes), what);
done:
    return status;
}

static void release(fam_backend *base, void *memory)
{
    fam_free(fam_cpu_of(base)->memory, memory);
}

static void write_memory(fam_backend *base, void *device, const void *host, size_t bytes)
{
    (void)base;
    if (bytes)
        memcpy(device, host, bytes);
}

static void read_memory(fam_backend *base, void *host, const void *device, size_t bytes)
{
    (void)base;
    if (bytes)
        memcpy(host, device, bytes);
}

static void copy_memory(fam_backend *base, void *to, const void *from, size_t bytes)
{
    (void)base;
    if (bytes)
        memcpy(to, from, bytes);
}

/* ---- executions -------------------------------------------------------------------------------------------------- */

static void exec_free(fam_exec *base)
{
    if (!base)
        return;
    fam_cpu_exec *exec = fam_cpu_exec_of(base);
    fam_free(exec->memory, exec->scratch);
    fam_free(exec->memory, exec->partial);
    fam_free(exec->memory, exec->prepared);
    fam_free(exec->memory, exec->widened);
    fam_cpu_backward_free(exec->memory, exec->backward);
    fam_free(exec->memory, exec);
}

static fam_status exec_create(fam_backend *base, fam_exec **out, int64_t rows_max, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_cpu_backend *backend = fam_cpu_of(base);
    fam_cpu_exec *exec;
    *out = NULL;
    FAM_TRY_ALLOC(exec, fam_alloc_zeroed(backend->memory, sizeof *exec), "execution");
    exec->base.backend = base;
    exec->pool = backend->pool;
    exec->kernels = &backend->kernels;
    exec->memory = backend->memory;
    exec->threads = fam_pool_threads(backend->pool);
    exec->rows_max = rows_max;
    FAM_TRY_ALLOC(exec->scratch, fam_alloc_array(backend->memory, (size_t)exec->threads, FAM_ATTENTION_SCRATCH_MAX),
                  "execution");
    FAM_TRY_ALLOC(exec->partial, fam_alloc(backend->memory, FAM_CPU_PARTIAL_BYTES), "execution");
    *out = &exec->base;
    exec = NULL;
done:
    exec_free(exec ? &exec->base : NULL);
    return status;
}

static uint64_t exec_bytes(const fam_backend *base, int64_t rows_max, int64_t columns_max)
{
    const fam_cpu_backend *backend = (const fam_cpu_backend *)base;
    size_t slot = 0;
    for (int type = 0; type < FAM_TYPE_COUNT; type++) {
        size_t bytes = backend->kernels.gemv[type].prepared_bytes(columns_max);
        slot = bytes > slot ? bytes : slot;
    }
    bool widens = base->dtype == FAM_DTYPE_BF16 && backend->gemm && !fam_cpu_gemm_is_bf16(backend->gemm);
    return sizeof(fam_cpu_exec) + (uint64_t)fam_pool_threads(backend->pool) * FAM_ATTENTION_SCRATCH_MAX +
           FAM_CPU_PARTIAL_BYTES + FAM_CPU_PREPARED_SLOTS * (uint64_t)slot +
           (widens ? (uint64_t)(rows_max * columns_max) * sizeof(float) : 0);
}

static fam_status finish(fam_exec *base, fam_error *error)
{
    fam_cpu_exec *exec = fam_cpu_exec_of(base);
    fam_status status = exec->failure.status;
    if (status != FAM_OK && error)
        *error = exec->failure;
    exec->failure.status = FAM_OK;
    return status;
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

static const fam_backend_ops cpu_ops = {
    .name = "cpu",
    .free_backend = free_backend,
    .alloc = alloc,
    .free = release,
    .write = write_memory,
    .read = read_memory,
    .copy = copy_memory,
    .weight_create = fam_cpu_weight_create,
    .weight_free = fam_cpu_weight_free,
    .exec_create = exec_create,
    .exec_free = exec_free,
    .exec_bytes = exec_bytes,
    .prepare = fam_cpu_prepare,
    .prepared_bytes = fam_cpu_prepared_bytes,
    .finish = finish,
    .embed = fam_cpu_embed,
    .rms_norm = fam_cpu_rms_norm,
    .matmul = fam_cpu_matmul,
    .rope_table = fam_cpu_rope_table,
    .rope = fam_cpu_rope,
    .attention = fam_cpu_attention_op,
    .silu_multiply = fam_cpu_silu_multiply,
    .row_rms = fam_cpu_row_rms,
    .rescale_rows = fam_cpu_rescale_rows,
    .cross_entropy = fam_cpu_cross_entropy,
    .zero = fam_cpu_zero,
    .add = fam_cpu_add,
    .embed_backward = fam_cpu_embed_backward,
    .rms_norm_backward = fam_cpu_rms_norm_backward,
    .matmul_backward = fam_cpu_matmul_backward,
    .prepare_backward = fam_cpu_prepare_backward,
    .rope_backward = fam_cpu_rope_backward,
    .attention_backward = fam_cpu_attention_backward,
    .silu_multiply_backward = fam_cpu_silu_multiply_backward,
    .row_rms_backward = fam_cpu_row_rms_backward,
    .rescale_rows_backward = fam_cpu_rescale_rows_backward,
    .cross_entropy_backward = fam_cpu_cross_entropy_backward,
    .row_best = fam_cpu_row_best,
    .weight_write = fam_cpu_weight_write,
    .add_noise = fam_cpu_add_noise,
    .sum_squares = fam_cpu_sum_squares,
    .adamw = fam_cpu_adamw_op,
    .adafactor = fam_cpu_adafactor_op,
};

fam_status fam_cpu_backend_create(fam_backend **out, fam_memory *memory, const fam_cpu_options *options,
                                  fam_error *error)
{
    fam_status status = FAM_OK;
    fam_cpu_backend *backend = NULL;
    fam_cpu_isa best = fam_cpu_best_isa();
    *out = NULL;
    FAM_FAIL_IF((unsigned)options->isa > (unsigned)best, FAM_STATUS_UNSUPPORTED, "processor: found %s, need %s",
                fam_cpu_isa_name(best), fam_cpu_isa_name(options->isa));
    FAM_TRY_ALLOC(backend, fam_alloc_zeroed(memory, sizeof *backend), "backend");
    backend->base.ops = &cpu_ops;
    backend->base.dtype = options->dtype;
    backend->memory = memory;
    pthread_mutex_init(&backend->lock, NULL);
    fam_cpu_kernels_select(&backend->kernels, options->isa, options->dtype);
    FAM_TRY(fam_pool_create(&backend->pool, memory, options->threads, error));
    if (options->isa > FAM_CPU_PORTABLE)
        FAM_TRY(fam_cpu_gemm_create(&backend->gemm, memory, options->threads,
                                    options->dtype == FAM_DTYPE_BF16 && options->isa >= FAM_CPU_AVX512BF16, error));
    *out = &backend->base;
    backend = NULL;
done:
    free_backend(backend ? &backend->base : NULL);
    return status;
}
