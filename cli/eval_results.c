/*
 * cli/eval_results.c: see eval_results.h.
 */
#include "eval_results.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "message.h"

static const int64_t COUNT_MAX = (int64_t)1 << 53; /* exact as a double */

/* The object that is read, for messages: "results.json: cells[3]". */
typedef struct reading {
    eval_results *results;
    const char *name, *array;
    size_t index;
    fam_error *error;
} reading;

static fam_status bad(const reading *r, const char *key, const char *need)
{
    char place[64] = "";
    if (r->array)
        snprintf(place, sizeof place, "%s[%zu]: ", r->array, r->index);
    return failure(r->error, FAM_STATUS_BAD_FORMAT, "%s: %s\"%s\": found something else, need %s", r->name, place, key,
                   need);
}

static fam_status no_memory(const reading *r)
{
    return failure(r->error, FAM_STATUS_OUT_OF_MEMORY, "%s: out of memory", r->name);
}

/* ---- typed members ---------------------------------------------------------------------------------------------- */

/* "" if it is null; cut if it is too long. */
static fam_status text_member(char *out, size_t size, const reading *r, const json_t *object, const char *key,
                              bool null)
{
    const json_t *value = json_object_get(object, key);
    snprintf(out, size, "%s", json_is_string(value) ? json_string_value(value) : "");
    return json_is_string(value) || (null && json_is_null(value)) ? FAM_OK
                                                                  : bad(r, key, null ? "a string or null" : "a string");
}

static fam_status count_member(int64_t *out, const reading *r, const json_t *object, const char *key, int64_t least)
{
    const json_t *value = json_object_get(object, key);
    *out = json_integer_value(value);
    if (json_is_integer(value) && *out >= least && *out <= COUNT_MAX)
        return FAM_OK;
    return bad(r, key, least ? "an integer from 1 to 2^53" : "an integer from 0 to 2^53");
}

static fam_status real_member(double *out, const reading *r, const json_t *object, const char *key, double least,
                              double most)
{
    const json_t *value = json_object_get(object, key);
    *out = json_is_number(value) ? json_number_value(value) : NAN;
    if (json_is_null(value) || (json_is_number(value) && *out >= least && *out <= most))
        return FAM_OK;
    return bad(r, key, least == 0 && most == 1 ? "null or a number from 0 to 1" : "null or a number");
}

static fam_status system_member(size_t *out, const reading *r, const json_t *object)
{
    const json_t *name = json_object_get(object, "system");
    for (size_t i = 0; json_is_string(name) && i < r->results->system_count; i++) {
        char cut[EVAL_NAME_BYTES];
        snprintf(cut, sizeof cut, "%s", json_string_value(name));
        if (strcmp(cut, r->results->systems[i].name) == 0) {
            *out = i;
            return FAM_OK;
        }
    }
    return bad(r, "system", "the name of one of the systems");
}

/* ---- the three arrays ------------------------------------------------------------------------------------------- */

/* Whether `mode` is one of the words. */
static bool names_mode(const char *words, const char *mode)
{
    size_t length = strlen(mode);
    for (const char *at = words; *at; at += strspn(at, " ")) {
        size_t word = strcspn(at, " ");
        if (word == length && strncmp(at, mode, length) == 0)
            return true;
        at += word;
    }
    return false;
}

/* "mode fam, block size 128, …": whatever is told and means something in the mode. */
static void describe(char *out, size_t size, const json_t *object)
{
    static const struct {
        const char *key, *word, *modes;
    } members[] = {{"mode", "mode ", NULL},
                   {"block_size", "block size ", "fam bswa"},
                   {"memory_segments", "segments ", "fam bswa"},
                   {"fam_length", "memory of ", "fam"},
                   {"state_norm", "norm ", "fam"},
                   {"fam_positions", "positions ", "fam"},
                   {"window", "window ", "swa"},
                   {"dtype", "", NULL},
                   {"adapter", "adapter ", NULL}};
    const char *mode = json_string_value(json_object_get(object, "mode"));
    size_t length = 0;
    out[0] = '\0';
    for (size_t i = 0; i < sizeof members / sizeof *members && length < size; i++) {
        const json_t *value = json_object_get(object, members[i].key);
        const char *comma = length ? ", " : "";
        if (mode && members[i].modes && !names_mode(members[i].modes, mode))
            continue;
        if (json_is_string(value))
            length += (size_t)snprintf(out + length, size - length, "%s%s%.200s", comma, members[i].word,
                                       json_string_value(value));
        else if (json_is_integer(value))
            length += (size_t)snprintf(out + length, size - length, "%s%s%lld", comma, members[i].word,
                                       (long long)json_integer_value(value));
    }
}

