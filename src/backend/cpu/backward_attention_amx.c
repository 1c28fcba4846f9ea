/*
 * backend/cpu/backward_attention_amx.c: what flows back through attention in bfloat16 with AMX tiles.
 *
 * As in backward_attention_rows.h a block of 32 rows goes over all its keys, here in groups of 32. Weights, dout and the
 * gradients of scores are rounded to bfloat16 for the products, whose sums are float32. Layouts of the operands:
 *   words  [D/2][32 rows]: pairs of dimensions; scores = K words, dP = V words, keys and values read in place
 *   pairs  [16 pairs of rows][D]: dV += P pairs, dK += dS pairs, P and dS as [32 keys][32 rows]
 *   turned [D][32 keys]: dQ (across) = turned dS, dS as [16 pairs of keys][32 rows]
 */
#include "backend/cpu/attention_vec512.h"

enum { SPREAD = 12 };

#include "backend/cpu/attention_pairs.h"
#include "backend/cpu/attention_tiles.h"
#include "backend/cpu/backward_attention_rows.h"

enum { ROWS = 32, GROUP = 32, ROW_BYTES = ROWS * 4, BATCH_MAX = 64, DIM_MAX = 256 };

typedef struct tile_call {
    back_call back; /* s: [batch] groups of [GROUP][ROWS]; its spread operands are not used */
    uint16_t *rounded;             /* [ROWS][D] */
    float *q_words, *dout_words;
    uint32_t *q_pairs, *dout_pairs;
    uint16_t *weights, *dscores;   /* [GROUP][ROWS] */
    uint16_t *k_tail, *v_tail;     /* [GROUP][D]: a range's last keys, if they do not fill a group */
    float *sum_tail;               /* [GROUP][D] */
    uint8_t *turned;               /* [batch][D] of GROUP_BYTES */
    int64_t batch;                 /* groups at a time */
    bool turned_once;              /* `turned` holds all groups of the job */
} tile_call;

/* 32 keys of a range, counted from the first that the job sees; `valid` of them are the job's. */
typedef struct key_group {
    key_tile tile;
    int64_t valid;
    uint8_t *turned;
} key_group;

/* Where the next group of a block, or of the whole job, is. */
typedef struct group_cursor {
    int range;
    int64_t group;  /* in the range, -1: not yet begun */
    int64_t before; /* groups of the job in front of the range */
} group_cursor;

/* ---- groups --------------------------------------------------------------------------------------------------------- */

static fam_key_span job_span(const tile_call *call, int r)
{
    return fam_queries_see(&call->back.job->forward->ranges[r], 0, call->back.job->forward->queries - 1);
}

static int64_t groups_in(fam_key_span span)
{
    return span.end > span.begin ? (span.end - span.begin + GROUP - 1) / GROUP : 0;
}

static int64_t job_groups(const tile_call *call)
{
    int64_t count = 0;
    for (int r = 0; r < call->back.job->forward->range_count; r++)
        count += groups_in(job_span(call, r));
    return count;
}

/* The next `most` groups that the block sees; their scores follow each other in s. */
static int next_groups(const tile_call *call, group_cursor *at, key_group *groups, int64_t most)
{
    const back_call *back = &call->back;
    int count = 0;
    bool partial = back->row_begin + ROWS > back->row_end;
    for (; at->range < back->job->forward->range_count; at->range++, at->group = -1) {
        const fam_key_range *range = &back->job->forward->ranges[at->range];
        fam_key_span whole = job_span(call, at->range), shared, span = block_span(back, range, &shared);
        if (at->group < 0)
            at->group = span.begin > whole.begin ? (span.begin - whole.begin) / GROUP : 0;
        for (; whole.begin + at->group * GROUP < span.end && span.begin < span.end; at->group++) {
            if (count == most)
                return count;
            int64_t first = whole.begin + at->group * GROUP, left = whole.end - first;
            int64_t place = call->turned_once ? at->before + at->group : count;
            groups[count] = (key_group){
                {range, at->range, first, GROUP, partial || shared.begin > first || shared.end < first + GROUP,
                 back->s + count * GROUP * ROWS},
                left < GROUP ? left : GROUP, call->turned + (size_t)(place * back->dim) * GROUP_BYTES};
            count++;
        }
        at->before += groups_in(whole);
    }
    return count;
}

