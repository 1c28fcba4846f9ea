/*
 * cli/recipe_facts.h: the values in the recipe.yaml of a run, by their paths ("optimizer.clip"), for showing. What a
 * key means is known by the library alone; a file that is no recipe only has fewer facts.
 */
#ifndef CLI_RECIPE_FACTS_H
#define CLI_RECIPE_FACTS_H

#include <stddef.h>

enum { RECIPE_FACTS = 512, RECIPE_FACT_BYTES = 96 };

typedef struct recipe_fact {
    char path[RECIPE_FACT_BYTES], value[RECIPE_FACT_BYTES]; /* cut if longer */
} recipe_fact;

typedef struct recipe_facts {
    size_t count;
    recipe_fact facts[RECIPE_FACTS];
} recipe_facts;

/* Scalars of mappings and of sequences ("data[0].kind"). What cannot be read ends the list. */
void recipe_facts_read(recipe_facts *out, const char *text, size_t size);

/* NULL: it is not there, or null. */
const char *recipe_fact_get(const recipe_facts *facts, const char *path);

#endif