static fam_status read_system(const reading *r, const json_t *object)
{
    eval_system *s = &r->results->systems[r->index];
    const json_t *reach = json_object_get(object, "reach");
    fam_status status = text_member(s->name, sizeof s->name, r, object, "name", false);
    describe(s->about, sizeof s->about, object);
    if (status == FAM_OK && reach && !json_is_null(reach))
        status = count_member(&s->reach, r, object, "reach", 0);
    for (size_t i = 0; i < r->index && status == FAM_OK; i++) {
        if (strcmp(r->results->systems[i].name, s->name) == 0)
            status = bad(r, "name", "a name that no other system has");
    }
    r->results->system_count = r->index + 1;
    return status;
}

static fam_status read_cell(const reading *r, const json_t *object)
{
    eval_cell *c = &r->results->cells[r->index];
    double depth = NAN;
    fam_status status = system_member(&c->system, r, object);
    if (status == FAM_OK && (status = count_member(&c->length, r, object, "length", 1)) == FAM_OK &&
        (status = count_member(&c->keys, r, object, "keys", 0)) == FAM_OK &&
        (status = count_member(&c->draws, r, object, "draws", 0)) == FAM_OK &&
        (status = count_member(&c->tokens, r, object, "tokens", 0)) == FAM_OK &&
        (status = real_member(&depth, r, object, "depth", 0, 1)) == FAM_OK &&
        (status = real_member(&c->depth_from, r, object, "depth_from", 0, 1)) == FAM_OK &&
        (status = real_member(&c->depth_to, r, object, "depth_to", 0, 1)) == FAM_OK &&
        (status = real_member(&c->exact, r, object, "exact", 0, 1)) == FAM_OK &&
        (status = real_member(&c->exact_low, r, object, "exact_low", 0, 1)) == FAM_OK &&
        (status = real_member(&c->exact_high, r, object, "exact_high", 0, 1)) == FAM_OK &&
        (status = real_member(&c->parts, r, object, "parts", 0, 1)) == FAM_OK &&
        (status = real_member(&c->digits, r, object, "digits", 0, 1)) == FAM_OK &&
        (status = real_member(&c->nll, r, object, "nll", -1e300, 1e300)) == FAM_OK)
        status = real_member(&c->seconds, r, object, "seconds", 0, 1e300);
    c->one_depth = !isnan(depth);
    if (c->one_depth)
        c->depth_from = c->depth_to = depth;
    r->results->cell_count = r->index + 1;
    return status;
}

static fam_status read_range(const reading *r, const json_t *object)
{
    eval_range *range = &r->results->ranges[r->index];
    fam_status status = system_member(&range->system, r, object);
    if (status == FAM_OK && (status = count_member(&range->length, r, object, "length", 1)) == FAM_OK &&
        (status = count_member(&range->from, r, object, "from", 0)) == FAM_OK &&
        (status = count_member(&range->to, r, object, "to", range->from)) == FAM_OK &&
        (status = count_member(&range->draws, r, object, "draws", 0)) == FAM_OK &&
        (status = real_member(&range->nll, r, object, "nll", -1e300, 1e300)) == FAM_OK &&
        (status = real_member(&range->nll_low, r, object, "nll_low", -1e300, 1e300)) == FAM_OK)
        status = real_member(&range->nll_high, r, object, "nll_high", -1e300, 1e300);
    r->results->range_count = r->index + 1;
    return status;
}

/* Each object of the array `key`, in order. */
static fam_status read_array(const reading *whole, const json_t *root, const char *key, size_t most,
                             fam_status (*read)(const reading *r, const json_t *object))
{
    const json_t *array = json_object_get(root, key);
    reading r = *whole;
    fam_status status = FAM_OK;
    if (!json_is_array(array) || json_array_size(array) > most)
        return bad(whole, key, json_is_array(array) ? "fewer entries" : "an array");
    r.array = key;
    for (size_t i = 0; i < json_array_size(array) && status == FAM_OK; i++) {
        const json_t *object = json_array_get(array, i);
        r.index = i;
        status = json_is_object(object) ? read(&r, object) : bad(&r, key, "an object");
    }
    return status;
}

/* ---- the numbers asked for -------------------------------------------------------------------------------------- */

