/*
 * text/pretokenize.c: see pretokenize.h.
 *
 * One stage a split, and one more that collects words. A stage gets a piece in chunks, works on what it can be sure of
 * and keeps the rest. What it finds is a row of elements, matches and the gaps between them; the behavior says before
 * which elements a cut lies. A stage that waits for more text tries again only when what it holds has doubled, so that
 * a word of any length costs linear time.
 */
#include "text/pretokenize.h"

#include <string.h>

#include "base/utf8.h"
#include "text/unicode_class.h"

enum {
    KEPT_BYTES = 1 << 16, /* a larger buffer is given back when the piece ends */
    STAND_IN = 0x1a       /* SUBSTITUTE: what a broken byte is for a regular expression */
};

typedef struct stage {
    const fam_split *split; /* NULL: the words */
    fam_regex_scratch *scratch;
    uint8_t *buffer; /* the part of the piece that is held back */
    size_t held, capacity;
    size_t retry;     /* look again when this much is held */
    int64_t offset;   /* of buffer[0] */
    bool open;        /* the piece has begun */
    bool any_element; /* and an element of it was passed on */
    bool flag;        /* whether the last element counted as a match */
    uint8_t *clean;   /* the text for PCRE2 when it is not UTF-8 */
    size_t clean_capacity;
} stage;

struct fam_pretokenizer {
    fam_memory *memory;
    fam_word_sink *sink;
    void *sink_context;
    size_t stage_count;
    stage stages[FAM_SPLITS_MAX + 1];
};

static fam_status push(fam_pretokenizer *p, size_t index, const uint8_t *data, size_t size, int64_t offset, bool end,
                       fam_error *error);

static fam_status hold(fam_pretokenizer *p, stage *s, const uint8_t *data, size_t size, fam_error *error)
{
    size_t need;
    if (!fam_add_size(&need, s->held, size))
        return fam_out_of_memory(error, "tokenizer: text");
    if (need > s->capacity) {
        size_t capacity = need + need / 2 + 64;
        uint8_t *grown = fam_realloc(p->memory, s->buffer, capacity);
        if (!grown)
            return fam_out_of_memory(error, "tokenizer: text");
        s->buffer = grown;
        s->capacity = capacity;
    }
    if (size)
        memcpy(s->buffer + s->held, data, size);
    s->held += size;
    return FAM_OK;
}

static void forget_piece(fam_pretokenizer *p, stage *s)
{
    s->open = s->any_element = s->flag = false;
    s->held = s->retry = 0;
    if (s->capacity > KEPT_BYTES) {
        fam_free(p->memory, s->buffer);
        s->buffer = NULL;
        s->capacity = 0;
    }
    if (s->clean_capacity > KEPT_BYTES) {
        fam_free(p->memory, s->clean);
        s->clean = NULL;
        s->clean_capacity = 0;
    }
}

/* The same text with broken bytes replaced, for PCRE2; *out is `data` itself when nothing is broken. */
static fam_status clean_text(fam_pretokenizer *p, stage *s, const uint8_t **out, const uint8_t *data, size_t size,
                             fam_error *error)
{
    *out = data;
    if (fam_utf8_valid(data, size))
        return FAM_OK;
    if (s->clean_capacity < size) {
        fam_free(p->memory, s->clean);
        s->clean_capacity = 0;
        s->clean = fam_alloc(p->memory, size);
        if (!s->clean)
            return fam_out_of_memory(error, "tokenizer: text");
        s->clean_capacity = size;
    }
    for (size_t at = 0; at < size;) {
        uint32_t code;
        size_t n = fam_utf8_decode(data + at, size - at, &code);
        if (n)
            memcpy(s->clean + at, data + at, n);
        else
            s->clean[at] = STAND_IN;
        at += n ? n : 1;
    }
    *out = s->clean;
    return FAM_OK;
}

