/*
 * text/regex_translate.c: see regex_translate.h.
 *
 * What differs: \s (PCRE2 counts U+180E), \p{L} and \p{N} (PCRE2's Unicode may be older: what came later is added),
 * names of scripts (PCRE2 means extended scripts by \p{Han}), \v, \h, \w, \b, \xHH, inline options, nested classes,
 * {n,m}+. What has one meaning in both passes as it is; the rest is refused.
 */
#include "text/regex_translate.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "text/unicode_class.h"

#define SPACES "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"

/* All letters and numbers that Unicode assigned after version 14, the one in PCRE2 10.40, lie in these ranges; they are
 * listed by number beside \p{L} and \p{N}. Listing what PCRE2 knows already does no harm. */
static const fam_code_range newer[] = {
    {0x1c89, 0x1c8a},   {0xa7cb, 0xa7dc},   {0x105c0, 0x105f3}, {0x10d40, 0x10d85}, {0x10ec2, 0x10ec4},
    {0x1123f, 0x11240}, {0x11380, 0x113d3}, {0x116d0, 0x116e3}, {0x11bc0, 0x11bf9}, {0x11f02, 0x11f59},
    {0x1342f, 0x1342f}, {0x13441, 0x143fa}, {0x16100, 0x16139}, {0x16d40, 0x16d79}, {0x18cff, 0x18cff},
    {0x1b132, 0x1b155}, {0x1ccf0, 0x1ccf9}, {0x1d2c0, 0x1d2d3}, {0x1df25, 0x1df2a}, {0x1e030, 0x1e06d},
    {0x1e4d0, 0x1e5fa}, {0x2b739, 0x2b739}, {0x2ebf0, 0x2ee5d}, {0x31350, 0x323af},
};

typedef struct translation {
    fam_memory *memory;
    const char *where, *pattern;
    size_t length, at;
    char *out;
    size_t used, capacity;
    bool in_class;
} translation;

static fam_status put(translation *t, const char *text, size_t length, fam_error *error)
{
    if (t->capacity - t->used < length) {
        size_t capacity = 2 * t->capacity + length + 256;
        char *grown = fam_realloc(t->memory, t->out, capacity);
        if (!grown)
            return fam_out_of_memory(error, t->where);
        t->out = grown;
        t->capacity = capacity;
    }
    memcpy(t->out + t->used, text, length);
    t->used += length;
    return FAM_OK;
}

static fam_status put_text(translation *t, const char *text, fam_error *error)
{
    return put(t, text, strlen(text), error);
}

static fam_status refuse(const translation *t, size_t at, size_t length, fam_error *error)
{
    if (length > t->length - at)
        length = t->length - at;
    return fam_error_set(error, FAM_STATUS_UNSUPPORTED,
                         "%s: pattern: byte %zu: found %.*s, need a construct that is known to mean the same here",
                         t->where, at, (int)length, t->pattern + at);
}

static char peek(const translation *t, size_t ahead)
{
    return t->at + ahead < t->length ? t->pattern[t->at + ahead] : '\0';
}

/* The code points of `known` that lie in the newer ranges. */
static fam_status put_newer(translation *t, const fam_code_range *known, size_t count, fam_error *error)
{
    fam_status status = FAM_OK;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < sizeof newer / sizeof *newer; k++) {
            uint32_t first = known[i].first > newer[k].first ? known[i].first : newer[k].first;
            uint32_t last = known[i].last < newer[k].last ? known[i].last : newer[k].last;
            char text[40];
            if (first > last)
                continue;
            snprintf(text, sizeof text, "\\x{%x}-\\x{%x}", (unsigned)first, (unsigned)last);
            FAM_TRY(put_text(t, text, error));
        }
done:
    return status;
}

/* A set as part of a class, or as a class of its own. */
static fam_status put_set(translation *t, const char *set, char newer_of, bool negated, fam_error *error)
{
    fam_status status = FAM_OK;
    size_t count = 0;
    const fam_code_range *ranges = newer_of == 'L'   ? fam_char_letters(&count)
                                   : newer_of == 'N' ? fam_char_numbers(&count)
                                                     : NULL;
    if (!t->in_class)
        FAM_TRY(put_text(t, negated ? "[^" : "[", error));
    FAM_TRY(put_text(t, set, error));
    if (ranges)
        FAM_TRY(put_newer(t, ranges, count, error));
    if (!t->in_class)
        FAM_TRY(put_text(t, "]", error));
done:
    return status;
}

/* \p{Name}, \P{Name}, \p{^Name}; t->at is at the p. */
static fam_status translate_property(translation *t, fam_error *error)
{
    fam_status status = FAM_OK;
    size_t start = t->at - 1;
    bool negated = peek(t, 0) == 'P';
    char name[32], set[48];
    size_t n = 0;
    t->at++;
    if (peek(t, 0) != '{')
        FAM_TRY(refuse(t, start, 3, error));
    t->at++;
    if (peek(t, 0) == '^') {
        negated = !negated;
        t->at++;
    }
    while (n + 1 < sizeof name && ((peek(t, 0) | 32) >= 'a' && (peek(t, 0) | 32) <= 'z'))
        name[n++] = t->pattern[t->at++];
    name[n] = '\0';
    if (n == 0 || peek(t, 0) != '}')
        FAM_TRY(refuse(t, start, t->at - start + 1, error));
    t->at++;
    if (n > 2) {
        snprintf(set, sizeof set, "\\%c{sc:%s}", negated ? 'P' : 'p', name);
        FAM_TRY(put_text(t, set, error));
    } else if (negated && t->in_class) {
        snprintf(set, sizeof set, "\\P{%s}", name);
        FAM_TRY(put_text(t, set, error));
    } else {
        snprintf(set, sizeof set, "\\p{%s}", name);
        FAM_TRY(put_set(t, set, n == 1 ? name[0] : '\0', negated, error));
    }
done:
    return status;
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'f');
}

