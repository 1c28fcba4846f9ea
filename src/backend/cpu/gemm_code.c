/*
 * backend/cpu/gemm_code.c: one compiled product of oneDNN, and what each thread needs to run it.
 */
#include "backend/cpu/gemm_private.h"

#include <string.h>
#include <sys/mman.h>

/* Of OpenMP, which oneDNN links to. Its header comes with a compiler, and not with every one. */
int omp_get_max_threads(void);
void omp_set_num_threads(int threads);

int fam_dnnl_narrow(void)
{
    int width = omp_get_max_threads();
    omp_set_num_threads(1);
    return width;
}

void fam_dnnl_widen(int width)
{
    omp_set_num_threads(width);
}

dnnl_data_type_t fam_dnnl_type(const fam_cpu_gemm *gemm)
{
    return gemm->bf16 ? dnnl_bf16 : dnnl_f32;
}

static dnnl_status_t make_attributes(dnnl_primitive_attr_t *out, bool add)
{
    dnnl_post_ops_t after = NULL;
    dnnl_status_t s = dnnl_primitive_attr_create(out);
    if (s == dnnl_success)
        s = dnnl_primitive_attr_set_scratchpad_mode(*out, dnnl_scratchpad_mode_user);
    if (s == dnnl_success && add) {
        s = dnnl_post_ops_create(&after);
        if (s == dnnl_success)
            s = dnnl_post_ops_append_sum(after, 1.0f);
        if (s == dnnl_success)
            s = dnnl_primitive_attr_set_post_ops(*out, after);
        if (after)
            dnnl_post_ops_destroy(after);
    }
    return s;
}

dnnl_status_t fam_dnnl_describe(dnnl_primitive_desc_t *out, const fam_cpu_gemm *gemm, const fam_product_shape *shape)
{
    dnnl_memory_desc_t result;
    dnnl_dims_t out_dims = {shape->rows, shape->n};
    dnnl_matmul_desc_t product;
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_status_t s = dnnl_memory_desc_init_by_tag(&result, 2, out_dims, dnnl_f32, dnnl_ab);
    if (s == dnnl_success)
        s = dnnl_matmul_desc_init(&product, shape->in, shape->weights, NULL, &result);
    if (s == dnnl_success)
        s = make_attributes(&attributes, shape->add);
    if (s == dnnl_success)
        s = dnnl_primitive_desc_create(out, &product, attributes, gemm->engine, NULL);
    if (attributes)
        dnnl_primitive_attr_destroy(attributes);
    return s;
}

void fam_tile_code_free(fam_memory *memory, fam_tile_code *code)
{
    if (!code)
        return;
    for (int t = 0; code->in && t < code->threads; t++) {
        dnnl_memory_t objects[] = {code->in[t], code->out[t], code->work[t], code->weights ? code->weights[t] : NULL};
        for (size_t i = 0; i < sizeof objects / sizeof *objects; i++)
            if (objects[i])
                dnnl_memory_destroy(objects[i]);
    }
    if (code->primitive)
        dnnl_primitive_destroy(code->primitive);
    fam_free(memory, code->in);
    fam_free(memory, code->own_work);
    fam_free(memory, code);
}

static fam_status memory_objects(fam_cpu_gemm *gemm, fam_tile_code *code, dnnl_primitive_desc_t description,
                                 bool own_weights, fam_error *error)
{
    fam_status status = FAM_OK;
    const dnnl_memory_desc_t *in = dnnl_primitive_desc_query_md(description, dnnl_query_src_md, 0),
                             *weights = dnnl_primitive_desc_query_md(description, dnnl_query_weights_md, 0),
                             *result = dnnl_primitive_desc_query_md(description, dnnl_query_dst_md, 0),
                             *work = dnnl_primitive_desc_query_md(description, dnnl_query_scratchpad_md, 0);
    size_t threads = (size_t)gemm->threads;
    code->work_bytes = (dnnl_memory_desc_get_size(work) + 63) / 64 * 64;
    if (code->work_bytes > FAM_GEMM_WORK_BYTES)
        FAM_TRY_ALLOC(code->own_work, fam_alloc_array(gemm->memory, threads, code->work_bytes), "matrix products");
    FAM_TRY_ALLOC(code->in, fam_alloc_array(gemm->memory, threads, 4 * sizeof *code->in), "matrix products");
    code->out = code->in + threads;
    code->work = code->out + threads;
    code->weights = own_weights ? code->work + threads : NULL;
    code->threads = gemm->threads;
    for (int t = 0; t < gemm->threads; t++) {
        FAM_TRY_DNNL(dnnl_memory_create(&code->in[t], in, gemm->engine, DNNL_MEMORY_NONE), "matrix products");
        FAM_TRY_DNNL(dnnl_memory_create(&code->out[t], result, gemm->engine, DNNL_MEMORY_NONE), "matrix products");
        FAM_TRY_DNNL(dnnl_memory_create(&code->work[t], work, gemm->engine, DNNL_MEMORY_NONE), "matrix products");
        if (own_weights)
            FAM_TRY_DNNL(dnnl_memory_create(&code->weights[t], weights, gemm->engine, DNNL_MEMORY_NONE),
                         "matrix products");
    }
done:
    return status;
}