static const uint16_t *group_elements(const tile_call *call, const key_group *group, const void *from)
{
    const fam_key_range *range = group->tile.range;
    return (const uint16_t *)from + call->back.kv_head * range->head_stride + group->tile.first * call->back.dim;
}

/* The group's keys or values as 32 whole rows. */
static const uint16_t *whole_rows(const tile_call *call, const key_group *group, const void *from, uint16_t *tail)
{
    const uint16_t *rows = group_elements(call, group, from);
    size_t dim = (size_t)call->back.dim, valid = (size_t)group->valid;
    if (valid == GROUP)
        return rows;
    memcpy(tail, rows, valid * dim * sizeof *tail);
    memset(tail + valid * dim, 0, (GROUP - valid) * dim * sizeof *tail);
    return tail;
}

static void turn_group(const tile_call *call, const key_group *group)
{
    const uint16_t *k = group_elements(call, group, group->tile.range->k);
    for (int64_t dim = 0; dim < call->back.dim; dim += 32)
        transpose_values(group->turned + dim * GROUP_BYTES, k + dim, call->back.dim, group->valid, 0xffffffff);
}

static void turn_job(const tile_call *call)
{
    uint8_t *turned = call->turned;
    for (int r = 0; r < call->back.job->forward->range_count; r++) {
        const fam_key_range *range = &call->back.job->forward->ranges[r];
        fam_key_span span = job_span(call, r);
        for (int64_t first = span.begin; first < span.end; first += GROUP, turned += call->back.dim * GROUP_BYTES) {
            key_group group = {{range, r, first, GROUP, false, NULL}, span.end - first < GROUP ? span.end - first : GROUP,
                               turned};
            turn_group(call, &group);
        }
    }
}

/* ---- products --------------------------------------------------------------------------------------------------------- */

static inline void zero_sums(void)
{
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

/* Sums 0 to 3 are 32 rows of 32 floats; stride in bytes. */
static inline void load_sums(const float *from, int64_t stride)
{
    const uint8_t *lower = (const uint8_t *)from + 16 * stride;
    _tile_loadd(0, from, stride);
    _tile_loadd(1, from + 16, stride);
    _tile_loadd(2, lower, stride);
    _tile_loadd(3, lower + 64, stride);
}

static inline void store_sums(float *to, int64_t stride)
{
    uint8_t *lower = (uint8_t *)to + 16 * stride;
    _tile_stored(0, to, stride);
    _tile_stored(1, to + 16, stride);
    _tile_stored(2, lower, stride);
    _tile_stored(3, lower + 64, stride);
}

/* sums += a [32][32 bfloat16] b [16 pairs][32]; strides in bytes */
static inline void add_product(const void *a, int64_t a_stride, const void *b, int64_t b_stride)
{
    _tile_loadd(4, a, a_stride);
    _tile_loadd(6, b, b_stride);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, (const uint8_t *)b + 64, b_stride);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, (const uint8_t *)a + 16 * a_stride, a_stride);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
}

/* to [32 keys][ROWS] = elements [32 keys][D] words */
static void multiply_words(const tile_call *call, float *to, const uint16_t *elements, const float *words)
{
    zero_sums();
    for (int64_t dim = 0; dim < call->back.dim; dim += 32)
        add_product(elements + dim, call->back.dim * 2, words + dim / 2 * ROWS, ROW_BYTES);
    store_sums(to, ROW_BYTES);
}

