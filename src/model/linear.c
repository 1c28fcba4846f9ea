/*
 * model/linear.c: see linear.h. One group of products for all matrices and all first LoRA factors, then one group for
 * each adapter's second factors.
 */
#include "model/linear.h"

void fam_linear_forward(fam_exec *exec, const fam_linear_job *jobs, int count, const void *in, int64_t n,
                        void *lora_scratch)
{
    const fam_backend_ops *ops = exec->backend->ops;
    const size_t element = fam_dtype_bytes(exec->backend->dtype);
    fam_matmul_job first[FAM_LINEAR_GROUP_MAX * (FAM_ADAPTERS_MAX + 1)];
    fam_matmul_job second[FAM_ADAPTERS_MAX][FAM_LINEAR_GROUP_MAX];
    int first_count = 0, second_count[FAM_ADAPTERS_MAX] = {0};
    char *scratch = lora_scratch;

    for (int j = 0; j < count; j++) {
        const fam_linear *linear = jobs[j].linear;
        first[first_count++] = (fam_matmul_job){
            .out = jobs[j].out, .in = in, .weight = linear->weight, .accumulate = jobs[j].accumulate};
        for (int l = 0; l < linear->lora_count; l++) {
            const fam_lora *lora = &linear->lora[l];
            first[first_count++] =
                (fam_matmul_job){.out = scratch, .in = in, .weight = lora->a, .activation_out = true};
            second[l][second_count[l]++] =
                (fam_matmul_job){.out = jobs[j].out, .in = scratch, .weight = lora->b, .accumulate = true};
            scratch += (size_t)(n * lora->rank) * element;
        }
    }
    ops->matmul(exec, first, first_count, n);
    for (int l = 0; l < FAM_ADAPTERS_MAX && second_count[l] > 0; l++)
        ops->matmul(exec, second[l], second_count[l], n);
}

fam_status fam_linear_prepare(fam_exec *exec, const fam_linear *linear, int64_t n, fam_error *error)
{
    const fam_backend_ops *ops = exec->backend->ops;
    fam_status status = FAM_OK;
    FAM_TRY(ops->prepare(exec, linear->weight, n, error));
    for (int l = 0; l < linear->lora_count; l++) {
        FAM_TRY(ops->prepare(exec, linear->lora[l].a, n, error));
        FAM_TRY(ops->prepare(exec, linear->lora[l].b, n, error));
    }
done:
    return status;
}

void fam_linear_release(fam_backend *backend, fam_linear *linear)
{
    backend->ops->weight_free(backend, linear->weight);
    for (int l = 0; l < linear->lora_count; l++) {
        backend->ops->weight_free(backend, linear->lora[l].a);
        backend->ops->weight_free(backend, linear->lora[l].b);
    }
    *linear = (fam_linear){0};
}
