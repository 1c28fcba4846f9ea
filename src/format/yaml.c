/*
 * format/yaml.c: see yaml.h. libyaml's events become nodes.
 */
#include "format/yaml.h"

#include <stdio.h>
#include <string.h>

#include <yaml.h>

/* Of one parse: the maps and lists that are open, and the key that waits for its value. */
typedef struct builder {
    fam_yaml *document;
    const char *name;
    fam_yaml_node *open[FAM_YAML_DEPTH_MAX], *last[FAM_YAML_DEPTH_MAX]; /* last: the newest child */
    int depth;
    char *key;
    int key_line, key_column;
    bool began, ended; /* the one document */
} builder;

fam_yaml_node *fam_yaml_node_create(fam_yaml *document, fam_yaml_kind kind, const char *key)
{
    fam_yaml_node *node = fam_alloc_zeroed(document->memory, sizeof *node);
    char *copy = key && node ? fam_strdup(document->memory, key) : NULL;
    if (!node || (key && !copy)) {
        fam_free(document->memory, node);
        return NULL;
    }
    node->kind = kind;
    node->key = copy;
    node->document = document;
    node->allocated = document->allocated;
    document->allocated = node;
    document->count++;
    return node;
}

void fam_yaml_free(fam_yaml *document)
{
    if (!document)
        return;
    while (document->allocated) {
        fam_yaml_node *node = document->allocated;
        document->allocated = node->allocated;
        fam_free(document->memory, node->key);
        fam_free(document->memory, node->text);
        fam_free(document->memory, node);
    }
    fam_free(document->memory, document);
}

bool fam_yaml_is_null(const fam_yaml_node *node)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    for (size_t i = 0; node->kind == FAM_YAML_SCALAR && node->plain && i < sizeof words / sizeof *words; i++)
        if (strcmp(node->text, words[i]) == 0)
            return true;
    return false;
}

fam_yaml_node *fam_yaml_member(const fam_yaml_node *map, const char *key)
{
    if (!map || map->kind != FAM_YAML_MAP)
        return NULL;
    fam_yaml_node *node = map->first;
    while (node && strcmp(node->key, key) != 0)
        node = node->next;
    return node;
}

int fam_yaml_count(const fam_yaml_node *node)
{
    int count = 0;
    for (const fam_yaml_node *child = node->first; child; child = child->next)
        count++;
    return count;
}

void fam_yaml_append(fam_yaml_node *parent, fam_yaml_node *child)
{
    fam_yaml_node **end = &parent->first;
    while (*end)
        end = &(*end)->next;
    *end = child;
    child->next = NULL;
}

/* Depth is bounded by that of the documents. */
fam_yaml_node *fam_yaml_merge(fam_yaml_node *under, fam_yaml_node *over)
{
    if (under->kind != FAM_YAML_MAP || over->kind != FAM_YAML_MAP)
        return over;
    fam_yaml_node *next;
    for (fam_yaml_node *child = over->first; child; child = next) {
        next = child->next;
        fam_yaml_node **place = &under->first;
        while (*place && strcmp((*place)->key, child->key) != 0)
            place = &(*place)->next;
        fam_yaml_node *rest = *place ? (*place)->next : NULL;
        *place = *place ? fam_yaml_merge(*place, child) : child;
        (*place)->next = rest;
    }
    return under;
}

const char *fam_yaml_words(const fam_yaml_node *node, char buffer[FAM_YAML_WORDS_SIZE])
{
    if (node->kind != FAM_YAML_SCALAR)
        return node->kind == FAM_YAML_MAP ? "a map" : "a list";
    if (fam_yaml_is_null(node))
        return "nothing";
    const char *form = strlen(node->text) > 64 ? "\"%.64s...\"" : node->plain ? "%.64s" : "\"%.64s\"";
    snprintf(buffer, FAM_YAML_WORDS_SIZE, form, node->text);
    return buffer;
}

static fam_status refuse(const builder *b, const yaml_event_t *event, const char *found, const char *need,
                         fam_error *error)
{
    return fam_error_set(error, FAM_STATUS_BAD_FORMAT,
                         "%s: not a plain YAML file: line %zu column %zu: found %s, need %s", b->name,
                         event->start_mark.line + 1, event->start_mark.column + 1, found, need);
}

/* Takes the text of a scalar, which may be a key. */
static fam_status copy_text(char **out, const builder *b, const yaml_event_t *event, fam_error *error)
{
    const char *text = (const char *)event->data.scalar.value;
    if (memchr(text, 0, event->data.scalar.length))
        return refuse(b, event, "a NUL byte", "text without it", error);
    *out = fam_strndup(b->document->memory, text, event->data.scalar.length);
    return *out ? FAM_OK : fam_out_of_memory(error, b->name);
}

static fam_status take_key(builder *b, const yaml_event_t *event, fam_error *error)
{
    fam_status status = FAM_OK;
    if (event->type != YAML_SCALAR_EVENT)
        return refuse(b, event, "a key that is a map or a list", "a word", error);
    FAM_TRY(copy_text(&b->key, b, event, error));
    b->key_line = (int)event->start_mark.line + 1;
    b->key_column = (int)event->start_mark.column + 1;
    if (fam_yaml_member(b->open[b->depth - 1], b->key))
        status =
            fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s: %s: line %d column %d: found the key twice, need it once",
                          b->name, b->key, b->key_line, b->key_column);
done:
    return status;
}

