/*
 * text/chat_template.c: see chat_template.h.
 *
 * The one spelling: statements as {%...%}, expressions as {{...}}; strings between bytes 1 and 2, with escapes
 * resolved; a blank only between two words; text outside of tags as a string in an expression; neighbouring expressions
 * and strings joined. Blanks around tags go as Jinja has it with trim_blocks and lstrip_blocks, which transformers
 * sets.
 */
#include "text/chat_template.h"

#include <string.h>

#define OPEN_STRING '\x01'
#define CLOSE_STRING '\x02'

typedef struct writer {
    char *out;
    size_t used;
} writer;

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static bool ends_with(const writer *w, const char *text)
{
    size_t length = strlen(text);
    return w->used >= length && memcmp(w->out + w->used - length, text, length) == 0;
}

static void put(writer *w, char c)
{
    w->out[w->used++] = c;
}

static void put_text(writer *w, const char *text)
{
    while (*text)
        put(w, *text++);
}

/* Begins a string, or goes on with the one before when only a plus lies between. */
static void open_string(writer *w)
{
    if (ends_with(w, "\x02+"))
        w->used -= 2;
    else
        put(w, OPEN_STRING);
}

/* Begins an expression, or goes on with the one before. */
static void open_expression(writer *w)
{
    if (ends_with(w, "}}")) {
        w->used -= 2;
        put(w, '+');
    } else {
        put_text(w, "{{");
    }
}

/* A string from text[at], which is its quote; returns where it ends, 0 if it does not. */
static size_t normalize_string(writer *w, const char *text, size_t at, size_t end)
{
    char quote = text[at++];
    open_string(w);
    for (; at < end && text[at] != quote; at++) {
        char c = text[at];
        if (c == '\\' && at + 1 < end) {
            c = text[++at];
            c = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
        }
        put(w, c);
    }
    put(w, CLOSE_STRING);
    return at < end ? at + 1 : 0;
}

/* The inside of a tag, text[at .. end). False if a string in it has no end. */
static bool normalize_inside(writer *w, const char *text, size_t at, size_t end)
{
    bool blank = false;
    size_t first = w->used;
    while (at < end) {
        char c = text[at];
        if (is_blank(c)) {
            blank = true;
            at++;
            continue;
        }
        if (blank && is_word(c) && w->used > first && is_word(w->out[w->used - 1]))
            put(w, ' ');
        blank = false;
        if (c == '\'' || c == '"') {
            at = normalize_string(w, text, at, end);
            if (at == 0)
                return false;
        } else if (c == '.' && at + 1 < end && is_word(text[at + 1])) {
            put_text(w, "[\x01");
            for (at++; at < end && is_word(text[at]); at++)
                put(w, text[at]);
            put_text(w, "\x02]");
        } else {
            put(w, c);
            at++;
        }
    }
    return true;
}

/* Text outside of tags, as an expression. */
static void normalize_outside(writer *w, const char *text, size_t at, size_t end)
{
    if (at >= end)
        return;
    open_expression(w);
    open_string(w);
    while (at < end)
        put(w, text[at++]);
    put(w, CLOSE_STRING);
    put_text(w, "}}");
}

/* Where the tag that begins at text[at] has its closing pair; strings are skipped. 0 if it has none. */
static size_t find_close(const char *text, size_t at, size_t length, char kind)
{
    char close = kind == '{' ? '}' : kind;
    for (at += 2; at + 1 < length; at++) {
        if (text[at] == close && text[at + 1] == '}')
            return at;
        if (kind != '#' && (text[at] == '\'' || text[at] == '"')) {
            char quote = text[at];
            for (at++; at < length && text[at] != quote; at++)
                at += text[at] == '\\';
        }
    }
    return 0;
}

/* How much of the text before a tag stays. */
static size_t trim_before(const char *text, size_t from, size_t at, bool all, bool block)
{
    size_t end = at;
    while (end > from && (all ? is_blank(text[end - 1]) : text[end - 1] == ' ' || text[end - 1] == '\t'))
        end--;
    if (all)
        return end;
    return block && (end == 0 || text[end - 1] == '\n') ? end : at;
}

static bool normalize(writer *w, const char *text, size_t length)
{
    size_t from = 0; /* text outside of tags that is not written yet */
    for (size_t at = 0; at + 1 < length;) {
        char kind = text[at + 1];
        if (text[at] != '{' || (kind != '%' && kind != '{' && kind != '#')) {
            at++;
            continue;
        }
        size_t close = find_close(text, at, length, kind);
        if (close == 0)
            return false;
        size_t inside = at + 2, inside_end = close;
        bool trim_left = inside < close && text[inside] == '-', trim_right = close > inside && text[close - 1] == '-';
        normalize_outside(w, text, from, trim_before(text, from, at, trim_left, kind != '{'));
        inside += trim_left;
        inside_end -= trim_right && inside_end > inside;
        if (kind == '{')
            open_expression(w);
        else if (kind == '%')
            put_text(w, "{%");
        if (kind != '#' && !normalize_inside(w, text, inside, inside_end))
            return false;
        if (kind != '#')
            put_text(w, kind == '{' ? "}}" : "%}");
        at = from = close + 2;
        if (trim_right) {
            while (from < length && is_blank(text[from]))
                from++;
        } else if (kind != '{' && from < length && text[from] == '\n') {
            from++;
        }
        at = from;
    }
    if (length > from && text[length - 1] == '\n') /* Jinja drops one newline at the end */
        length--;
    normalize_outside(w, text, from, length);
    return true;
}

/* What sets add_generation_prompt when nobody gave it says nothing. */
static void drop_preamble(writer *w)
{
    static const char preamble[] =
        "{%if not add_generation_prompt is defined%}{%set add_generation_prompt=false%}{%endif%}";
    size_t length = strlen(preamble);
    if (w->used >= length && memcmp(w->out, preamble, length) == 0) {
        w->used -= length;
        memmove(w->out, w->out + length, w->used);
    }
}

fam_status fam_chat_template_normalize(char **out, fam_memory *memory, const char *text, size_t length,
                                       fam_error *error)
{
    fam_status status = FAM_OK;
    writer w = {NULL, 0};
    *out = NULL;
    if (length > FAM_CHAT_TEMPLATE_BYTES_MAX || memchr(text, '\0', length) || memchr(text, OPEN_STRING, length) ||
        memchr(text, CLOSE_STRING, length))
        return FAM_OK;
    /* A byte becomes at most four (".a" five), and text between tags gains a frame of six for a tag of four. */
    FAM_TRY_ALLOC(w.out, fam_alloc(memory, 6 * length + 16), "chat template");
    if (!normalize(&w, text, length))
        goto done;
    drop_preamble(&w);
    put(&w, '\0');
    *out = w.out;
    w.out = NULL;
done:
    fam_free(memory, w.out);
    return status;
}

bool fam_chat_template_match(const char *text, const char *known, const char **hole, size_t *hole_length)
{
    const char *mark = strstr(known, FAM_CHAT_HOLE);
    *hole = NULL;
    *hole_length = 0;
    if (!mark)
        return strcmp(text, known) == 0;
    size_t before = (size_t)(mark - known), after = strlen(mark + 1), length = strlen(text);
    if (length < before + after || memcmp(text, known, before) != 0 ||
        memcmp(text + length - after, mark + 1, after) != 0)
        return false;
    *hole = text + before;
    *hole_length = length - before - after;
    return !memchr(*hole, OPEN_STRING, *hole_length) && !memchr(*hole, CLOSE_STRING, *hole_length);
}