/* oneDNN ends the process when it is short of memory while it makes code, so it is let to only where there is plenty. */
static fam_status check_room(fam_error *error)
{
    const size_t plenty = (size_t)48 << 20; /* it takes less than a third of it */
    void *room = mmap(NULL, plenty, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        return fam_out_of_memory(error, "matrix products");
    munmap(room, plenty);
    return FAM_OK;
}

/* One of its ways makes its code only when it first runs, once in a process: that is now, while there is room. */
static fam_status make_late_code(dnnl_primitive_desc_t description, fam_error *error)
{
    fam_status status = FAM_OK;
    const char *way = NULL;
    if (dnnl_primitive_desc_query(description, dnnl_query_impl_info_str, 0, &way) != dnnl_success ||
        strncmp(way, "gemm:", 5) != 0)
        return FAM_OK;
    const float a = 1, b = 1;
    float c = 0;
    int width = fam_dnnl_narrow();
    dnnl_status_t result = dnnl_sgemm('N', 'N', 1, 1, 1, 1, &a, 1, &b, 1, 0, &c, 1);
    fam_dnnl_widen(width);
    FAM_TRY_DNNL(result, "matrix products");
done:
    return status;
}

fam_status fam_tile_code_make(fam_cpu_gemm *gemm, fam_tile_code **out, const fam_product_shape *shape, bool own_weights,
                              fam_error *error)
{
    fam_status status = FAM_OK;
    dnnl_primitive_desc_t description = NULL;
    fam_tile_code *code;
    FAM_TRY_ALLOC(code, fam_alloc_zeroed(gemm->memory, sizeof *code), "matrix products");
    FAM_TRY(check_room(error));
    FAM_TRY_DNNL(fam_dnnl_describe(&description, gemm, shape), "matrix products");
    FAM_TRY(make_late_code(description, error));
    FAM_TRY_DNNL(dnnl_primitive_create(&code->primitive, description), "matrix products");
    FAM_TRY(memory_objects(gemm, code, description, own_weights, error));
    *out = code;
    code = NULL;
done:
    fam_tile_code_free(gemm->memory, code);
    if (description)
        dnnl_primitive_desc_destroy(description);
    return status;
}

bool fam_tile_code_run(fam_cpu_gemm *gemm, fam_tile_code *code, const void *in, dnnl_memory_t weights, const void *b,
                       void *out, void *room, int thread)
{
    uint8_t *work = code->own_work ? code->own_work + (size_t)thread * code->work_bytes : room;
    if (!weights) {
        weights = code->weights[thread];
        dnnl_memory_set_data_handle(weights, (void *)b);
    }
    dnnl_memory_set_data_handle(code->in[thread], (void *)in);
    dnnl_memory_set_data_handle(code->out[thread], out);
    dnnl_memory_set_data_handle(code->work[thread], work);
    dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, code->in[thread]},
                                   {DNNL_ARG_WEIGHTS, weights},
                                   {DNNL_ARG_DST, code->out[thread]},
                                   {DNNL_ARG_SCRATCHPAD, code->work[thread]}};
    return dnnl_primitive_execute(code->primitive, gemm->streams[thread], 4, arguments) == dnnl_success;
}