/* to [valid keys][D] += left [32 keys][ROWS] pairs */
static void add_pairs(const tile_call *call, float *to, int64_t valid, const uint16_t *left, const uint32_t *pairs)
{
    int64_t width = call->back.dim;
    float *sums = valid < GROUP ? call->sum_tail : to;
    for (int64_t dim = 0; dim < width; dim += 32) {
        if (valid < GROUP)
            zero_sums();
        else
            load_sums(sums + dim, width * 4);
        add_product(left, ROWS * 2, pairs + dim, width * 4);
        store_sums(sums + dim, width * 4);
    }
    for (int64_t i = 0; valid < GROUP && i < valid * width; i += LANES)
        vec_store(to + i, vec_add(vec_load(to + i), vec_load(sums + i)));
}

/* dq_across += turned dscores, of all the groups; the pairs lie where the scores were. */
static void add_dq(const tile_call *call, const key_group *groups, int count)
{
    for (int64_t dim = 0; dim < call->back.dim; dim += 32) {
        load_sums(call->back.dq_across + dim * ROWS, ROW_BYTES);
        for (int i = 0; i < count; i++)
            add_product(groups[i].turned + dim * GROUP_BYTES, GROUP_BYTES, groups[i].tile.s, ROW_BYTES);
        store_sums(call->back.dq_across + dim * ROWS, ROW_BYTES);
    }
}

/* ---- rows in -------------------------------------------------------------------------------------------------------- */

static void lay_out_rows(const tile_call *call, float *words, uint32_t *pairs)
{
    int64_t dim = call->back.dim;
    for (int64_t word = 0; word < dim / 2; word += LANES)
        for (int64_t row = 0; row < ROWS; row += LANES) {
            vec r[LANES];
            for (int i = 0; i < LANES; i++)
                r[i] = vec_load((const float *)(const void *)(call->rounded + (row + i) * dim) + word);
            vec_transpose(r);
            for (int i = 0; i < LANES; i++)
                vec_store(words + (word + i) * ROWS + row, r[i]);
        }
    for (int64_t row = 0; row < ROWS; row += 2)
        for (int64_t d = 0; d < dim; d += LANES) {
            const uint16_t *even = call->rounded + row * dim + d;
            _mm512_storeu_si512(pairs + row / 2 * dim + d, interleave(even, even + dim, 0xffff));
        }
}

static float product_with_out(const float *dout, const uint16_t *out, int64_t dim)
{
    vec sum = vec_set(0);
    for (int64_t d = 0; d < dim; d += LANES)
        sum = vec_fma(vec_load(dout + d), vec_widen(out + d), sum);
    return _mm512_reduce_add_ps(sum);
}

static void load_rows(const tile_call *call)
{
    const back_call *back = &call->back;
    const fam_attention_job *forward = back->job->forward;
    int64_t dim = back->dim;
    size_t row_bytes = (size_t)dim * sizeof(uint16_t);
    memset(back->dq_across, 0, (size_t)(ROWS * dim) * sizeof(float));
    for (int64_t i = 0; i < ROWS; i++) {
        int64_t row = back->row_begin + i;
        back->maximum[i] = FAM_NO_KEY_YET;
        back->sum[i] = 0;
        if (row < back->row_end)
            memcpy(call->rounded + i * dim,
                   (const uint16_t *)forward->q + fam_row_offset(back->shape, forward->q_stride, back->kv_head, row),
                   row_bytes);
        else
            memset(call->rounded + i * dim, 0, row_bytes);
    }
    lay_out_rows(call, call->q_words, call->q_pairs);
    for (int64_t i = 0; i < ROWS; i++) {
        int64_t at = fam_row_offset(back->shape, forward->out_stride, back->kv_head, back->row_begin + i);
        back->through[i] = 0;
        memset(call->rounded + i * dim, 0, row_bytes);
        if (back->row_begin + i >= back->row_end)
            continue;
        back->through[i] = -product_with_out(back->job->dout + at, (const uint16_t *)forward->out + at, dim);
        for (int64_t d = 0; d < dim; d += LANES)
            vec_narrow(call->rounded + i * dim + d, vec_load(back->job->dout + at + d));
    }
    lay_out_rows(call, call->dout_words, call->dout_pairs);
}

