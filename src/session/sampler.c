/*
 * session/sampler.c: see sampler.h.
 *
 * Packed form, little-endian:
 *   temperature, top_p, min_p, repetition, presence, frequency (6 f64), top_k (i64), seed (u64), random state (4 u64),
 *   recent count (u32), bias count (u32), generated count (u32), zero (u32),
 *   recent ids (i32 each, oldest first), biases (i32 id, f32 each), generated (i32 id, i32 times each)
 */
#include "session/sampler.h"

#include <math.h>
#include <string.h>

#include "base/bytes.h"
#include "base/random.h"

enum { RECENT_MAX = 1024, TIMES_MAX = 1 << 30 };

typedef struct candidate {
    float logit;
    int32_t id;
} candidate;

struct fam_sampler {
    fam_memory *memory;
    int64_t vocab_size;
    fam_sampling settings; /* without the bias pointer */
    fam_logit_bias *bias;
    size_t bias_count;
    fam_random random;
    int32_t recent[RECENT_MAX]; /* a ring: the last tokens of the session */
    size_t recent_count, recent_next;
    uint16_t *recent_times;     /* [V]: how often each id is in the ring */
    int32_t *generated_times;   /* [V]: since the last feed of the caller */
    int64_t generated_distinct;
    uint8_t *forbidden;         /* [V]: 1 for ids that are never drawn */
    bool any_forbidden;
    float *adjusted;            /* [V] */
    candidate *candidates;      /* [V] */
};

void fam_sampling_init_sized(fam_sampling *sampling, size_t size)
{
    const fam_sampling defaults = {.top_p = 1, .repetition_penalty = 1};
    memset(sampling, 0, size);
    memcpy(sampling, &defaults, size < sizeof defaults ? size : sizeof defaults);
    sampling->size = size;
}

fam_status fam_sampler_create(fam_sampler **out, fam_memory *memory, int64_t vocab_size, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_sampler *sampler = NULL;
    size_t n = (size_t)vocab_size;
    FAM_TRY_ALLOC(sampler, fam_alloc_zeroed(memory, sizeof *sampler), "sampler");
    sampler->memory = memory;
    sampler->vocab_size = vocab_size;
    FAM_TRY_ALLOC(sampler->recent_times, fam_alloc_array(memory, n, sizeof *sampler->recent_times), "sampler");
    FAM_TRY_ALLOC(sampler->generated_times, fam_alloc_array(memory, n, sizeof *sampler->generated_times), "sampler");
    FAM_TRY_ALLOC(sampler->forbidden, fam_alloc_array(memory, n, sizeof *sampler->forbidden), "sampler");
    FAM_TRY_ALLOC(sampler->adjusted, fam_alloc_array(memory, n, sizeof *sampler->adjusted), "sampler");
    FAM_TRY_ALLOC(sampler->candidates, fam_alloc_array(memory, n, sizeof *sampler->candidates), "sampler");
    fam_sampling_init(&sampler->settings);
    fam_random_seed(&sampler->random, 0);
    *out = sampler;
    sampler = NULL;
done:
    fam_sampler_free(sampler);
    return status;
}

void fam_sampler_free(fam_sampler *sampler)
{
    if (!sampler)
        return;
    fam_free(sampler->memory, sampler->bias);
    fam_free(sampler->memory, sampler->recent_times);
    fam_free(sampler->memory, sampler->generated_times);
    fam_free(sampler->memory, sampler->forbidden);
    fam_free(sampler->memory, sampler->adjusted);
    fam_free(sampler->memory, sampler->candidates);
    fam_free(sampler->memory, sampler);
}

static fam_status copy_bias(fam_logit_bias **out, fam_memory *memory, const fam_logit_bias *bias, size_t count,
                            fam_error *error)
{
    *out = NULL;
    if (count == 0)
        return FAM_OK;
    *out = fam_alloc_array(memory, count, sizeof **out);
    if (!*out)
        return fam_out_of_memory(error, "logit bias");
    memcpy(*out, bias, count * sizeof **out);
    return FAM_OK;
}

