/*
 * train/recipe_keys.h: the one table of all keys of a recipe. Reading, `--set`, writing, comparing and docs/RECIPES.md
 * go through it. Private to recipe*.c and the test that writes the document.
 */
#ifndef FAM_TRAIN_RECIPE_KEYS_H
#define FAM_TRAIN_RECIPE_KEYS_H

#include "train/recipe.h"

typedef enum fam_key_type {
    FAM_KEY_GROUP,   /* a map of keys. offset: of a bool that says whether it is there, or FAM_KEY_ALWAYS */
    FAM_KEY_ENTRIES, /* a list of data entries. offset: of the array; `count`: of its int64_t */
    FAM_KEY_INTEGER, /* int64_t */
    FAM_KEY_NUMBER,  /* double */
    FAM_KEY_BOOLEAN, /* bool */
    FAM_KEY_WORD,    /* an enumeration, of the size of an int: one of `words` */
    FAM_KEY_WORDS,   /* unsigned: a list of some of `words`, each at most once; bit i for number i */
    FAM_KEY_TEXT,    /* char * */
    FAM_KEY_PATH     /* char *: a file, relative to the folder of the recipe */
} fam_key_type;

#define FAM_KEY_ALWAYS SIZE_MAX

enum {
    FAM_KEY_REQUIRED = 1, /* wherever its group is there */
    FAM_KEY_FREE = 2      /* may change in a run that is resumed */
};

typedef struct fam_key {
    const char *path;   /* "optimizer.learning_rate"; in a data entry "share" */
    const char *preset; /* the default, as a recipe would write it; NULL: none */
    const char *meaning;
    const char *otherwise; /* without a preset: what holds where nothing is said */
    const char *(*words)(int);
    size_t offset, count; /* in fam_recipe, or in fam_data_options */
    double least, most;   /* numbers: the range. Lists: `most` entries */
    double unset;         /* without a preset: the number that means "nothing said" */
    fam_key_type type;
    bool above;     /* `least` itself is out of the range */
    unsigned flags; /* FAM_KEY_REQUIRED ... */
    unsigned kinds; /* data entries: bit i, the kind i uses it */
} fam_key;

/* In the order in which they are written; a group stands before its keys. Ends with a NULL path. */
extern const fam_key fam_recipe_keys[];
extern const fam_key fam_recipe_entry_keys[];

/* The part of a path after its last point. */
const char *fam_key_name(const fam_key *key);
/* Whether `key` stands directly in the group with this path ("" is the top). */
bool fam_key_is_in(const fam_key *key, const char *group);
/* Whether the group is there. */
bool fam_key_group_is_on(const fam_key *key, const fam_recipe *recipe);

/* "1 to 1024", "above 0, at most 1": the range of a number. */
enum { FAM_KEY_RANGE_SIZE = 96 };
const char *fam_key_range(const fam_key *key, char buffer[FAM_KEY_RANGE_SIZE]);

/* ---- between recipe.c, recipe_nodes.c, recipe_check.c and recipe_write.c ---- */

struct fam_yaml_node;

/* Where a part of a recipe came from: the context of its document (format/yaml.h). */
typedef struct fam_recipe_source {
    struct fam_yaml *document;
    char *name;      /* of the file; of a set, the set */
    char *directory; /* that relative paths begin at; NULL: they stay as they are */
    bool is_set;
} fam_recipe_source;

/* "<file>: <key>: line 3 column 5: <format>", or the set instead of the place. `node` says where; NULL: only the file.
 * Returns the status: BAD_FORMAT, INVALID_ARGUMENT for a set. */
fam_status fam_recipe_refuse(const fam_recipe *recipe, const char *key, const struct fam_yaml_node *node,
                             fam_error *error, const char *format, ...) __attribute__((format(printf, 5, 6)));
/* The node at "data.0.share"; NULL if there is none or it is null. */
const struct fam_yaml_node *fam_recipe_find(const struct fam_yaml_node *root, const char *path);

/* Fills a zeroed recipe (but for memory and path): defaults, then what the nodes say. */
fam_status fam_recipe_fill(fam_recipe *recipe, const struct fam_yaml_node *root, fam_error *error);
/* Sets what follows from other keys where nothing was said, and refuses keys that contradict one another. */
fam_status fam_recipe_check(fam_recipe *recipe, const struct fam_yaml_node *root, fam_error *error);

#endif
