/*
 * format/yaml.h: YAML text from files that are not trusted, by libyaml, as a small tree that knows where each value
 * stood. No libyaml type crosses into other rooms.
 *
 * One document of maps, lists and scalars. Refused: anchors, aliases, tags, directives, a second document, keys that
 * are no scalars, a key twice in one map, NUL in text, and what is beyond the bounds below. What a plain scalar means
 * is decided by who asks for it, so `no` is not a boolean by accident. libyaml allocates by malloc, outside of any
 * fam_memory. One thread at a time.
 */
#ifndef FAM_FORMAT_YAML_H
#define FAM_FORMAT_YAML_H

#include <stdbool.h>
#include <stdint.h>

#include "base/memory.h"

enum { FAM_YAML_BYTES_MAX = 1 << 20, FAM_YAML_DEPTH_MAX = 32, FAM_YAML_NODES_MAX = 1 << 14 };

typedef enum fam_yaml_kind { FAM_YAML_SCALAR, FAM_YAML_MAP, FAM_YAML_LIST } fam_yaml_kind;

typedef struct fam_yaml fam_yaml;

typedef struct fam_yaml_node {
    fam_yaml_kind kind;
    bool plain;       /* a scalar without quotes */
    char *text;       /* of a scalar */
    char *key;        /* of a map's member, else NULL */
    int line, column; /* of the value, from 1 */
    int key_line, key_column;
    const fam_yaml *document;           /* that it stood in */
    struct fam_yaml_node *first, *next; /* the first child; the next of the same parent */
    struct fam_yaml_node *allocated;    /* the document's list of all nodes */
} fam_yaml_node;

struct fam_yaml {
    fam_memory *memory;
    const void *context; /* the caller's, to know documents apart */
    fam_yaml_node *root; /* an empty document: a plain scalar without text */
    fam_yaml_node *allocated;
    int count;
};

/* Parses `size` bytes; `name` stands for the file in messages ("<name>: not YAML: line 3 column 7: ..."). BAD_FORMAT,
 * OUT_OF_MEMORY. */
fam_status fam_yaml_parse(fam_yaml **out, fam_memory *memory, const char *name, const char *text, size_t size,
                          fam_error *error);
void fam_yaml_free(fam_yaml *document); /* NULL is allowed */

/* A new node of a document that has no parent yet; NULL when memory is short. `key` may be NULL. */
fam_yaml_node *fam_yaml_node_create(fam_yaml *document, fam_yaml_kind kind, const char *key);

/* null, ~ or nothing at all. */
bool fam_yaml_is_null(const fam_yaml_node *node);
/* The member of a map; NULL if there is none, or `map` is none. */
fam_yaml_node *fam_yaml_member(const fam_yaml_node *map, const char *key);
int fam_yaml_count(const fam_yaml_node *node); /* of children */
void fam_yaml_append(fam_yaml_node *parent, fam_yaml_node *child);

/* Lays `over` onto `under`: where both are maps, member by member; else `over` takes the place. Returns the node that
 * stands there now. Both documents must be kept from then on, and `over` is used up. */
fam_yaml_node *fam_yaml_merge(fam_yaml_node *under, fam_yaml_node *over);

/* A value in few words, for "found X" in messages: a short text in quotes, "a list". */
enum { FAM_YAML_WORDS_SIZE = 96 };
const char *fam_yaml_words(const fam_yaml_node *node, char buffer[FAM_YAML_WORDS_SIZE]);

#endif