fam_status fam_sampler_copy(fam_sampler *to, const fam_sampler *from, fam_error *error)
{
    fam_logit_bias *bias;
    fam_status status = copy_bias(&bias, to->memory, from->bias, from->bias_count, error);
    if (status != FAM_OK)
        return status;
    fam_free(to->memory, to->bias);
    to->bias = bias;
    to->bias_count = from->bias_count;
    to->settings = from->settings;
    to->random = from->random;
    memcpy(to->recent, from->recent, sizeof to->recent);
    to->recent_count = from->recent_count;
    to->recent_next = from->recent_next;
    memcpy(to->recent_times, from->recent_times, (size_t)from->vocab_size * sizeof *from->recent_times);
    memcpy(to->generated_times, from->generated_times, (size_t)from->vocab_size * sizeof *from->generated_times);
    to->generated_distinct = from->generated_distinct;
    return FAM_OK;
}

/* ---- settings ----------------------------------------------------------------------------------------------------- */

/* NaN fails every comparison, so the conditions are written as what must hold. */
static fam_status check_settings(const fam_sampling *s, int64_t vocab_size, const char *where, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_status bad = FAM_STATUS_INVALID_ARGUMENT;
    FAM_FAIL_IF(!(s->temperature >= 0 && s->temperature <= 1000), bad, "%s: temperature: found %g, need 0 to 1000",
                where, s->temperature);
    FAM_FAIL_IF(s->top_k < 0, bad, "%s: top_k: found %lld, need 0 or more", where, (long long)s->top_k);
    FAM_FAIL_IF(!(s->top_p > 0 && s->top_p <= 1), bad, "%s: top_p: found %g, need more than 0, at most 1", where,
                s->top_p);
    FAM_FAIL_IF(!(s->min_p >= 0 && s->min_p <= 1), bad, "%s: min_p: found %g, need 0 to 1", where, s->min_p);
    FAM_FAIL_IF(!(s->repetition_penalty > 0 && s->repetition_penalty <= 1000), bad,
                "%s: repetition_penalty: found %g, need more than 0, at most 1000", where, s->repetition_penalty);
    FAM_FAIL_IF(!(fabs(s->presence_penalty) <= 1000), bad, "%s: presence_penalty: found %g, need -1000 to 1000", where,
                s->presence_penalty);
    FAM_FAIL_IF(!(fabs(s->frequency_penalty) <= 1000), bad, "%s: frequency_penalty: found %g, need -1000 to 1000",
                where, s->frequency_penalty);
    FAM_FAIL_IF(s->logit_bias_count > (size_t)vocab_size, bad, "%s: logit_bias: found %zu entries, need at most %lld",
                where, s->logit_bias_count, (long long)vocab_size);
    for (size_t i = 0; i < s->logit_bias_count; i++) {
        int32_t id = s->logit_bias[i].id;
        FAM_FAIL_IF(id < 0 || id >= vocab_size, bad, "%s: logit_bias: id: found %d, need 0 to %lld", where, id,
                    (long long)vocab_size - 1);
        FAM_FAIL_IF(isnan(s->logit_bias[i].bias) || s->logit_bias[i].bias == INFINITY, bad,
                    "%s: logit_bias: value of id %d: found %g, need a number below infinity", where, id,
                    (double)s->logit_bias[i].bias);
    }
done:
    return status;
}

fam_status fam_sampler_set(fam_sampler *sampler, const fam_sampling *sampling, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_logit_bias *bias;
    FAM_TRY(check_settings(sampling, sampler->vocab_size, "sampling", error));
    FAM_TRY(copy_bias(&bias, sampler->memory, sampling->logit_bias, sampling->logit_bias_count, error));
    fam_free(sampler->memory, sampler->bias);
    sampler->bias = bias;
    sampler->bias_count = sampling->logit_bias_count;
    sampler->settings = *sampling;
    sampler->settings.logit_bias = NULL;
    fam_random_seed(&sampler->random, sampling->seed);
done:
    return status;
}

/* ---- what was seen ------------------------------------------------------------------------------------------------ */

void fam_sampler_begin_feed(fam_sampler *sampler)
{
    if (sampler->generated_distinct > 0)
        memset(sampler->generated_times, 0, (size_t)sampler->vocab_size * sizeof *sampler->generated_times);
    sampler->generated_distinct = 0;
}

void fam_sampler_forbid(fam_sampler *sampler, int32_t token)
{
    sampler->forbidden[token] = 1;
    sampler->any_forbidden = true;
}

void fam_sampler_reset(fam_sampler *sampler)
{
    fam_random_seed(&sampler->random, sampler->settings.seed);
    fam_sampler_begin_feed(sampler);
    memset(sampler->recent_times, 0, (size_t)sampler->vocab_size * sizeof *sampler->recent_times);
    sampler->recent_count = sampler->recent_next = 0;
}