int64_t eval_cell_length(const eval_cell *cell)
{
    return cell->length;
}

int64_t eval_cell_keys(const eval_cell *cell)
{
    return cell->keys > 0 ? cell->keys : 1;
}

static int by_integer(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int by_real(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int64_t *eval_numbers(const eval_results *results, eval_number *number, size_t *count)
{
    int64_t *all = malloc((results->cell_count + 1) * sizeof *all);
    *count = 0;
    if (!all)
        return NULL;
    for (size_t i = 0; i < results->cell_count; i++)
        all[i] = number(&results->cells[i]);
    qsort(all, results->cell_count, sizeof *all, by_integer);
    for (size_t i = 0; i < results->cell_count; i++) {
        if (*count == 0 || all[*count - 1] != all[i])
            all[(*count)++] = all[i];
    }
    return all;
}

double *eval_depths(const eval_results *results, size_t *count)
{
    double *all = malloc((results->cell_count + 1) * sizeof *all);
    size_t found = 0;
    *count = 0;
    if (!all)
        return NULL;
    for (size_t i = 0; i < results->cell_count; i++) {
        if (results->cells[i].one_depth)
            all[found++] = results->cells[i].depth_from;
    }
    qsort(all, found, sizeof *all, by_real);
    for (size_t i = 0; i < found; i++) {
        if (*count == 0 || all[i] - all[*count - 1] > 1e-9)
            all[(*count)++] = all[i];
    }
    return all;
}

/* What is drawn has a line, a column or a mark for each of them. */
static fam_status check_numbers(const reading *r)
{
    size_t lengths, keys, depths;
    int64_t *all_lengths = eval_numbers(r->results, eval_cell_length, &lengths);
    int64_t *all_keys = eval_numbers(r->results, eval_cell_keys, &keys);
    double *all_depths = eval_depths(r->results, &depths);
    bool memory = all_lengths && all_keys && all_depths;
    free(all_lengths);
    free(all_keys);
    free(all_depths);
    if (!memory)
        return no_memory(r);
    if (lengths > EVAL_NUMBERS || keys > EVAL_NUMBERS || depths > EVAL_NUMBERS)
        return failure(r->error, FAM_STATUS_UNSUPPORTED,
                       "%s: found %zu lengths, %zu numbers of keys and %zu depths, need at most %d "
                       "of each",
                       r->name, lengths, keys, depths, EVAL_NUMBERS);
    return FAM_OK;
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

static fam_status read_notes(const reading *r, const json_t *root)
{
    const json_t *notes = json_object_get(root, "notes");
    if (notes && !json_is_array(notes))
        return bad(r, "notes", "an array");
    for (size_t i = 0; i < json_array_size(notes) && r->results->note_count < EVAL_NOTES; i++) {
        const json_t *note = json_array_get(notes, i);
        if (!json_is_string(note))
            return bad(r, "notes", "strings in it");
        char *copy = strdup(json_string_value(note));
        if (!copy)
            return no_memory(r);
        r->results->notes[r->results->note_count++] = copy;
    }
    return FAM_OK;
}

static fam_status read_head(const reading *r, const json_t *root)
{
    eval_results *e = r->results;
    const json_t *kind = json_object_get(root, "kind"), *version = json_object_get(root, "version");
    fam_status status = FAM_OK;
    if (!json_is_string(kind) || strcmp(json_string_value(kind), "fam-eval") != 0)
        return bad(r, "kind", "\"fam-eval\": the results.json of fam eval");
    if (!json_is_integer(version) || json_integer_value(version) < 1)
        return bad(r, "version", "1");
    if (json_integer_value(version) > 1)
        return failure(r->error, FAM_STATUS_UNSUPPORTED, "%s: found version %lld, need 1: a newer fam wrote it",
                       r->name, (long long)json_integer_value(version));
    if ((status = text_member(e->task, sizeof e->task, r, root, "task", false)) == FAM_OK &&
        (status = text_member(e->model, sizeof e->model, r, root, "model", true)) == FAM_OK &&
        (status = text_member(e->seed, sizeof e->seed, r, root, "seed", false)) == FAM_OK &&
        (status = count_member(&e->draws, r, root, "draws", 0)) == FAM_OK &&
        (status = count_member(&e->digits, r, root, "digits", 0)) == FAM_OK &&
        (status = count_member(&e->asked, r, root, "asked", 0)) == FAM_OK)
        e->complete = json_is_true(json_object_get(root, "complete"));
    return status;
}

static fam_status read_root(const reading *r, const json_t *root)
{
    eval_results *e = r->results;
    fam_status status = read_head(r, root);
    if (status != FAM_OK)
        return status;
    e->cells = calloc(json_array_size(json_object_get(root, "cells")) + 1, sizeof *e->cells);
    e->ranges = calloc(json_array_size(json_object_get(root, "by_depth")) + 1, sizeof *e->ranges);
    if (!e->cells || !e->ranges)
        return no_memory(r);
    if ((status = read_array(r, root, "systems", EVAL_SYSTEMS, read_system)) == FAM_OK &&
        (status = read_array(r, root, "cells", EVAL_CELLS, read_cell)) == FAM_OK &&
        (status = read_array(r, root, "by_depth", EVAL_CELLS, read_range)) == FAM_OK)
        status = read_notes(r, root);
    return status == FAM_OK ? check_numbers(r) : status;
}

fam_status eval_results_parse(eval_results **out, const char *text, size_t size, const char *name, fam_error *error)
{
    json_error_t where;
    reading r = {calloc(1, sizeof *r.results), name, NULL, 0, error};
    *out = r.results;
    if (!r.results)
        return no_memory(&r);
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &where);
    fam_status status = FAM_OK;
    if (!root && json_error_code(&where) == json_error_out_of_memory)
        status = no_memory(&r);
    else if (!root)
        status =
            failure(error, FAM_STATUS_BAD_FORMAT, "%s: line %d: found no JSON (%s), need the results.json of fam eval",
                    name, where.line, where.text);
    else if (!json_is_object(root))
        status =
            failure(error, FAM_STATUS_BAD_FORMAT, "%s: found no JSON object, need the results.json of fam eval", name);
    else
        status = read_root(&r, root);
    json_decref(root);
    return status;
}

void eval_results_free(eval_results *results)
{
    if (!results)
        return;
    for (size_t i = 0; i < results->note_count; i++)
        free(results->notes[i]);
    free(results->cells);
    free(results->ranges);
    free(results);
}

/* ---- several in one --------------------------------------------------------------------------------------------- */

void eval_results_label(eval_results *results, const char *label)
{
    for (size_t i = 0; i < results->system_count; i++) {
        char name[EVAL_NAME_BYTES];
        memcpy(name, results->systems[i].name, sizeof name);
        snprintf(results->systems[i].name, sizeof name, "%.80s: %.160s", label, name);
    }
}

fam_status eval_results_append(eval_results *into, const eval_results *other, const char *name, fam_error *error)
{
    if (strcmp(into->task, other->task) != 0)
        return failure(error, FAM_STATUS_MISMATCH, "%s: found the task %s, need %s as in the first evaluation", name,
                       other->task, into->task);
    if (into->system_count + other->system_count > EVAL_SYSTEMS)
        return failure(error, FAM_STATUS_UNSUPPORTED, "%s: found more than %d systems in all, need fewer", name,
                       EVAL_SYSTEMS);
    eval_cell *cells = realloc(into->cells, (into->cell_count + other->cell_count + 1) * sizeof *cells);
    into->cells = cells ? cells : into->cells;
    eval_range *ranges = realloc(into->ranges, (into->range_count + other->range_count + 1) * sizeof *ranges);
    into->ranges = ranges ? ranges : into->ranges;
    if (!cells || !ranges)
        return failure(error, FAM_STATUS_OUT_OF_MEMORY, "%s: out of memory", name);
    for (size_t i = 0; i < other->cell_count; i++) {
        cells[into->cell_count] = other->cells[i];
        cells[into->cell_count++].system += into->system_count;
    }
    for (size_t i = 0; i < other->range_count; i++) {
        ranges[into->range_count] = other->ranges[i];
        ranges[into->range_count++].system += into->system_count;
    }
    for (size_t i = 0; i < other->system_count; i++)
        into->systems[into->system_count++] = other->systems[i];
    into->complete &= other->complete;
    into->asked = into->asked > other->asked ? into->asked : other->asked;
    return FAM_OK;
}

void eval_wilson(double share, double draws, double *low, double *high)
{
    static const double z = 1.959963984540054;
    double middle = (share + z * z / (2 * draws)) / (1 + z * z / draws);
    double half = z / (1 + z * z / draws) * sqrt(share * (1 - share) / draws + z * z / (4 * draws * draws));
    *low = share == 0 ? 0 : fmax(middle - half, 0);
    *high = share == 1 ? 1 : fmin(middle + half, 1);
}
