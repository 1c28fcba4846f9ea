/*
 * backend/cpu/attention_op.c: attention as an operator: cuts the jobs of a call into items and shares them out to the pool.
 *
 * Jobs of many queries are cut into tiles of rows (prefill); a job of one query is cut into parts of its keys, whose
 * results are then merged in order (decoding). How work is cut depends on the shapes alone, never on the number of
 * threads or on who takes what, so the result does not either.
 */
#include <math.h>

#include "backend/cpu/attention.h"

/* Keys of a part when one query's keys are split, and the most parts. */
enum { PART_KEYS = 128, PARTS_MAX = 64 };
/* Tiles of rows: cut smaller than a kernel likes as long as a call has fewer items than this. */
enum { ITEMS_WANTED = 16, TILE_ROWS_MIN = 64 };
/* Work below which waking other threads costs more than it gains, in multiplications. */
static const double INLINE_WORK = 100e3;

typedef struct tile_work {
    const fam_cpu_attention_call *call;
    const fam_attention_job *jobs;
    const fam_attention_shape *shape;
    int64_t tile, items;
} tile_work;

typedef struct part_work {
    const fam_cpu_attention_call *call;
    const fam_attention_job *jobs;
    const fam_attention_shape *shape;
    int64_t parts_max;
    float *partial;
} part_work;

static void *scratch_of(const fam_cpu_attention_call *call, int thread)
{
    return call->scratch + (size_t)thread * FAM_ATTENTION_SCRATCH_MAX;
}

static int64_t group_of(const fam_attention_shape *shape)
{
    return shape->heads / shape->kv_heads;
}

/* Floats of what a kernel's `partial` writes for all key/value heads. */
static int64_t partial_floats(const fam_attention_shape *shape)
{
    return shape->heads * (2 + shape->head_dim);
}

/* How many parts call->partial holds. */
static int64_t parts_room(const fam_attention_shape *shape)
{
    return FAM_CPU_PARTIAL_BYTES / (int64_t)sizeof(float) / partial_floats(shape);
}

static bool by_parts(const fam_attention_job *job, const fam_attention_shape *shape)
{
    return job->queries == 1 && parts_room(shape) > 0;
}

/* Multiplications of a job, or somewhat more. */
static double job_work(const fam_attention_job *job, const fam_attention_shape *shape)
{
    return 2.0 * (double)job->queries * (double)fam_query_key_count(job, job->queries - 1) * (double)shape->heads *
           (double)shape->head_dim;
}

static void run_items(const fam_cpu_attention_call *call, fam_pool_body *body, void *context, int64_t items, double work)
{
    if (work < INLINE_WORK || items == 1)
        body(context, 0, items, 0);
    else
        fam_pool_run(call->pool, body, context, items, 1);
}

/* ---- many queries: tiles of rows ---------------------------------------------------------------------------------- */

static int64_t tiles_of(const fam_attention_job *job, const fam_attention_shape *shape, int64_t tile)
{
    return by_parts(job, shape) ? 0 : (job->queries * group_of(shape) + tile - 1) / tile;
}

static void run_tiles(void *context, int64_t begin, int64_t end, int thread)
{
    const tile_work *work = context;
    int64_t group = group_of(work->shape), kv_heads = work->shape->kv_heads;
    for (int64_t i = begin; i < end; i++) {
        /* Backwards: later tiles of a job see more keys, and what takes long should not begin last. */
        int64_t item = work->items - 1 - i;
        const fam_attention_job *job = work->jobs;
        while (item >= tiles_of(job, work->shape, work->tile) * kv_heads)
            item -= tiles_of(job++, work->shape, work->tile) * kv_heads;
        int64_t tiles = tiles_of(job, work->shape, work->tile), row = item % tiles * work->tile, rows = job->queries * group;
        work->call->kernel->run(job, work->shape, item / tiles, row, row + work->tile < rows ? row + work->tile : rows,
                                scratch_of(work->call, thread));
    }
}

static void attend_tiles(const fam_cpu_attention_call *call, const fam_attention_job *jobs, int count,
                         const fam_attention_shape *shape)
{
    tile_work work = {call, jobs, shape, call->kernel->rows(shape), 0};
    int64_t rows = 0, group = group_of(shape);
    double multiplications = 0;
    for (int j = 0; j < count; j++)
        if (!by_parts(&jobs[j], shape)) {
            rows += jobs[j].queries * group;
            multiplications += job_work(&jobs[j], shape);
        }
    if (rows == 0)
        return;
    int64_t wanted = fam_round_up(rows * shape->kv_heads / ITEMS_WANTED, 32);
    wanted = wanted < TILE_ROWS_MIN ? TILE_ROWS_MIN : wanted;
    work.tile = wanted < work.tile ? wanted : work.tile;
    for (int j = 0; j < count; j++)
        work.items += tiles_of(&jobs[j], shape, work.tile) * shape->kv_heads;
    run_items(call, run_tiles, &work, work.items, multiplications);
}