/* ---- a block -------------------------------------------------------------------------------------------------------- */

static void score_group(const tile_call *call, const key_group *group)
{
    multiply_words(call, group->tile.s, whole_rows(call, group, group->tile.range->k, call->k_tail), call->q_words);
    if (group->tile.masked)
        hide_unseen(&call->back, &group->tile);
}

/* Two keys' numbers for 32 rows: as rows of the left operand, and (if pairs is given) as a row of pairs. */
static inline void store_two(uint16_t *rows, float *pairs, const vec even[2], const vec odd[2])
{
    _mm512_storeu_si512(rows, (__m512i)_mm512_cvtne2ps_pbh(even[1], even[0]));
    _mm512_storeu_si512(rows + ROWS, (__m512i)_mm512_cvtne2ps_pbh(odd[1], odd[0]));
    for (int v = 0; v < 2 && pairs; v++)
        vec_store(pairs + v * LANES, pair_of(even[v], odd[v]));
}

/* From scores (or weights, if these were kept) and gradients of weights to the operands of the last three products. */
static void flow_through_group(const tile_call *call, const key_group *group)
{
    const back_call *back = &call->back;
    vec scale = vec_set(back->exponent_scale), factor = vec_set(back->shape->scale), maximum[2], share[2], through[2];
    for (int v = 0; v < 2; v++) {
        maximum[v] = vec_load(back->maximum + v * LANES);
        share[v] = vec_load(back->sum + v * LANES);
        through[v] = vec_load(back->through + v * LANES);
    }
    for (int64_t key = 0; key < GROUP; key += 2) {
        vec weight[2][2], slope[2][2];
        for (int i = 0; i < 2; i++)
            for (int v = 0; v < 2; v++) {
                int64_t at = (key + i) * ROWS + v * LANES;
                vec w = vec_load(group->tile.s + at);
                w = vec_mul(back->kept ? w : vec_exp2(vec_fms(w, scale, maximum[v])), share[v]);
                weight[i][v] = w;
                slope[i][v] = vec_mul(vec_mul(w, factor), vec_add(vec_load(back->dscore + at), through[v]));
            }
        store_two(call->weights + key * ROWS, NULL, weight[0], weight[1]);
        store_two(call->dscores + key * ROWS, group->tile.s + key / 2 * ROWS, slope[0], slope[1]);
    }
}

static void flow_back_group(const tile_call *call, const key_group *group)
{
    const back_call *back = &call->back;
    const key_tile *tile = &group->tile;
    int64_t at = back->kv_head * back->job->gradients[tile->index].head_stride + tile->first * back->dim;
    float *dk = back->job->gradients[tile->index].dk, *dv = back->job->gradients[tile->index].dv;
    if (!back->kept)
        score_group(call, group);
    multiply_words(call, back->dscore, whole_rows(call, group, tile->range->v, call->v_tail), call->dout_words);
    flow_through_group(call, group);
    if (dv)
        add_pairs(call, dv + at, group->valid, call->weights, call->dout_pairs);
    if (dk)
        add_pairs(call, dk + at, group->valid, call->dscores, call->q_pairs);
    if (back->job->dq && !call->turned_once)
        turn_group(call, group);
}