void fam_sampler_saw(fam_sampler *sampler, int32_t token)
{
    if (sampler->recent_count == RECENT_MAX)
        sampler->recent_times[sampler->recent[sampler->recent_next]]--;
    else
        sampler->recent_count++;
    sampler->recent[sampler->recent_next] = token;
    sampler->recent_next = (sampler->recent_next + 1) % RECENT_MAX;
    sampler->recent_times[token]++;
}

void fam_sampler_generated(fam_sampler *sampler, int32_t token)
{
    int32_t *times = &sampler->generated_times[token];
    sampler->generated_distinct += *times == 0;
    *times += *times < TIMES_MAX;
}

/* ---- drawing ------------------------------------------------------------------------------------------------------ */

/* Whether a goes before b: the larger logit, then the lower id. */
static bool before(candidate a, candidate b)
{
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

static void sift_down(candidate *heap, size_t count, size_t at)
{
    for (;;) {
        size_t best = at, left = 2 * at + 1, right = left + 1;
        if (left < count && before(heap[left], heap[best]))
            best = left;
        if (right < count && before(heap[right], heap[best]))
            best = right;
        if (best == at)
            return;
        candidate swap = heap[at];
        heap[at] = heap[best];
        heap[best] = swap;
        at = best;
    }
}

/* Bias and penalties, into sampler->adjusted. */
static void adjust(fam_sampler *sampler, const float *logits)
{
    const fam_sampling *s = &sampler->settings;
    float *out = sampler->adjusted;
    memcpy(out, logits, (size_t)sampler->vocab_size * sizeof *out);
    for (int64_t id = 0; sampler->any_forbidden && id < sampler->vocab_size; id++)
        if (sampler->forbidden[id])
            out[id] = -INFINITY;
    for (size_t i = 0; i < sampler->bias_count; i++)
        out[sampler->bias[i].id] += sampler->bias[i].bias;
    if (s->repetition_penalty != 1) {
        float penalty = (float)s->repetition_penalty;
        for (size_t i = 0; i < sampler->recent_count; i++) {
            int32_t id = sampler->recent[i];
            if (sampler->recent_times[id] & 0x8000)
                continue; /* done: an id may be in the ring many times */
            sampler->recent_times[id] |= 0x8000;
            out[id] = out[id] > 0 ? out[id] / penalty : out[id] * penalty;
        }
        for (size_t i = 0; i < sampler->recent_count; i++)
            sampler->recent_times[sampler->recent[i]] &= 0x7fff;
    }
    if ((s->presence_penalty != 0 || s->frequency_penalty != 0) && sampler->generated_distinct > 0)
        for (int64_t id = 0; id < sampler->vocab_size; id++)
            if (sampler->generated_times[id] > 0)
                out[id] -= (float)(s->presence_penalty + s->frequency_penalty * sampler->generated_times[id]);
}

_Static_assert(RECENT_MAX < 0x8000, "the top bit of recent_times marks an id as done");

/* The largest logit, ties to the lowest id; -1 if none is finite or one is NaN. */
static int32_t largest(const float *logits, int64_t count)
{
    int32_t best = -1;
    for (int64_t id = 0; id < count; id++) {
        if (isnan(logits[id]) || logits[id] == INFINITY)
            return -1;
        if (isfinite(logits[id]) && (best < 0 || logits[id] > logits[best]))
            best = (int32_t)id;
    }
    return best;
}

/* A candidate's share before normalising; the best one's is 1. The division is in double, so that a temperature near 0
 * makes no NaN; below -100 a float's exponential is 0. */
static double weight_of(const fam_sampler *sampler, candidate c, float top)
{
    double exponent = ((double)c.logit - (double)top) / sampler->settings.temperature;
    return exponent < -100 ? 0 : (double)expf((float)exponent);
}

/* All that is not forbidden, by id. Returns their number. */
static size_t list_candidates(fam_sampler *sampler)
{
    size_t count = 0;
    for (int64_t id = 0; id < sampler->vocab_size; id++)
        if (sampler->adjusted[id] != -INFINITY)
            sampler->candidates[count++] = (candidate){.logit = sampler->adjusted[id], .id = (int32_t)id};
    return count;
}

static double sum_of_weights(const fam_sampler *sampler, size_t count, float top)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += weight_of(sampler, sampler->candidates[i], top);
    return sum;
}

