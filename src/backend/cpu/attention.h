/*
 * backend/cpu/attention.h: what the versions of attention share: which keys a row sees, cut into tiles; the kernels'
 * tables; where scratch begins.
 *
 * Everything here is plain C without vectors, so that every version may include it.
 */
#ifndef FAM_BACKEND_CPU_ATTENTION_H
#define FAM_BACKEND_CPU_ATTENTION_H

#include <float.h>
#include <string.h>

#include "backend/cpu/internal.h"
#include "base/float16.h"

#define FAM_LOG2_E 1.4426950408889634f

/* The greatest exponent of a row that has seen no key yet. Finite, so that masked scores (-infinity) minus it stay
 * -infinity and never become NaN. */
#define FAM_NO_KEY_YET (-FLT_MAX)

typedef struct fam_key_span {
    int64_t begin, end; /* keys of one range; begin >= end: none */
} fam_key_span;

static inline int64_t fam_clip_key(int64_t bound, bool moves, int64_t query, int64_t rows)
{
    /* Bounds may stand for infinity: clipped to what can matter before the query's number is added. */
    if (bound < -query - 1)
        bound = -query - 1;
    if (bound > rows)
        bound = rows;
    bound += moves ? query : 0;
    return bound < 0 ? 0 : bound > rows ? rows : bound;
}

/* Keys of the range that one query sees. */
static inline fam_key_span fam_query_sees(const fam_key_range *range, int64_t query)
{
    return (fam_key_span){fam_clip_key(range->lower, range->lower_moves, query, range->rows),
                          fam_clip_key(range->upper, range->upper_moves, query, range->rows)};
}

/* Keys that any of the queries first .. last sees: always one run without holes. */
static inline fam_key_span fam_queries_see(const fam_key_range *range, int64_t first, int64_t last)
{
    if (range->lower >= range->upper && range->lower_moves == range->upper_moves)
        return (fam_key_span){0, 0};
    return (fam_key_span){fam_query_sees(range, first).begin, fam_query_sees(range, last).end};
}

/* Keys that every one of the queries first .. last sees. */
static inline fam_key_span fam_queries_share(const fam_key_range *range, int64_t first, int64_t last)
{
    return (fam_key_span){fam_query_sees(range, last).begin, fam_query_sees(range, first).end};
}

/* Keys that the query sees in all ranges together. */
static inline int64_t fam_query_key_count(const fam_attention_job *job, int64_t query)
{
    int64_t count = 0;
    for (int r = 0; r < job->range_count; r++) {
        fam_key_span span = fam_query_sees(&job->ranges[r], query);
        count += span.end > span.begin ? span.end - span.begin : 0;
    }
    return count;
}

/* Steps through keys [begin, end) of those that one query sees, in runs that lie in one range and are at most `most`
 * long. */
typedef struct fam_key_walk {
    const fam_attention_job *job;
    int64_t query, begin, end;
    int range;
    int64_t offset; /* visible keys in front of `range` */
} fam_key_walk;

/* The next run: *range and keys [span->begin, span->end) of it; false at the end. */
static inline bool fam_key_walk_next(fam_key_walk *walk, const fam_key_range **range, fam_key_span *span, int64_t most)
{
    while (walk->begin < walk->end && walk->range < walk->job->range_count) {
        const fam_key_range *here = &walk->job->ranges[walk->range];
        fam_key_span sees = fam_query_sees(here, walk->query);
        int64_t count = sees.end > sees.begin ? sees.end - sees.begin : 0, from = walk->begin - walk->offset;
        if (from < count) {
            int64_t to = walk->end - walk->offset;
            to = to > count ? count : to;
            to = to > from + most ? from + most : to;
            *range = here;
            *span = (fam_key_span){sees.begin + from, sees.begin + to};
            walk->begin += to - from;
            return true;
        }
        walk->offset += count;
        walk->range++;
    }
    return false;
}

/* Row's query vector and place for its result: element index of head 0 .. D-1. */
static inline int64_t fam_row_offset(const fam_attention_shape *shape, int64_t stride, int64_t kv_head, int64_t row)
{
    int64_t group = shape->heads / shape->kv_heads;
    return row / group * stride + (kv_head * group + row % group) * shape->head_dim;
}

static inline int64_t fam_round_up(int64_t value, int64_t multiple)
{
    return (value + multiple - 1) / multiple * multiple;
}

/* Cuts a piece of scratch off, 64-byte aligned. With a NULL base it only counts. */
static inline void *fam_carve(uint8_t *base, size_t *used, size_t bytes)
{
    void *piece = base ? base + *used : NULL;
    *used += (bytes + 63) & ~(size_t)63;
    return piece;
}

/* One per version and arithmetic type; the files are named after the version. */
extern const fam_cpu_attention_kernel fam_cpu_attention_f32_portable;
extern const fam_cpu_attention_kernel fam_cpu_attention_bf16_portable;
extern const fam_cpu_attention_kernel fam_cpu_attention_f32_avx2;
extern const fam_cpu_attention_kernel fam_cpu_attention_bf16_avx2;
extern const fam_cpu_attention_kernel fam_cpu_attention_f32_avx512;
extern const fam_cpu_attention_kernel fam_cpu_attention_bf16_avx512;
extern const fam_cpu_attention_kernel fam_cpu_attention_bf16_avx512bf16;
extern const fam_cpu_attention_kernel fam_cpu_attention_bf16_amx;

/* backward_attention*.c */
fam_cpu_attention_back fam_cpu_attention_backward_portable, fam_cpu_attention_backward_avx2,
    fam_cpu_attention_backward_avx512, fam_cpu_attention_backward_amx;

/* attention_avx512bf16.c: `partial`, which AMX has no better version of. */
void fam_cpu_attention_partial_bf16(float *out, const fam_attention_job *job, const fam_attention_shape *shape,
                                    int64_t kv_head, int64_t query, int64_t key_begin, int64_t key_end, void *scratch);

/* attention_op.c: the operator on its own. scratch: FAM_ATTENTION_SCRATCH_MAX bytes for each thread of the pool;
 * partial: FAM_CPU_PARTIAL_BYTES. */
typedef struct fam_cpu_attention_call {
    const fam_cpu_attention_kernel *kernel;
    fam_dtype dtype;
    fam_pool *pool;
    uint8_t *scratch;
    float *partial;
} fam_cpu_attention_call;

void fam_cpu_attention_all(const fam_cpu_attention_call *call, const fam_attention_job *jobs, int count,
                           const fam_attention_shape *shape);

#endif