static void flow_back_rows(tile_call *call)
{
    back_call *back = &call->back;
    key_group groups[BATCH_MAX];
    group_cursor at = {.group = -1};
    int count = next_groups(call, &at, groups, call->batch);
    back->kept = call->turned_once; /* all in one batch */
    load_rows(call);
    for (; count > 0; count = back->kept ? 0 : next_groups(call, &at, groups, call->batch))
        for (int i = 0; i < count; i++) {
            score_group(call, &groups[i]);
            gather_tile(back, &groups[i].tile, !back->kept);
        }
    at = (group_cursor){.group = -1};
    count = next_groups(call, &at, groups, call->batch);
    if (back->kept)
        weigh_keys(back, back->s, count * GROUP);
    invert_sums(back);
    for (; count > 0; count = next_groups(call, &at, groups, call->batch)) {
        for (int i = 0; i < count; i++)
            flow_back_group(call, &groups[i]);
        if (back->job->dq)
            add_dq(call, groups, count);
    }
    if (back->job->dq)
        store_block(back);
}

/* ---- the kernel ------------------------------------------------------------------------------------------------------- */

static void carve_tile_call(tile_call *call, uint8_t *scratch)
{
    size_t used = 0, dim = (size_t)call->back.dim, left;
    call->rounded = fam_carve(scratch, &used, ROWS * dim * sizeof(uint16_t));
    call->q_words = fam_carve(scratch, &used, ROWS * dim * sizeof(uint16_t));
    call->dout_words = fam_carve(scratch, &used, ROWS * dim * sizeof(uint16_t));
    call->q_pairs = fam_carve(scratch, &used, ROWS * dim * sizeof(uint16_t));
    call->dout_pairs = fam_carve(scratch, &used, ROWS * dim * sizeof(uint16_t));
    call->weights = fam_carve(scratch, &used, GROUP * ROWS * sizeof(uint16_t));
    call->dscores = fam_carve(scratch, &used, GROUP * ROWS * sizeof(uint16_t));
    call->k_tail = fam_carve(scratch, &used, GROUP * dim * sizeof(uint16_t));
    call->v_tail = fam_carve(scratch, &used, GROUP * dim * sizeof(uint16_t));
    call->sum_tail = fam_carve(scratch, &used, GROUP * dim * sizeof(float));
    call->back.dq_across = fam_carve(scratch, &used, ROWS * dim * sizeof(float));
    call->back.maximum = fam_carve(scratch, &used, ROW_BYTES);
    call->back.sum = fam_carve(scratch, &used, ROW_BYTES);
    call->back.through = fam_carve(scratch, &used, ROW_BYTES);
    call->back.dscore = fam_carve(scratch, &used, GROUP * ROW_BYTES);
    left = FAM_ATTENTION_SCRATCH_MAX - used;
    call->batch = (int64_t)(left / (GROUP * ROW_BYTES + dim * GROUP_BYTES));
    call->batch = call->batch > BATCH_MAX ? BATCH_MAX : call->batch;
    call->back.s = fam_carve(scratch, &used, (size_t)call->batch * GROUP * ROW_BYTES);
    call->turned = fam_carve(scratch, &used, (size_t)call->batch * dim * GROUP_BYTES);
}

void fam_cpu_attention_backward_amx(const fam_attention_backward_job *job, const fam_attention_shape *shape,
                                    int64_t kv_head, fam_dtype dtype, void *scratch)
{
    int64_t rows = job->forward->queries * (shape->heads / shape->kv_heads);
    tile_call call = {.back = {.job = job, .shape = shape, .kv_head = kv_head, .row_end = rows, .dim = shape->head_dim,
                               .rows = ROWS, .keys = GROUP, .dtype = dtype,
                               .exponent_scale = shape->scale * FAM_LOG2_E}};
    if (shape->head_dim % 32 != 0 || shape->head_dim > DIM_MAX) {
        attention_backward(job, shape, kv_head, dtype, scratch);
        return;
    }
    carve_tile_call(&call, scratch);
    call.turned_once = job_groups(&call) <= call.batch;
    if (call.turned_once && job->dq)
        turn_job(&call);
    begin_tiles();
    for (; call.back.row_begin < rows; call.back.row_begin += ROWS)
        flow_back_rows(&call);
    _tile_release();
}
