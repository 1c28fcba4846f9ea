/*
 * eval/log.c: see log.h.
 */
#include "eval/log.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/append_file.h"
#include "base/file.h"
#include "format/json.h"

enum { VERSION = 1, FILE_MAX = 1 << 30, WHERE_SIZE = 512 };

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static fam_status need_text(const json_t *object, const char *where, const char *key, const char *need,
                            fam_error *error)
{
    fam_status status = FAM_OK;
    const char *found;
    FAM_TRY(fam_json_string(object, where, key, true, &found, error));
    FAM_FAIL_IF(strcmp(found, need) != 0, FAM_STATUS_MISMATCH,
                "%s: %s: found \"%s\", need \"%s\" (or another directory)", where, key, found, need);
done:
    return status;
}

static fam_status need_integer(const json_t *object, const char *where, const char *key, int64_t need, fam_error *error)
{
    fam_status status = FAM_OK;
    int64_t found;
    FAM_TRY(fam_json_i64(object, where, key, true, &found, error));
    FAM_FAIL_IF(found != need, FAM_STATUS_MISMATCH,
                "%s: %s: found %" PRId64 ", need %" PRId64 " (or another directory)", where, key, found, need);
done:
    return status;
}

static void seed_text(char out[24], uint64_t seed)
{
    snprintf(out, 24, "%" PRIu64, seed);
}

static fam_status check_header(const json_t *object, const char *where, const fam_eval_header *header, fam_error *error)
{
    fam_status status = FAM_OK;
    char seed[24];
    seed_text(seed, header->seed);
    FAM_TRY(need_text(object, where, "kind", "fam-eval-draws", error));
    FAM_TRY(need_integer(object, where, "version", VERSION, error));
    FAM_TRY(need_text(object, where, "task", header->task, error));
    FAM_TRY(need_text(object, where, "seed", seed, error));
    FAM_TRY(need_integer(object, where, "digits", header->digits, error));
    FAM_TRY(need_integer(object, where, "asked", header->asked, error));
    FAM_TRY(need_text(object, where, "files", header->files, error));
done:
    return status;
}

static fam_status read_count(const json_t *object, const char *where, const char *key, int64_t low, int64_t high,
                             int64_t *out, fam_error *error)
{
    fam_status status = FAM_OK;
    FAM_TRY(fam_json_i64(object, where, key, true, out, error));
    FAM_FAIL_IF(*out < low || *out > high, FAM_STATUS_BAD_FORMAT,
                "%s: %s: found %" PRId64 ", need %" PRId64 " to %" PRId64, where, key, *out, low, high);
done:
    return status;
}

static fam_status read_real(const json_t *object, const char *where, const char *key, double low, double high,
                            double *out, fam_error *error)
{
    fam_status status = FAM_OK;
    FAM_TRY(fam_json_f64(object, where, key, true, out, error));
    FAM_FAIL_IF(!(*out >= low && *out <= high), FAM_STATUS_BAD_FORMAT, "%s: %s: found %g, need %g to %g", where, key,
                *out, low, high);
done:
    return status;
}

static fam_status read_ranges(const json_t *object, const char *where, fam_eval_line *line, fam_error *error)
{
    fam_status status = FAM_OK;
    const json_t *list = json_object_get(object, "ranges"), *item;
    size_t i, n = json_array_size(list);
    if (!list)
        return FAM_OK;
    line->ranges = fam_eval_ranges_of(line->length);
    FAM_FAIL_IF(!json_is_array(list) || n != (size_t)line->ranges, FAM_STATUS_BAD_FORMAT,
                "%s: ranges: found %zu numbers, need %d", where, n, line->ranges);
    json_array_foreach(list, i, item)
    {
        double value = json_number_value(item);
        FAM_FAIL_IF(!json_is_number(item) || !isfinite(value), FAM_STATUS_BAD_FORMAT,
                    "%s: ranges: element %zu: found no number, need one", where, i);
        line->sums[i] = value;
    }
done:
    return status;
}

static fam_status read_line(const json_t *object, const char *where, fam_eval_line *line, fam_error *error)
{
    fam_status status = FAM_OK;
    const int64_t most = (int64_t)1 << 40;
    fam_eval_outcome *outcome = &line->outcome;
    FAM_TRY(fam_json_string(object, where, "system", true, &line->system, error));
    FAM_TRY(fam_json_string(object, where, "identity", true, &line->identity, error));
    FAM_TRY(read_count(object, where, "length", 2, most, &line->length, error));
    FAM_TRY(read_real(object, where, "depth_from", 0, 1, &line->depth_from, error));
    FAM_TRY(read_real(object, where, "depth_to", 0, 1, &line->depth_to, error));
    FAM_TRY(read_count(object, where, "keys", 1, most, &line->keys, error));
    FAM_TRY(read_count(object, where, "draw", 0, most, &line->draw, error));
    FAM_TRY(read_count(object, where, "parts", 0, line->length, &outcome->parts, error));
    FAM_TRY(read_count(object, where, "parts_right", 0, outcome->parts, &outcome->parts_right, error));
    FAM_TRY(read_count(object, where, "tokens", 1, line->length, &outcome->tokens, error));
    FAM_TRY(read_count(object, where, "tokens_right", 0, outcome->tokens, &outcome->tokens_right, error));
    FAM_TRY(read_real(object, where, "nll", -1e300, 1e300, &outcome->nll, error));
    FAM_TRY(read_real(object, where, "seconds", 0, 1e12, &outcome->seconds, error));
    FAM_TRY(read_count(object, where, "read", 0, line->length, &outcome->tokens_read, error));
    FAM_TRY(read_ranges(object, where, line, error));
done:
    return status;
}