/* The first match at or after `from`. `text` is clean when the split has a regular expression. */
static fam_status find(stage *s, fam_found *found, size_t *start, size_t *end, const uint8_t *text, size_t from,
                       size_t size, bool final, fam_error *error)
{
    size_t length;
    *found = FAM_FOUND_NONE;
    switch (s->split->kind) {
    case FAM_SPLIT_NOTHING:
        return FAM_OK;
    case FAM_SPLIT_GPT2:
        if (from == size)
            return FAM_OK;
        length = fam_gpt2_match(text + from, size - from, final);
        *found = length ? FAM_FOUND : FAM_FOUND_MORE;
        *start = from;
        *end = from + length;
        return FAM_OK;
    case FAM_SPLIT_DIGITS:
        for (size_t at = from; at < size; at += length) {
            uint32_t code = text[at];
            length = code < 128 ? 1 : fam_utf8_decode(text + at, size - at, &code);
            if (length && fam_char_is_numeric(code)) {
                *found = FAM_FOUND;
                *start = at;
                *end = at + length;
                return FAM_OK;
            }
            length += length == 0;
        }
        return FAM_OK;
    case FAM_SPLIT_REGEX:
        break;
    }
    if (from == size)
        return FAM_OK;
    if (!final && fam_regex_looks_behind(s->split->regex)) { /* it needs the whole piece */
        *found = FAM_FOUND_MORE;
        *start = from;
        return FAM_OK;
    }
    return fam_regex_find(found, start, end, s->split->regex, s->scratch, text, from, size, final, error);
}

/* Passes on a part of an element. `whole`: no more of the element follows, which tells the next stage at once that its
 * piece ends, where the behavior allows to know. */
static fam_status element(fam_pretokenizer *p, size_t index, const uint8_t *data, size_t size, int64_t offset,
                          bool is_match, bool begins, bool whole, fam_error *error)
{
    stage *s = &p->stages[index];
    fam_split_behavior behavior = s->split->behavior;
    bool flag = is_match != s->split->invert, cut = false;
    if (begins && s->any_element) {
        switch (behavior) {
        case FAM_SPLIT_ISOLATED:
        case FAM_SPLIT_REMOVED:
            cut = true;
            break;
        case FAM_SPLIT_CONTIGUOUS:
            cut = flag != s->flag;
            break;
        case FAM_SPLIT_MERGED_WITH_PREVIOUS:
            cut = !flag || s->flag;
            break;
        case FAM_SPLIT_MERGED_WITH_NEXT:
            cut = !s->flag || flag;
            break;
        }
    }
    s->any_element = true;
    s->flag = flag;
    if (cut) {
        fam_status status = push(p, index + 1, NULL, 0, offset, true, error);
        if (status != FAM_OK)
            return status;
    }
    if (behavior == FAM_SPLIT_REMOVED && flag)
        return FAM_OK;
    bool end = whole && (behavior == FAM_SPLIT_ISOLATED || behavior == FAM_SPLIT_REMOVED);
    return push(p, index + 1, data, size, offset, end, error);
}

/* Passes on what is certain of data[0..size), the piece's next bytes; *used says how far. */
static fam_status work(fam_pretokenizer *p, size_t index, const uint8_t *data, size_t size, int64_t offset, bool final,
                       size_t *used, fam_error *error)
{
    fam_status status = FAM_OK;
    stage *s = &p->stages[index];
    size_t at = 0;
    *used = 0;
    if (!final)
        size = fam_utf8_complete_prefix(data, size);
    const uint8_t *text = data;
    if (s->split->kind == FAM_SPLIT_REGEX)
        FAM_TRY(clean_text(p, s, &text, data, size, error));
    for (;;) {
        fam_found found;
        size_t start = size, end = size;
        FAM_TRY(find(s, &found, &start, &end, text, at, size, final, error));
        if (found == FAM_FOUND_NONE)
            start = size;
        if (start > at) { /* a gap, perhaps one that the last call began */
            bool begins = !s->any_element || s->flag != s->split->invert;
            FAM_TRY(element(p, index, data + at, start - at, offset + (int64_t)at, false, begins, found == FAM_FOUND,
                            error));
        }
        at = start;
        if (found != FAM_FOUND)
            break;
        FAM_TRY(element(p, index, data + start, end - start, offset + (int64_t)start, true, true, true, error));
        at = end;
    }
    *used = at;
done:
    return status;
}

