/*
 * tests/support/data_fixture.h: sources and sequences for tests. Failures of the helpers fail the test that called
 * them.
 */
#ifndef TESTS_SUPPORT_DATA_FIXTURE_H
#define TESTS_SUPPORT_DATA_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "byte_tokenizer.h"
#include "data/source.h"
#include "scratch.h"
#include "suite.h"

static fam_memory memory;
static fam_error error;

#define assert_ok(call)                                                                                                \
    do {                                                                                                               \
        if ((call) != FAM_OK)                                                                                          \
            fail_msg("%s", error.message);                                                                             \
    } while (0)

/* The call must fail with this status, and its message hold `words`. */
#define assert_refused(call, want, words)                                                                              \
    do {                                                                                                               \
        fam_status status_ = (call);                                                                                   \
        if (status_ != (want) || !strstr(error.message, (words)))                                                      \
            fail_msg("found %d \"%s\", need %d with \"%s\"", status_, error.message, (want), (words));                 \
    } while (0)

/* An entry as a recipe makes it that says no more than kind and path. */
static inline fam_data_options data_entry(fam_data_kind kind, const char *path)
{
    return (fam_data_options){.kind = kind,
                              .share = 1,
                              .path = path ? strdup(path) : NULL,
                              .digits = 5,
                              .keys = 1,
                              .asked = 1,
                              .depth_to = kind == FAM_DATA_PASSKEY ? 0 : 1,
                              .weight = 1,
                              .repeat_weight = 0.1,
                              .too_long = FAM_TOO_LONG_REFUSE,
                              .pack = true};
}

typedef struct data_sequence {
    fam_sequence view;
    int64_t tokens;
} data_sequence;

static inline data_sequence data_sequence_make(int64_t tokens)
{
    size_t n = (size_t)tokens;
    data_sequence s = {.view = {malloc(n * 4), malloc(n * 4), malloc(n), -1}, .tokens = tokens};
    memset(s.view.ids, 0x55, n * 4);
    memset(s.view.weights, 0x55, n * 4);
    memset(s.view.answers, 0x55, n);
    return s;
}

static inline void data_sequence_free(data_sequence *s)
{
    free(s->view.ids);
    free(s->view.weights);
    free(s->view.answers);
}

static inline data_sequence data_next(fam_source *source, int64_t tokens)
{
    data_sequence s = data_sequence_make(tokens);
    assert_ok(fam_source_next(source, tokens, &s.view, &error));
    return s;
}

static inline void data_assert_same(const data_sequence *a, const data_sequence *b)
{
    assert_int_equal(a->tokens, b->tokens);
    assert_int_equal(a->view.entry, b->view.entry);
    assert_memory_equal(a->view.ids, b->view.ids, (size_t)a->tokens * 4);
    assert_memory_equal(a->view.weights, b->view.weights, (size_t)a->tokens * 4);
    assert_memory_equal(a->view.answers, b->view.answers, (size_t)a->tokens);
}

/* The sequence in one line of letters, tokens being bytes: the text with '#' for the end token; weights with '-' for 0,
 * '+' for 1, '~' for others, in upper case ('=' and '*' for '+' and '~') where it is an answer. Static buffers. */
static inline const char *data_text(const data_sequence *s)
{
    static char text[1 << 16];
    for (int64_t t = 0; t < s->tokens; t++)
        text[t] = s->view.ids[t] == 256 ? '#' : (char)s->view.ids[t];
    text[s->tokens] = '\0';
    return text;
}

static inline const char *data_weights(const data_sequence *s)
{
    static char text[1 << 16];
    for (int64_t t = 0; t < s->tokens; t++) {
        float w = s->view.weights[t];
        text[t] = s->view.answers[t] ? (w == 0 ? '0' : w == 1 ? '=' : '*') : (w == 0 ? '-' : w == 1 ? '+' : '~');
    }
    text[s->tokens] = '\0';
    return text;
}

#endif
