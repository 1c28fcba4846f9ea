/*
 * cli/recipe_facts.c: see recipe_facts.h. Over libyaml's events, with a stack of bounded depth.
 */
#include "recipe_facts.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

enum { DEPTH = 16 };

typedef struct level {
    bool sequence, has_key;
    size_t items;
    size_t length; /* of the path to it */
} level;

typedef struct walk {
    recipe_facts *out;
    char path[RECIPE_FACT_BYTES];
    level levels[DEPTH];
    int depth;
} walk;

/* Appends to the path behind the first `length` bytes; what is too long is cut. */
static void extend(walk *w, size_t length, const char *divider, const char *name)
{
    snprintf(w->path + length, sizeof w->path - length, "%s%s", length ? divider : "", name);
}

/* Sets the path to the node that begins now; false: it is a key, `scalar`. */
static bool enter(walk *w, const char *scalar)
{
    char index[32];
    if (w->depth == 0)
        return true;
    level *top = &w->levels[w->depth - 1];
    bool value = top->has_key; /* whose path the key made */
    top->has_key = !top->sequence && !value;
    if (value)
        return true;
    w->path[top->length] = '\0';
    snprintf(index, sizeof index, "[%zu]", top->items++);
    extend(w, top->length, top->sequence ? "" : ".", top->sequence ? index : scalar ? scalar : "?");
    return top->sequence;
}

static void add_fact(walk *w, const char *value)
{
    if (w->out->count == RECIPE_FACTS)
        return;
    recipe_fact *fact = &w->out->facts[w->out->count++];
    snprintf(fact->path, sizeof fact->path, "%s", w->path);
    snprintf(fact->value, sizeof fact->value, "%s", value);
}

/* false: enough. */
static bool take_event(walk *w, const yaml_event_t *event)
{
    const char *scalar = event->type == YAML_SCALAR_EVENT ? (const char *)event->data.scalar.value : NULL;
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        if (enter(w, scalar))
            add_fact(w, scalar);
        return true;
    case YAML_ALIAS_EVENT:
        enter(w, NULL);
        return true;
    case YAML_MAPPING_START_EVENT:
    case YAML_SEQUENCE_START_EVENT:
        if (w->depth == DEPTH || !enter(w, NULL)) /* a key that is no word */
            return false;
        w->levels[w->depth++] = (level){event->type == YAML_SEQUENCE_START_EVENT, false, 0, strlen(w->path)};
        return true;
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        w->depth -= w->depth > 0;
        return true;
    default:
        return event->type != YAML_STREAM_END_EVENT && event->type != YAML_DOCUMENT_END_EVENT;
    }
}

void recipe_facts_read(recipe_facts *out, const char *text, size_t size)
{
    yaml_parser_t parser;
    walk w = {.out = out};
    out->count = 0;
    if (!yaml_parser_initialize(&parser))
        return;
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    for (bool more = true; more;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event))
            break;
        more = take_event(&w, &event);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
}

const char *recipe_fact_get(const recipe_facts *facts, const char *path)
{
    for (size_t i = 0; i < facts->count; i++) {
        const recipe_fact *fact = &facts->facts[i];
        if (strcmp(fact->path, path) == 0)
            return strcmp(fact->value, "null") == 0 ? NULL : fact->value;
    }
    return NULL;
}
