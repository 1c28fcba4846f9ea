/*
 * tests/cli/markup.h: a strict look at SVG and HTML: every tag closed, in order; attributes quoted; entities known;
 * each id once, each reference to one that is there; nothing that runs or is fetched.
 */
#ifndef TESTS_CLI_MARKUP_H
#define TESTS_CLI_MARKUP_H

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"

enum { MARKUP_DEPTH = 64, MARKUP_IDS = 4096, MARKUP_NAME = 64 };

typedef struct markup {
    char open[MARKUP_DEPTH][MARKUP_NAME];
    int depth;
    char (*ids)[MARKUP_NAME], (*references)[MARKUP_NAME];
    int id_count, reference_count;
} markup;

static void markup_name(char out[MARKUP_NAME], const char **at)
{
    size_t length = 0;
    while (isalnum((unsigned char)**at) || strchr("_:-.", **at)) {
        if (!**at || length + 1 == MARKUP_NAME)
            fail_msg("a name that does not end: %.60s", *at);
        out[length++] = *(*at)++;
    }
    out[length] = '\0';
    if (length == 0)
        fail_msg("no name: %.60s", *at);
}

/* At an '&'. */
static void markup_entity(const char *at)
{
    static const char *const known[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strncmp(at, known[i], strlen(known[i])) == 0)
            return;
    }
    fail_msg("an unknown entity: %.40s", at);
}

/* The value of an attribute, at its quote. */
static void markup_attribute(markup *m, const char *name, const char **at)
{
    char quote = **at, value[256] = "";
    size_t length = 0;
    if (quote != '"' && quote != '\'')
        fail_msg("%s: a value without quotes: %.60s", name, *at);
    for ((*at)++; **at != quote; (*at)++) {
        if (!**at || **at == '<')
            fail_msg("%s: a value that does not end", name);
        if (**at == '&')
            markup_entity(*at);
        if (length + 1 < sizeof value)
            value[length++] = **at;
    }
    value[length] = '\0';
    (*at)++;
    bool reference = strcmp(name, "href") == 0 || strcmp(name, "xlink:href") == 0;
    if (strncmp(name, "on", 2) == 0 || strcmp(name, "src") == 0 || (reference && value[0] != '#'))
        fail_msg("%s=\"%s\": runs or fetches something", name, value);
    if (strcmp(name, "id") == 0 && m->id_count < MARKUP_IDS)
        snprintf(m->ids[m->id_count++], MARKUP_NAME, "%.63s", value);
    if (reference && m->reference_count < MARKUP_IDS)
        snprintf(m->references[m->reference_count++], MARKUP_NAME, "%.62s", value + 1);
}

/* At the '<' of a start or end tag; returns what follows it. */
static const char *markup_tag(markup *m, const char *at)
{
    char name[MARKUP_NAME], attribute[MARKUP_NAME];
    bool end = at[1] == '/';
    at += end ? 2 : 1;
    markup_name(name, &at);
    if (strcmp(name, "script") == 0 || strcmp(name, "iframe") == 0 || strcmp(name, "link") == 0)
        fail_msg("a tag %s", name);
    if (end) {
        if (m->depth == 0 || strcmp(m->open[m->depth - 1], name) != 0)
            fail_msg("</%s> closes %s", name, m->depth ? m->open[m->depth - 1] : "nothing");
        m->depth--;
    }
    for (;;) {
        at += strspn(at, " \t\n");
        if (*at == '>' || (at[0] == '/' && at[1] == '>'))
            break;
        markup_name(attribute, &at);
        at += strspn(at, " \t\n");
        if (*at != '=' || end)
            fail_msg("<%s: an attribute %s without a value", name, attribute);
        at++;
        at += strspn(at, " \t\n");
        markup_attribute(m, attribute, &at);
    }
    if (*at == '/')
        return at + 2;
    if (!end) {
        if (m->depth == MARKUP_DEPTH)
            fail_msg("tags too deep");
        strcpy(m->open[m->depth++], name);
    }
    return at + 1;
}

static void markup_references(const markup *m)
{
    for (int i = 0; i < m->id_count; i++) {
        for (int k = 0; k < i; k++) {
            if (strcmp(m->ids[i], m->ids[k]) == 0)
                fail_msg("the id %s stands twice", m->ids[i]);
        }
    }
    for (int i = 0; i < m->reference_count; i++) {
        bool found = false;
        for (int k = 0; k < m->id_count; k++)
            found |= strcmp(m->references[i], m->ids[k]) == 0;
        if (!found)
            fail_msg("#%s leads nowhere", m->references[i]);
    }
}

static void markup_check(const char *text)
{
    markup m = {.ids = calloc(MARKUP_IDS, sizeof *m.ids), .references = calloc(MARKUP_IDS, sizeof *m.references)};
    assert_true(m.ids && m.references);
    for (const char *at = text; *at;) {
        if (strncmp(at, "<?", 2) == 0 || strncmp(at, "<!", 2) == 0) {
            if (m.depth > 0 || !(at = strchr(at, '>')))
                fail_msg("a declaration in the middle");
            at++;
        } else if (*at == '<') {
            at = markup_tag(&m, at);
        } else {
            if (*at == '&')
                markup_entity(at);
            if ((unsigned char)*at < 0x20 && !strchr("\n\t", *at))
                fail_msg("a control character");
            at++;
        }
    }
    if (m.depth > 0)
        fail_msg("<%s> is not closed", m.open[m.depth - 1]);
    markup_references(&m);
    free(m.ids);
    free(m.references);
}

static inline int markup_count(const char *text, const char *part)
{
    int count = 0;
    for (; (text = strstr(text, part)); text += strlen(part))
        count++;
    return count;
}

#endif