/* Brings the best of `count` candidates to the front, best first: `most` of them, or fewer if their weights reach
 * `enough` before. A heap, since few of many are wanted. Returns their number. */
static size_t bring_best_first(fam_sampler *sampler, size_t count, size_t most, double enough, float top)
{
    candidate *list = sampler->candidates;
    size_t left = count;
    double sum = 0;
    for (size_t i = count / 2; i-- > 0;)
        sift_down(list, count, i);
    while (count - left < most && sum < enough) { /* the best go to the array's end, the first of them last */
        candidate best = list[0];
        list[0] = list[--left];
        sift_down(list, left, 0);
        list[left] = best;
        sum += weight_of(sampler, best, top);
    }
    size_t found = count - left;
    for (size_t i = 0; i < found / 2; i++) {
        candidate swap = list[left + i];
        list[left + i] = list[count - 1 - i];
        list[count - 1 - i] = swap;
    }
    memmove(list, list + left, found * sizeof *list);
    return found;
}

/* Leaves the candidates that the filters let through in sampler->candidates. Returns their number; *sum is that of their
 * weights. */
static size_t filter(fam_sampler *sampler, float top, double *sum)
{
    const fam_sampling *s = &sampler->settings;
    candidate *list = sampler->candidates;
    size_t count = list_candidates(sampler), kept = 0;
    double enough = INFINITY; /* the weight at which top_p is satisfied: its share of what top_k has left */
    if (s->top_k > 0 && (size_t)s->top_k < count) {
        count = bring_best_first(sampler, count, (size_t)s->top_k, INFINITY, top);
        enough = s->top_p < 1 ? s->top_p * sum_of_weights(sampler, count, top) : INFINITY;
    } else if (s->top_p < 1) {
        enough = s->top_p * sum_of_weights(sampler, count, top);
        count = bring_best_first(sampler, count, count, enough, top);
    }
    *sum = 0;
    for (size_t i = 0; i < count && *sum < enough; i++) {
        double weight = weight_of(sampler, list[i], top);
        if (weight < s->min_p)
            continue;
        *sum += weight;
        list[kept++] = list[i];
    }
    return kept;
}

fam_status fam_sampler_draw(fam_sampler *sampler, int32_t *token, const float *logits, fam_error *error)
{
    adjust(sampler, logits);
    int32_t best = largest(sampler->adjusted, sampler->vocab_size);
    if (best < 0)
        return fam_error_set(error, FAM_STATUS_FAILED, "logits: found NaN, infinity or nothing finite, need numbers");
    *token = best;
    if (sampler->settings.temperature == 0)
        return FAM_OK;
    double sum = 0;
    float top = sampler->adjusted[best];
    size_t count = filter(sampler, top, &sum);
    double at = fam_random_uniform(&sampler->random) * sum;
    for (size_t i = 0; i < count && at >= 0; i++) {
        *token = sampler->candidates[i].id;
        at -= weight_of(sampler, sampler->candidates[i], top);
    }
    return FAM_OK;
}

/* ---- packing ------------------------------------------------------------------------------------------------------ */

enum { PACKED_FIXED = 6 * 8 + 8 + 8 + 4 * 8 + 4 * 4 };

size_t fam_sampler_packed_bytes(const fam_sampler *sampler)
{
    return PACKED_FIXED + 4 * sampler->recent_count + 8 * sampler->bias_count +
           8 * (size_t)sampler->generated_distinct;
}

static uint8_t *put(uint8_t *out, const void *data, size_t size)
{
    memcpy(out, data, size);
    return out + size;
}

void fam_sampler_pack(const fam_sampler *sampler, uint8_t *out)
{
    const fam_sampling *s = &sampler->settings;
    const double reals[6] = {s->temperature,        s->top_p,            s->min_p,
                             s->repetition_penalty, s->presence_penalty, s->frequency_penalty};
    const uint32_t counts[4] = {(uint32_t)sampler->recent_count, (uint32_t)sampler->bias_count,
                                (uint32_t)sampler->generated_distinct, 0};
    out = put(out, reals, sizeof reals);
    out = put(out, &s->top_k, 8);
    out = put(out, &s->seed, 8);
    out = put(out, sampler->random.word, 32);
    out = put(out, counts, sizeof counts);
    size_t oldest = sampler->recent_count == RECENT_MAX ? sampler->recent_next : 0;
    for (size_t i = 0; i < sampler->recent_count; i++)
        out = put(out, &sampler->recent[(oldest + i) % RECENT_MAX], 4);
    for (size_t i = 0; i < sampler->bias_count; i++) {
        out = put(out, &sampler->bias[i].id, 4);
        out = put(out, &sampler->bias[i].bias, 4);
    }
    for (int32_t id = 0; id < sampler->vocab_size; id++) {
        if (sampler->generated_times[id] > 0) {
            out = put(out, &id, 4);
            out = put(out, &sampler->generated_times[id], 4);
        }
    }
}