/* The words: a word that comes whole is passed on from where it lies. */
static fam_status push_word(fam_pretokenizer *p, stage *s, const uint8_t *data, size_t size, int64_t offset, bool end,
                            fam_error *error)
{
    fam_status status = FAM_OK;
    if (s->held == 0 && end) {
        if (size)
            status = p->sink(p->sink_context, data, size, offset, error);
        return status;
    }
    if (s->held == 0)
        s->offset = offset;
    FAM_TRY(hold(p, s, data, size, error));
    if (end) {
        FAM_TRY(p->sink(p->sink_context, s->buffer, s->held, s->offset, error));
        forget_piece(p, s);
    }
done:
    return status;
}

/* Begins a piece: puts the space before it that the split may ask for. */
static fam_status open_piece(fam_pretokenizer *p, stage *s, uint8_t first, int64_t offset, fam_error *error)
{
    s->open = true;
    s->offset = offset;
    if (!s->split->add_prefix_space || first == ' ')
        return FAM_OK;
    s->offset = offset - 1;
    return hold(p, s, (const uint8_t *)" ", 1, error);
}

static fam_status push(fam_pretokenizer *p, size_t index, const uint8_t *data, size_t size, int64_t offset, bool end,
                       fam_error *error)
{
    fam_status status = FAM_OK;
    stage *s = &p->stages[index];
    size_t used;
    if (!s->split)
        return push_word(p, s, data, size, offset, end, error);
    if (!s->open) {
        if (size == 0)
            return FAM_OK; /* an empty piece is none */
        FAM_TRY(open_piece(p, s, data[0], offset, error));
    }
    if (s->held == 0) {
        FAM_TRY(work(p, index, data, size, offset, end, &used, error));
        if (!end) {
            s->offset = offset + (int64_t)used;
            FAM_TRY(hold(p, s, data + used, size - used, error));
            s->retry = 2 * s->held;
        }
    } else {
        FAM_TRY(hold(p, s, data, size, error));
        if (end || s->held >= s->retry) {
            FAM_TRY(work(p, index, s->buffer, s->held, s->offset, end, &used, error));
            s->held -= used;
            s->offset += (int64_t)used;
            memmove(s->buffer, s->buffer + used, s->held);
            s->retry = 2 * s->held;
        }
    }
    if (end) {
        FAM_TRY(push(p, index + 1, NULL, 0, offset, true, error));
        forget_piece(p, s);
    }
done:
    return status;
}

fam_status fam_pretokenizer_create(fam_pretokenizer **out, fam_memory *memory, const fam_split *splits, size_t count,
                                   fam_word_sink *sink, void *sink_context, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_pretokenizer *p;
    *out = NULL;
    FAM_TRY_ALLOC(p, fam_alloc_zeroed(memory, sizeof *p), "tokenizer");
    p->memory = memory;
    p->sink = sink;
    p->sink_context = sink_context;
    p->stage_count = count + 1;
    for (size_t i = 0; i < count; i++) {
        p->stages[i].split = &splits[i];
        if (splits[i].kind == FAM_SPLIT_REGEX)
            FAM_TRY(fam_regex_scratch_create(&p->stages[i].scratch, memory, splits[i].regex, error));
    }
    *out = p;
    p = NULL;
done:
    fam_pretokenizer_free(p);
    return status;
}

void fam_pretokenizer_free(fam_pretokenizer *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->stage_count; i++) {
        fam_regex_scratch_free(p->stages[i].scratch);
        fam_free(p->memory, p->stages[i].buffer);
        fam_free(p->memory, p->stages[i].clean);
    }
    fam_free(p->memory, p);
}

fam_status fam_pretokenizer_push(fam_pretokenizer *p, const uint8_t *text, size_t size, int64_t offset, bool end,
                                 fam_error *error)
{
    return push(p, 0, text, size, offset, end, error);
}

void fam_pretokenizer_reset(fam_pretokenizer *p)
{
    for (size_t i = 0; i < p->stage_count; i++)
        forget_piece(p, &p->stages[i]);
}

size_t fam_pretokenizer_held(const fam_pretokenizer *p)
{
    size_t held = 0;
    for (size_t i = 0; i < p->stage_count; i++)
        held += p->stages[i].held;
    return held;
}