/* ---- one query: parts of the keys ---------------------------------------------------------------------------------- */

static int64_t parts_of(const fam_attention_job *job, int64_t parts_max)
{
    int64_t parts = fam_query_key_count(job, 0) / PART_KEYS;
    parts = parts > parts_max ? parts_max : parts;
    return parts < 1 ? 1 : parts;
}

static void run_parts(void *context, int64_t begin, int64_t end, int thread)
{
    const part_work *work = context;
    const fam_attention_shape *shape = work->shape;
    for (int64_t i = begin; i < end; i++) {
        const fam_attention_job *job = work->jobs;
        float *out = work->partial;
        int64_t item = i, parts = parts_of(job, work->parts_max);
        while (item >= parts * shape->kv_heads) {
            item -= parts * shape->kv_heads;
            out += parts * partial_floats(shape);
            parts = parts_of(++job, work->parts_max);
        }
        int64_t head = item / parts, part = item % parts, keys = fam_query_key_count(job, 0);
        out += part * partial_floats(shape) + head * group_of(shape) * (2 + shape->head_dim);
        work->call->kernel->partial(out, job, shape, head, 0, keys * part / parts, keys * (part + 1) / parts,
                                    scratch_of(work->call, thread));
    }
}

/* The row of one head out of its parts, which lie `stride` floats apart; the sum ends up in the first part. */
static void merge_head(void *out, float *partial, int64_t parts, int64_t stride, int64_t dim, fam_dtype dtype)
{
    float maximum = partial[0], sum = 0;
    for (int64_t p = 1; p < parts; p++)
        maximum = fmaxf(maximum, partial[p * stride]);
    for (int64_t p = 0; p < parts; p++) {
        const float *from = partial + p * stride;
        float weight = exp2f(from[0] - maximum);
        sum += weight * from[1];
        if (p == 0)
            for (int64_t i = 0; i < dim; i++)
                partial[2 + i] *= weight;
        else
            for (int64_t i = 0; i < dim; i++)
                partial[2 + i] += weight * from[2 + i];
    }
    float scale = 1 / sum;
    if (dtype == FAM_DTYPE_F32)
        for (int64_t i = 0; i < dim; i++)
            ((float *)out)[i] = partial[2 + i] * scale;
    else
        for (int64_t i = 0; i < dim; i++)
            ((uint16_t *)out)[i] = fam_to_bf16(partial[2 + i] * scale);
}

/* Jobs [0, count), each of one query, whose parts together fit into call->partial. */
static void attend_parts(const fam_cpu_attention_call *call, const fam_attention_job *jobs, int count,
                         const fam_attention_shape *shape, int64_t parts_max)
{
    part_work work = {call, jobs, shape, parts_max, call->partial};
    int64_t items = 0, stride = partial_floats(shape), dim = shape->head_dim;
    double multiplications = 0;
    for (int j = 0; j < count; j++) {
        items += parts_of(&jobs[j], parts_max) * shape->kv_heads;
        multiplications += job_work(&jobs[j], shape);
    }
    run_items(call, run_parts, &work, items, multiplications);
    float *partial = call->partial;
    for (int j = 0; j < count; j++) {
        int64_t parts = parts_of(&jobs[j], parts_max);
        for (int64_t head = 0; head < shape->heads; head++)
            merge_head((uint8_t *)jobs[j].out + (size_t)(head * dim) * fam_dtype_bytes(call->dtype),
                       partial + head * (2 + dim), parts, stride, dim, call->dtype);
        partial += parts * stride;
    }
}

void fam_cpu_attention_all(const fam_cpu_attention_call *call, const fam_attention_job *jobs, int count,
                           const fam_attention_shape *shape)
{
    attend_tiles(call, jobs, count, shape);
    int64_t room = parts_room(shape);
    int64_t parts_max = room < PARTS_MAX ? room : PARTS_MAX;
    for (int j = 0; j < count;) {
        int64_t parts = 0;
        int end = j;
        while (end < count && by_parts(&jobs[end], shape) && parts + parts_of(&jobs[end], parts_max) <= room)
            parts += parts_of(&jobs[end++], parts_max);
        if (end > j)
            attend_parts(call, jobs + j, end - j, shape, parts_max);
        j = end > j ? end : j + 1;
    }
}

void fam_cpu_attention_op(fam_exec *base, const fam_attention_job *jobs, int count, const fam_attention_shape *shape)
{
    const fam_cpu_exec *exec = fam_cpu_exec_of(base);
    fam_cpu_attention_call call = {&exec->kernels->attention, base->backend->dtype, exec->pool, exec->scratch,
                                   exec->partial};
    if (shape->head_dim > FAM_HEAD_DIM_MAX)
        call.kernel = call.dtype == FAM_DTYPE_F32 ? &fam_cpu_attention_f32_portable : &fam_cpu_attention_bf16_portable;
    fam_cpu_attention_all(&call, jobs, count, shape);
}