static fam_status check_id(const char *name, const char *what, int32_t id, int64_t vocab_size, fam_error *error)
{
    if (id >= 0 && id < vocab_size)
        return FAM_OK;
    return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s: session file: sampler: %s: found id %d, need 0 to %lld",
                         name, what, id, (long long)vocab_size - 1);
}

fam_status fam_sampler_unpack(fam_sampler *sampler, const char *name, const uint8_t *data, size_t size,
                              fam_error *error)
{
    fam_status status = FAM_OK;
    fam_cursor cursor = {.data = data, .size = size};
    double reals[6];
    uint32_t counts[4];
    fam_sampling s;
    fam_random random;
    fam_logit_bias *bias = NULL;
    fam_sampling_init(&s);
    bool whole = fam_take(&cursor, reals, sizeof reals) && fam_take(&cursor, &s.top_k, 8) &&
                 fam_take(&cursor, &s.seed, 8) && fam_take(&cursor, random.word, 32) &&
                 fam_take(&cursor, counts, sizeof counts);
    FAM_FAIL_IF(!whole || counts[0] > RECENT_MAX ||
                    fam_cursor_remaining(&cursor) != 4 * (uint64_t)counts[0] + 8 * ((uint64_t)counts[1] + counts[2]),
                FAM_STATUS_BAD_FORMAT, "%s: session file: sampler: found %zu bytes, which its counts do not explain",
                name, size);
    const uint8_t *recent = data + cursor.at, *biases = recent + 4 * (size_t)counts[0],
                  *generated = biases + 8 * (size_t)counts[1];
    for (size_t i = 0; i < counts[0]; i++)
        FAM_TRY(check_id(name, "recent token", (int32_t)fam_read_u32(recent + 4 * i), sampler->vocab_size, error));
    int64_t last = -1;
    for (size_t i = 0; i < counts[2]; i++) {
        int32_t id = (int32_t)fam_read_u32(generated + 8 * i), times = (int32_t)fam_read_u32(generated + 8 * i + 4);
        FAM_TRY(check_id(name, "generated token", id, sampler->vocab_size, error));
        FAM_FAIL_IF(id <= last || times < 1 || times > TIMES_MAX, FAM_STATUS_BAD_FORMAT,
                    "%s: session file: sampler: generated token: found id %d %d times after id %lld", name, id, times,
                    (long long)last);
        last = id;
    }
    if (counts[1] > 0)
        FAM_TRY_ALLOC(bias, fam_alloc_array(sampler->memory, counts[1], sizeof *bias), name);
    for (size_t i = 0; i < counts[1]; i++)
        bias[i] = (fam_logit_bias){.id = (int32_t)fam_read_u32(biases + 8 * i),
                                   .bias = fam_read_f32(biases + 8 * i + 4)};
    s.temperature = reals[0], s.top_p = reals[1], s.min_p = reals[2];
    s.repetition_penalty = reals[3], s.presence_penalty = reals[4], s.frequency_penalty = reals[5];
    s.logit_bias = bias;
    s.logit_bias_count = counts[1];
    status = check_settings(&s, sampler->vocab_size, name, error);
    if (status != FAM_OK) {
        status = fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s", error ? error->message : "");
        goto done;
    }

    fam_sampler_reset(sampler);
    for (size_t i = 0; i < counts[0]; i++)
        fam_sampler_saw(sampler, (int32_t)fam_read_u32(recent + 4 * i));
    for (size_t i = 0; i < counts[2]; i++)
        sampler->generated_times[fam_read_u32(generated + 8 * i)] = (int32_t)fam_read_u32(generated + 8 * i + 4);
    sampler->generated_distinct = counts[2];
    fam_free(sampler->memory, sampler->bias);
    sampler->bias = bias;
    sampler->bias_count = counts[1];
    s.logit_bias = NULL;
    sampler->settings = s;
    sampler->random = random;
    bias = NULL;
done:
    fam_free(sampler->memory, bias);
    return status;
}