/* A value: a scalar, or a map or list that begins. */
static fam_status take_value(builder *b, const yaml_event_t *event, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_yaml *document = b->document;
    if (document->count >= FAM_YAML_NODES_MAX)
        return refuse(b, event, "too many values", "at most 16384", error);
    if (event->type != YAML_SCALAR_EVENT && b->depth == FAM_YAML_DEPTH_MAX)
        return refuse(b, event, "maps and lists nested too deep", "at most 32 levels", error);
    fam_yaml_node *node = fam_yaml_node_create(document,
                                               event->type == YAML_SCALAR_EVENT          ? FAM_YAML_SCALAR
                                               : event->type == YAML_MAPPING_START_EVENT ? FAM_YAML_MAP
                                                                                         : FAM_YAML_LIST,
                                               NULL);
    if (!node)
        return fam_out_of_memory(error, b->name);
    node->line = (int)event->start_mark.line + 1;
    node->column = (int)event->start_mark.column + 1;
    node->key = b->key;
    node->key_line = b->key_line;
    node->key_column = b->key_column;
    b->key = NULL;
    if (b->depth == 0)
        document->root = node;
    else if (b->last[b->depth - 1])
        b->last[b->depth - 1]->next = node;
    else
        b->open[b->depth - 1]->first = node;
    if (b->depth > 0)
        b->last[b->depth - 1] = node;
    if (event->type == YAML_SCALAR_EVENT) {
        node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        FAM_TRY(copy_text(&node->text, b, event, error));
    } else {
        b->open[b->depth] = node;
        b->last[b->depth++] = NULL;
    }
done:
    return status;
}

static fam_status take_node(builder *b, const yaml_event_t *event, fam_error *error)
{
    const yaml_char_t *anchor = event->type == YAML_SCALAR_EVENT          ? event->data.scalar.anchor
                                : event->type == YAML_MAPPING_START_EVENT ? event->data.mapping_start.anchor
                                                                          : event->data.sequence_start.anchor;
    const yaml_char_t *tag = event->type == YAML_SCALAR_EVENT          ? event->data.scalar.tag
                             : event->type == YAML_MAPPING_START_EVENT ? event->data.mapping_start.tag
                                                                       : event->data.sequence_start.tag;
    if (anchor)
        return refuse(b, event, "an anchor (&)", "every value written out", error);
    if (tag)
        return refuse(b, event, "a tag (!)", "values without it", error);
    if (b->depth > 0 && b->open[b->depth - 1]->kind == FAM_YAML_MAP && !b->key)
        return take_key(b, event, error);
    return take_value(b, event, error);
}

static fam_status take_event(builder *b, const yaml_event_t *event, fam_error *error)
{
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (event->data.document_start.version_directive ||
            event->data.document_start.tag_directives.start != event->data.document_start.tag_directives.end)
            return refuse(b, event, "a directive (%)", "none", error);
        if (b->began)
            return refuse(b, event, "a second document", "one", error);
        b->began = true;
        return FAM_OK;
    case YAML_ALIAS_EVENT:
        return refuse(b, event, "an alias (*)", "every value written out", error);
    case YAML_SCALAR_EVENT:
    case YAML_MAPPING_START_EVENT:
    case YAML_SEQUENCE_START_EVENT:
        return take_node(b, event, error);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        b->depth--;
        return FAM_OK;
    case YAML_STREAM_END_EVENT:
        b->ended = true;
        return FAM_OK;
    default:
        return FAM_OK;
    }
}

/* What libyaml says of text that is not YAML. */
static fam_status parser_failure(const yaml_parser_t *parser, const char *name, fam_error *error)
{
    if (parser->error == YAML_MEMORY_ERROR)
        return fam_out_of_memory(error, name);
    const char *problem = parser->problem ? parser->problem : "broken text";
    if (parser->error == YAML_READER_ERROR)
        return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s: not YAML: byte %zu: %s, need UTF-8 text", name,
                             parser->problem_offset, problem);
    return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s: not YAML: line %zu column %zu: %s%s%s", name,
                         parser->problem_mark.line + 1, parser->problem_mark.column + 1, problem,
                         parser->context ? " " : "", parser->context ? parser->context : "");
}

static fam_status build(builder *b, yaml_parser_t *parser, fam_error *error)
{
    fam_status status = FAM_OK;
    while (status == FAM_OK && !b->ended) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event))
            return parser_failure(parser, b->name, error);
        status = take_event(b, &event, error);
        yaml_event_delete(&event);
    }
    return status;
}

fam_status fam_yaml_parse(fam_yaml **out, fam_memory *memory, const char *name, const char *text, size_t size,
                          fam_error *error)
{
    fam_status status = FAM_OK;
    builder b = {.name = name};
    yaml_parser_t parser;
    bool parsing = false;
    FAM_FAIL_IF(size > FAM_YAML_BYTES_MAX, FAM_STATUS_BAD_FORMAT, "%s: size: found %zu bytes, need at most %d", name,
                size, FAM_YAML_BYTES_MAX);
    FAM_TRY_ALLOC(b.document, fam_alloc_zeroed(memory, sizeof *b.document), name);
    b.document->memory = memory;
    parsing = yaml_parser_initialize(&parser);
    if (!parsing) {
        status = fam_out_of_memory(error, name);
        goto done;
    }
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    FAM_TRY(build(&b, &parser, error));
    if (!b.document->root) {
        FAM_TRY_ALLOC(b.document->root, fam_yaml_node_create(b.document, FAM_YAML_SCALAR, NULL), name);
        FAM_TRY_ALLOC(b.document->root->text, fam_strdup(memory, ""), name);
        b.document->root->plain = true;
        b.document->root->line = b.document->root->column = 1;
    }
    *out = b.document;
    b.document = NULL;
done:
    fam_free(memory, b.key);
    fam_yaml_free(b.document);
    if (parsing)
        yaml_parser_delete(&parser);
    return status;
}
