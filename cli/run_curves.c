/*
 * cli/run_curves.c: see run_curves.h.
 */
#include "run_curves.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "message.h"

static const int64_t STEP_MAX = (int64_t)1 << 53; /* exact as a double */

/* Where a line is read, for messages. */
typedef struct reading {
    run_curves *curves;
    const char *name;
    int64_t line;
    fam_error *error;
} reading;

static fam_status bad(const reading *r, const char *key, const char *need)
{
    return failure(r->error, FAM_STATUS_BAD_FORMAT, "%s: line %lld: \"%s\": found something else, need %s", r->name,
                   (long long)r->line, key, need);
}

/* ---- typed members ---------------------------------------------------------------------------------------------- */

/* NaN if it is null or not there. */
static fam_status real_member(double *out, const reading *r, const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    *out = json_is_number(value) ? json_number_value(value) : NAN;
    return !value || json_is_null(value) || json_is_number(value) ? FAM_OK : bad(r, key, "a number or null");
}

/* 0 if it is not there. */
static fam_status count_member(int64_t *out, const reading *r, const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    *out = json_integer_value(value);
    return !value || (json_is_integer(value) && *out >= 0 && *out <= STEP_MAX)
               ? FAM_OK
               : bad(r, key, "an integer from 0 to 2^53");
}

static fam_status flag_member(bool *out, const reading *r, const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    *out = json_is_true(value);
    return !value || json_is_boolean(value) ? FAM_OK : bad(r, key, "true or false");
}

/* ---- buckets ---------------------------------------------------------------------------------------------------- */

static void merge(curve_bucket *into, const curve_bucket *other)
{
    if (other->count == 0)
        return;
    if (into->count == 0 || other->low < into->low) {
        into->low = other->low;
        into->low_step = other->low_step;
    }
    if (into->count == 0 || other->high > into->high) {
        into->high = other->high;
        into->high_step = other->high_step;
    }
    into->sum += other->sum;
    into->count += other->count;
}

/* Twice as many steps in each bucket. */
static void widen(run_curves *c)
{
    for (int id = 0; id < CURVE_COUNT; id++) {
        curve_bucket *buckets = c->buckets[id];
        for (int64_t b = 0; b < CURVE_BUCKETS / 2; b++) {
            curve_bucket both = buckets[2 * b];
            merge(&both, &buckets[2 * b + 1]);
            buckets[b] = both;
        }
        memset(buckets + CURVE_BUCKETS / 2, 0, CURVE_BUCKETS / 2 * sizeof *buckets);
    }
    for (int64_t b = 0; b < CURVE_BUCKETS; b++) {
        bool kept = b < CURVE_BUCKETS / 2;
        c->clipped[b] = kept ? c->clipped[2 * b] + c->clipped[2 * b + 1] : 0;
        c->skipped[b] = kept ? c->skipped[2 * b] + c->skipped[2 * b + 1] : 0;
    }
    c->width *= 2;
}

static void add(run_curves *c, curve_id id, int64_t step, double value)
{
    if (!isfinite(value))
        return;
    merge(&c->buckets[id][step / c->width], &(curve_bucket){1, value, value, value, step, step});
}

/* ---- validation ------------------------------------------------------------------------------------------------- */

static fam_status curve_of(validation_curve **out, const reading *r, const char *name)
{
    run_curves *c = r->curves;
    char cut[CURVE_NAME_BYTES];
    snprintf(cut, sizeof cut, "%s", name);
    for (int64_t i = 0; i < c->validation_count; i++) {
        if (strcmp(c->validations[i]->name, cut) == 0) {
            *out = c->validations[i];
            return FAM_OK;
        }
    }
    *out = NULL;
    if (c->validation_count == CURVE_VALIDATIONS) {
        c->validations_left_out++;
        return FAM_OK;
    }
    validation_curve *curve = calloc(1, sizeof *curve);
    if (!curve)
        return failure(r->error, FAM_STATUS_OUT_OF_MEMORY, "%s: out of memory", r->name);
    memcpy(curve->name, cut, sizeof cut);
    curve->stride = 1;
    c->validations[c->validation_count++] = *out = curve;
    return FAM_OK;
}

static void add_point(validation_curve *curve, const validation_point *point)
{
    /* The newest is always there: unless it is one of the kept ones, the next one takes its place. */
    if (curve->count > 0 && (curve->seen - 1) % curve->stride != 0)
        curve->count--;
    if (curve->count == CURVE_VALIDATION_POINTS) {
        for (int64_t i = 0; i < CURVE_VALIDATION_POINTS / 2; i++)
            curve->points[i] = curve->points[2 * i];
        curve->count = CURVE_VALIDATION_POINTS / 2;
        curve->stride *= 2;
    }
    curve->points[curve->count++] = *point;
    curve->seen++;
}