fam_status fam_eval_log_parse(const char *name, const char *text, size_t size, const fam_eval_header *header,
                              fam_eval_line_sink *sink, void *context, size_t *whole, fam_error *error)
{
    fam_status status = FAM_OK;
    json_t *object = NULL;
    const char *end;
    size_t number = 0, at = 0;
    while (at < size && (end = memchr(text + at, '\n', size - at))) {
        char where[WHERE_SIZE];
        snprintf(where, sizeof where, "%.480s: line %zu", name, ++number);
        FAM_TRY(fam_json_parse(&object, where, text + at, (size_t)(end - text) - at, error));
        FAM_FAIL_IF(!json_is_object(object), FAM_STATUS_BAD_FORMAT, "%s: found an array, need an object", where);
        if (number == 1) {
            FAM_TRY(check_header(object, where, header, error));
        } else {
            fam_eval_line line = {0};
            FAM_TRY(read_line(object, where, &line, error));
            status = sink(context, &line, error);
            if (status != FAM_OK) {
                fam_error_prefix(error, status, where);
                goto done;
            }
        }
        json_decref(object);
        object = NULL;
        at = (size_t)(end - text) + 1;
    }
    *whole = at;
done:
    json_decref(object);
    return status;
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

struct fam_eval_log {
    fam_memory *memory;
    fam_append_file *file;
};

static fam_status add_object(fam_eval_log *log, const json_t *object, fam_error *error)
{
    fam_status status = FAM_OK;
    size_t length;
    /* 17 digits give every double back as it was */
    char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    FAM_FAIL_IF(!text, FAM_STATUS_OUT_OF_MEMORY, "draws: out of memory");
    length = strlen(text);
    text[length] = '\n'; /* in the place of the NUL: a line is written at once or not at all */
    FAM_TRY(fam_append_file_write(log->file, text, length + 1, error));
done:
    free(text);
    return status;
}

static fam_status add_header(fam_eval_log *log, const fam_eval_header *header, fam_error *error)
{
    char seed[24];
    seed_text(seed, header->seed);
    json_t *object = json_pack("{s:s, s:i, s:s, s:s, s:I, s:I, s:s}", "kind", "fam-eval-draws", "version", VERSION,
                               "task", header->task, "seed", seed, "digits", (json_int_t)header->digits, "asked",
                               (json_int_t)header->asked, "files", header->files);
    fam_status status = add_object(log, object, error);
    json_decref(object);
    return status;
}

fam_status fam_eval_log_add(fam_eval_log *log, const fam_eval_line *line, fam_error *error)
{
    const fam_eval_outcome *outcome = &line->outcome;
    json_t *object =
        json_pack("{s:s, s:s, s:I, s:f, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:I}", "system", line->system,
                  "identity", line->identity, "length", (json_int_t)line->length, "depth_from", line->depth_from,
                  "depth_to", line->depth_to, "keys", (json_int_t)line->keys, "draw", (json_int_t)line->draw, "parts",
                  (json_int_t)outcome->parts, "parts_right", (json_int_t)outcome->parts_right, "tokens",
                  (json_int_t)outcome->tokens, "tokens_right", (json_int_t)outcome->tokens_right, "nll", outcome->nll,
                  "seconds", outcome->seconds, "read", (json_int_t)outcome->tokens_read);
    json_t *list = line->ranges > 0 ? json_array() : NULL;
    for (int i = 0; i < line->ranges; i++)
        json_array_append_new(list, json_real(line->sums[i]));
    bool whole =
        object && (int)json_array_size(list) == line->ranges && (!list || json_object_set(object, "ranges", list) == 0);
    fam_status status = add_object(log, whole ? object : NULL, error);
    json_decref(list);
    json_decref(object);
    return status;
}

static fam_status make_directory(const char *path, fam_error *error)
{
    char reason[128];
    if (mkdir(path, 0777) == 0 || (errno == EEXIST && fam_path_is_directory(path)))
        return FAM_OK;
    return fam_error_set(error, errno == ENOENT ? FAM_STATUS_NOT_FOUND : FAM_STATUS_IO,
                         "%s: cannot make the directory: %s", path, strerror_r(errno, reason, sizeof reason));
}

fam_status fam_eval_log_open(fam_eval_log **out, fam_memory *memory, const char *directory,
                             const fam_eval_header *header, fam_eval_line_sink *sink, void *context, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_eval_log *log = NULL;
    char *path = NULL;
    uint8_t *text = NULL;
    size_t size = 0, whole = 0;
    FAM_TRY_ALLOC(path, fam_path_join(memory, directory, "draws.jsonl"), directory);
    FAM_TRY_ALLOC(log, fam_alloc_zeroed(memory, sizeof *log), path);
    log->memory = memory;
    FAM_TRY(make_directory(directory, error));
    FAM_TRY(fam_append_file_open(&log->file, memory, path, error));
    FAM_TRY(fam_file_read(&text, &size, memory, path, FILE_MAX, error));
    FAM_TRY(fam_eval_log_parse(path, (const char *)text, size, header, sink, context, &whole, error));
    if (whole < size)
        FAM_TRY(fam_append_file_cut(log->file, whole, error));
    if (whole == 0)
        FAM_TRY(add_header(log, header, error));
    *out = log;
    log = NULL;
done:
    fam_eval_log_close(log);
    fam_free(memory, text);
    fam_free(memory, path);
    return status;
}

void fam_eval_log_close(fam_eval_log *log)
{
    if (!log)
        return;
    fam_append_file_close(log->file);
    fam_free(log->memory, log);
}
