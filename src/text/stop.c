/*
 * text/stop.c: see stop.h. Each string has the matcher of Knuth, Morris and Pratt; the longest beginning that any of
 * them has seen at the text's end is held back.
 */
#include "text/stop.h"

#include <string.h>

enum { FIRST_CAPACITY = 256 };

typedef struct pattern {
    const char *text;
    uint32_t length;
    uint32_t matched;   /* how much of it the text ends with */
    uint32_t *fallback; /* [length]: the longest proper beginning that text[0..i] ends with */
} pattern;

struct fam_stop {
    fam_memory *memory;
    pattern *patterns;
    size_t count;
    char *texts;
    uint32_t *fallbacks;
    char *buffer;
    size_t used, shown, capacity; /* buffer[0..shown) was given out by the last call */
    int64_t which;
};

static void prepare(pattern *p)
{
    uint32_t matched = 0;
    p->fallback[0] = 0;
    for (uint32_t i = 1; i < p->length; i++) {
        while (matched > 0 && p->text[i] != p->text[matched])
            matched = p->fallback[matched - 1];
        matched += p->text[i] == p->text[matched];
        p->fallback[i] = matched;
    }
}

fam_status fam_stop_create(fam_stop **out, fam_memory *memory, const char *const *strings, size_t count,
                           fam_error *error)
{
    fam_status status = FAM_OK;
    fam_stop *stop = NULL;
    size_t total = 0, at = 0;
    *out = NULL;
    FAM_FAIL_IF(count > FAM_STOP_STRINGS_MAX, FAM_STATUS_INVALID_ARGUMENT, "stop strings: found %zu, need at most %d",
                count, FAM_STOP_STRINGS_MAX);
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(strings[i]);
        FAM_FAIL_IF(length == 0, FAM_STATUS_INVALID_ARGUMENT, "stop string %zu: found an empty one, need text", i);
        FAM_FAIL_IF(length > FAM_STOP_BYTES_MAX - total, FAM_STATUS_INVALID_ARGUMENT,
                    "stop string %zu: found too much text, need at most %d bytes in all", i, FAM_STOP_BYTES_MAX);
        total += length;
    }
    FAM_TRY_ALLOC(stop, fam_alloc_zeroed(memory, sizeof *stop), "stop strings");
    stop->memory = memory;
    stop->which = -1;
    FAM_TRY_ALLOC(stop->patterns, fam_alloc_array(memory, count, sizeof *stop->patterns), "stop strings");
    FAM_TRY_ALLOC(stop->texts, fam_alloc(memory, total), "stop strings");
    FAM_TRY_ALLOC(stop->fallbacks, fam_alloc_array(memory, total, sizeof *stop->fallbacks), "stop strings");
    FAM_TRY_ALLOC(stop->buffer, fam_alloc(memory, FIRST_CAPACITY), "stop strings");
    stop->capacity = FIRST_CAPACITY;
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(strings[i]);
        memcpy(stop->texts + at, strings[i], length);
        stop->patterns[i] =
            (pattern){.text = stop->texts + at, .length = (uint32_t)length, .fallback = stop->fallbacks + at};
        prepare(&stop->patterns[i]);
        at += length;
    }
    stop->count = count;
    *out = stop;
    stop = NULL;
done:
    fam_stop_free(stop);
    return status;
}

void fam_stop_free(fam_stop *stop)
{
    if (!stop)
        return;
    fam_free(stop->memory, stop->patterns);
    fam_free(stop->memory, stop->texts);
    fam_free(stop->memory, stop->fallbacks);
    fam_free(stop->memory, stop->buffer);
    fam_free(stop->memory, stop);
}

/* One byte for one pattern; true if the text now ends with it. */
static bool step(pattern *p, char c)
{
    while (p->matched > 0 && (p->matched == p->length || p->text[p->matched] != c))
        p->matched = p->fallback[p->matched - 1];
    p->matched += p->text[p->matched] == c;
    return p->matched == p->length;
}

/* One byte for all; the longest pattern that the text now ends with, NULL if none. */
static const pattern *step_all(fam_stop *stop, char c)
{
    const pattern *longest = NULL;
    for (size_t i = 0; i < stop->count; i++) {
        pattern *p = &stop->patterns[i];
        if (step(p, c) && (!longest || p->length > longest->length))
            longest = p;
    }
    return longest;
}

static size_t held_back(const fam_stop *stop)
{
    size_t most = 0;
    for (size_t i = 0; i < stop->count; i++)
        if (stop->patterns[i].matched > most)
            most = stop->patterns[i].matched;
    return most;
}

static void drop_shown(fam_stop *stop)
{
    stop->used -= stop->shown;
    memmove(stop->buffer, stop->buffer + stop->shown, stop->used);
    stop->shown = 0;
}

fam_status fam_stop_feed(fam_stop *stop, const char *text, size_t size, const char **ready, size_t *ready_size,
                         bool *found, fam_error *error)
{
    const pattern *match = NULL;
    size_t need;
    *ready = stop->buffer;
    *ready_size = 0;
    *found = stop->which >= 0;
    if (*found)
        return FAM_OK;
    if (!fam_add_size(&need, stop->used - stop->shown, size))
        return fam_out_of_memory(error, "stop strings");
    if (need > stop->capacity) {
        char *grown = fam_realloc(stop->memory, stop->buffer, need);
        if (!grown)
            return fam_out_of_memory(error, "stop strings");
        stop->buffer = grown;
        stop->capacity = need;
    }
    drop_shown(stop);
    for (size_t i = 0; i < size && !match; i++) {
        stop->buffer[stop->used++] = text[i];
        match = step_all(stop, text[i]);
    }
    if (match) {
        stop->which = match - stop->patterns;
        *found = true;
        stop->used -= match->length;
        stop->shown = stop->used;
    } else {
        stop->shown = stop->used - held_back(stop);
    }
    *ready = stop->buffer;
    *ready_size = stop->shown;
    return FAM_OK;
}

void fam_stop_finish(fam_stop *stop, const char **ready, size_t *ready_size)
{
    drop_shown(stop);
    *ready = stop->buffer;
    *ready_size = stop->used;
    fam_stop_reset(stop);
}

void fam_stop_reset(fam_stop *stop)
{
    stop->used = stop->shown = 0;
    stop->which = -1;
    for (size_t i = 0; i < stop->count; i++)
        stop->patterns[i].matched = 0;
}

int64_t fam_stop_which(const fam_stop *stop)
{
    return stop->which;
}