static fam_status read_validation(const reading *r, const json_t *list, int64_t step)
{
    fam_status status = FAM_OK;
    if (list && !json_is_array(list))
        return bad(r, "validation", "an array");
    for (size_t i = 0; i < json_array_size(list) && status == FAM_OK; i++) {
        const json_t *entry = json_array_get(list, i), *name = json_object_get(entry, "name");
        validation_point p = {.step = step};
        validation_curve *curve = NULL;
        if (!json_is_object(entry))
            return bad(r, "validation", "objects in it");
        if (!json_is_string(name))
            return bad(r, "validation: name", "a string");
        if ((status = count_member(&p.sequences, r, entry, "sequences")) == FAM_OK &&
            (status = count_member(&p.blocks, r, entry, "blocks")) == FAM_OK &&
            (status = real_member(&p.loss, r, entry, "loss")) == FAM_OK &&
            (status = real_member(&p.accuracy, r, entry, "accuracy")) == FAM_OK &&
            (status = real_member(&p.exact, r, entry, "exact")) == FAM_OK)
            status = curve_of(&curve, r, json_string_value(name));
        if (status == FAM_OK && curve)
            add_point(curve, &p);
    }
    return status;
}

/* ---- lines ------------------------------------------------------------------------------------------------------ */

typedef struct step_line {
    int64_t step, tokens, blocks, level, answers;
    double seconds, reals[CURVE_COUNT];
    bool clipped, skipped, promoted;
} step_line;

static fam_status read_members(step_line *out, const reading *r, const json_t *object)
{
    static const struct {
        const char *key;
        curve_id id;
    } reals[] = {{"loss", CURVE_LOSS},
                 {"accuracy", CURVE_ACCURACY},
                 {"gradient_norm", CURVE_GRADIENT_NORM},
                 {"rate", CURVE_RATE},
                 {"prompt_rate", CURVE_PROMPT_RATE}};
    fam_status status = FAM_OK;
    for (size_t i = 0; i < sizeof reals / sizeof *reals && status == FAM_OK; i++)
        status = real_member(&out->reals[reals[i].id], r, object, reals[i].key);
    if (status == FAM_OK && (status = count_member(&out->step, r, object, "step")) == FAM_OK &&
        (status = count_member(&out->tokens, r, object, "tokens")) == FAM_OK &&
        (status = count_member(&out->blocks, r, object, "blocks")) == FAM_OK &&
        (status = count_member(&out->level, r, object, "level")) == FAM_OK &&
        (status = count_member(&out->answers, r, object, "answer_tokens")) == FAM_OK &&
        (status = real_member(&out->seconds, r, object, "seconds")) == FAM_OK &&
        (status = flag_member(&out->clipped, r, object, "clipped")) == FAM_OK &&
        (status = flag_member(&out->skipped, r, object, "skipped")) == FAM_OK)
        status = flag_member(&out->promoted, r, object, "promoted");
    if (status == FAM_OK && out->step == 0)
        status = bad(r, "step", "an integer of at least 1");
    return status;
}

static void take(run_curves *c, const step_line *line)
{
    while (line->step / c->width >= CURVE_BUCKETS)
        widen(c);
    int64_t bucket = line->step / c->width;
    add(c, CURVE_LOSS, line->step, line->reals[CURVE_LOSS]);
    add(c, CURVE_ACCURACY, line->step, line->reals[CURVE_ACCURACY]);
    add(c, CURVE_GRADIENT_NORM, line->step, line->reals[CURVE_GRADIENT_NORM]);
    add(c, CURVE_RATE, line->step, line->reals[CURVE_RATE]);
    add(c, CURVE_PROMPT_RATE, line->step, line->reals[CURVE_PROMPT_RATE]);
    if (line->seconds > 0) {
        add(c, CURVE_SPEED, line->step, (double)line->tokens / line->seconds);
        c->seconds += line->seconds;
    }
    if (line->blocks > 0)
        add(c, CURVE_STEP_BLOCKS, line->step, (double)line->blocks);
    if (line->level > 0)
        add(c, CURVE_LEVEL, line->step, (double)line->level);
    c->clipped[bucket] += line->clipped;
    c->skipped[bucket] += line->skipped;
    c->clipped_steps += line->clipped;
    c->skipped_steps += line->skipped;
    if (line->promoted && c->promotion_count < CURVE_PROMOTIONS) {
        c->promotions[c->promotion_count] = line->step;
        c->promoted_to[c->promotion_count++] = line->level;
    }
    c->tokens += (double)line->tokens;
    c->lines++;
    c->last_step = line->step > c->last_step ? line->step : c->last_step;
}