/* t->at is behind the backslash. */
static fam_status translate_escape(translation *t, fam_error *error)
{
    fam_status status = FAM_OK;
    char c = peek(t, 0), pair[2] = {'\\', c};
    if (c == 'p' || c == 'P') {
        FAM_TRY(translate_property(t, error));
        goto done;
    }
    if (c == 's') {
        FAM_TRY(put_set(t, SPACES, '\0', false, error));
    } else if (c == 'S') { /* within a class: what PCRE2 thinks, and what it wrongly takes for a space */
        FAM_TRY(t->in_class ? put_text(t, "\\S\\x{180e}", error) : put_set(t, SPACES, '\0', true, error));
    } else if (c == 'v') {
        FAM_TRY(put_text(t, "\\x0b", error));
    } else if (c == 'x') {
        if (!(peek(t, 1) >= '0' && peek(t, 1) <= '7' &&
              is_hex(peek(t, 2)))) /* above 7f a byte there, a character here */
            FAM_TRY(refuse(t, t->at - 1, 4, error));
        FAM_TRY(put(t, t->pattern + t->at - 1, 4, error));
        t->at += 2;
    } else if (c &&
               (strchr("rntfda", c) || (c > ' ' && c < 127 && !is_hex(c) && !((c | 32) >= 'a' && (c | 32) <= 'z')))) {
        FAM_TRY(put(t, pair, 2, error));
    } else {
        FAM_TRY(refuse(t, t->at - 1, 2, error));
    }
    t->at++;
done:
    return status;
}

/* t->at is at the '['. Nested classes, intersections and POSIX names are refused. */
static fam_status translate_class(translation *t, fam_error *error)
{
    fam_status status = FAM_OK;
    size_t start = t->at;
    FAM_TRY(put_text(t, "[", error));
    t->at++;
    t->in_class = true;
    if (peek(t, 0) == '^') {
        FAM_TRY(put_text(t, "^", error));
        t->at++;
    }
    if (peek(t, 0) == ']')
        FAM_TRY(refuse(t, start, 3, error));
    while (t->at < t->length && t->pattern[t->at] != ']') {
        char c = t->pattern[t->at];
        if (c == '[' || (c == '&' && peek(t, 1) == '&'))
            FAM_TRY(refuse(t, t->at, 2, error));
        t->at++;
        FAM_TRY(c == '\\' ? translate_escape(t, error) : put(t, &c, 1, error));
    }
    FAM_FAIL_IF(t->at == t->length, FAM_STATUS_BAD_FORMAT,
                "%s: pattern: byte %zu: found a class without its end, need ]", t->where, start);
    FAM_TRY(put_text(t, "]", error));
    t->at++;
    t->in_class = false;
done:
    return status;
}

/* t->at is at the '('. */
static fam_status translate_group(translation *t, fam_error *error)
{
    static const char *const openings[] = {"(?:", "(?i:", "(?=", "(?!", "(?>", "(?<=", "(?<!"};
    for (size_t i = 0; i < sizeof openings / sizeof *openings; i++) {
        size_t n = strlen(openings[i]);
        if (t->length - t->at >= n && memcmp(t->pattern + t->at, openings[i], n) == 0) {
            t->at += n;
            return put(t, openings[i], n, error);
        }
    }
    if (peek(t, 1) == '?' || peek(t, 1) == '*')
        return refuse(t, t->at, 4, error);
    t->at++; /* a group whose text nobody asks for */
    return put_text(t, "(?:", error);
}

/* t->at is at a '{': {n}, {n,} or {n,m}, not followed by a sign that changes it. */
static fam_status translate_count(translation *t, fam_error *error)
{
    size_t n = 1;
    while ((peek(t, n) >= '0' && peek(t, n) <= '9') || (peek(t, n) == ',' && n > 1))
        n++;
    if (n < 2 || peek(t, n) != '}' || peek(t, n + 1) == '?' || peek(t, n + 1) == '+')
        return refuse(t, t->at, n + 2, error);
    fam_status status = put(t, t->pattern + t->at, n + 1, error);
    t->at += n + 1;
    return status;
}

fam_status fam_regex_translate(char **out, size_t *out_length, bool *line_start, fam_memory *memory, const char *where,
                               const char *pattern, size_t length, fam_error *error)
{
    fam_status status = FAM_OK;
    *line_start = false;
    translation t = {.memory = memory, .where = where, .pattern = pattern, .length = length};
    FAM_FAIL_IF(!fam_utf8_valid((const uint8_t *)pattern, length), FAM_STATUS_BAD_FORMAT,
                "%s: pattern: found broken UTF-8, need UTF-8", where);
    while (t.at < length) {
        char c = pattern[t.at];
        if (c == '[') {
            FAM_TRY(translate_class(&t, error));
        } else if (c == '(') {
            FAM_TRY(translate_group(&t, error));
        } else if (c == '{') {
            FAM_TRY(translate_count(&t, error));
        } else {
            t.at++;
            *line_start |= c == '^';
            FAM_TRY(c == '\\' ? translate_escape(&t, error) : put(&t, &c, 1, error));
        }
    }
    *out = t.out;
    *out_length = t.used;
    t.out = NULL;
done:
    fam_free(memory, t.out);
    return status;
}