/* `whole`: it had a newline behind it. */
static fam_status read_line(const reading *r, const char *text, size_t size, bool whole)
{
    json_error_t where;
    step_line line = {0};
    json_t *object = json_loadb(text, size, JSON_REJECT_DUPLICATES, &where);
    if (!object && !whole)
        return FAM_OK; /* being written just now, or cut off by a crash */
    if (!object && json_error_code(&where) == json_error_out_of_memory)
        return failure(r->error, FAM_STATUS_OUT_OF_MEMORY, "%s: out of memory", r->name);
    if (!json_is_object(object)) {
        json_decref(object);
        return failure(r->error, FAM_STATUS_BAD_FORMAT, "%s: line %lld: found no JSON object, need one", r->name,
                       (long long)r->line);
    }
    fam_status status = read_members(&line, r, object);
    if (status == FAM_OK)
        status = read_validation(r, json_object_get(object, "validation"), line.step);
    if (status == FAM_OK)
        take(r->curves, &line);
    json_decref(object);
    return status;
}

/* Lines of at most CURVE_LINE_BYTES, through a buffer of that size. */
static fam_status read_lines(reading *r, FILE *in, char *buffer)
{
    size_t length = 0;
    fam_status status = FAM_OK;
    for (bool ended = false; status == FAM_OK && !ended;) {
        size_t got = fread(buffer + length, 1, CURVE_LINE_BYTES - length, in), from = 0;
        length += got;
        ended = got == 0;
        if (ferror(in))
            return failure(r->error, FAM_STATUS_IO, "%s: cannot be read", r->name);
        for (char *end; status == FAM_OK && (end = memchr(buffer + from, '\n', length - from));) {
            r->line++;
            status = read_line(r, buffer + from, (size_t)(end - buffer) - from, true);
            from = (size_t)(end - buffer) + 1;
        }
        memmove(buffer, buffer + from, length - from);
        length -= from;
        if (status == FAM_OK && length == CURVE_LINE_BYTES)
            return failure(r->error, FAM_STATUS_BAD_FORMAT, "%s: line %lld: found %d bytes or more, need fewer",
                           r->name, (long long)r->line + 1, CURVE_LINE_BYTES);
    }
    r->line++;
    return status == FAM_OK && length > 0 ? read_line(r, buffer, length, false) : status;
}

fam_status run_curves_read(run_curves **out, FILE *in, const char *name, fam_error *error)
{
    char *buffer = malloc(CURVE_LINE_BYTES);
    reading r = {calloc(1, sizeof *r.curves), name, 0, error};
    fam_status status = FAM_OK;
    *out = r.curves;
    if (!buffer || !r.curves) {
        status = failure(error, FAM_STATUS_OUT_OF_MEMORY, "%s: out of memory", name);
    } else {
        r.curves->width = 1;
        status = read_lines(&r, in, buffer);
    }
    free(buffer);
    return status;
}

void run_curves_free(run_curves *curves)
{
    for (int64_t i = 0; curves && i < curves->validation_count; i++)
        free(curves->validations[i]);
    free(curves);
}

/* ---- looking at them -------------------------------------------------------------------------------------------- */

bool run_curves_range(const run_curves *curves, curve_id id, double *low, double *high)
{
    curve_bucket all = {0};
    for (int64_t b = 0; b < CURVE_BUCKETS; b++)
        merge(&all, &curves->buckets[id][b]);
    *low = all.low;
    *high = all.high;
    return all.count > 0;
}

double run_curves_step(const run_curves *curves, int64_t bucket)
{
    return (double)bucket * (double)curves->width + ((double)curves->width - 1) / 2;
}

/* Half of a per cent of the run, in buckets, to either side: short runs are smoothed over a few steps at least. */
static double deviation(const run_curves *curves)
{
    return fmax((double)(curves->last_step / curves->width) * 0.006, 1.5);
}

int64_t run_curves_smoothing(const run_curves *curves)
{
    double steps = deviation(curves) * sqrt(2 * 3.14159265358979) * (double)curves->width;
    double unit = steps < 100 ? 1 : pow(10, floor(log10(steps)) - 1);
    return (int64_t)(round(steps / unit) * unit); /* two digits say enough */
}

double *run_curves_smoothed(const run_curves *curves, curve_id id)
{
    double *out = malloc(CURVE_BUCKETS * sizeof *out), spread = deviation(curves);
    int64_t reach = (int64_t)ceil(3 * spread);
    for (int64_t b = 0; out && b < CURVE_BUCKETS; b++) {
        double sum = 0, weights = 0;
        for (int64_t k = b - reach < 0 ? 0 : b - reach; k <= b + reach && k < CURVE_BUCKETS; k++) {
            const curve_bucket *bucket = &curves->buckets[id][k];
            double distance = (double)(k - b) / spread;
            if (bucket->count == 0)
                continue;
            sum += exp(-distance * distance / 2) * bucket->sum;
            weights += exp(-distance * distance / 2) * (double)bucket->count;
        }
        out[b] = curves->buckets[id][b].count > 0 ? sum / weights : NAN;
    }
    return out;
}
