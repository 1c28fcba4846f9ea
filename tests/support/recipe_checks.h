/*
 * tests/support/recipe_checks.h: writing a recipe, reading it and writing it again gives the same. Uses cmocka's
 * assertions.
 */
#ifndef TESTS_SUPPORT_RECIPE_CHECKS_H
#define TESTS_SUPPORT_RECIPE_CHECKS_H

#include <string.h>

#include "suite.h"
#include "train/recipe.h"

static inline void recipe_no_difference(void *context, const char *key, const char *saved, const char *given)
{
    (void)context;
    fail_msg("%s: found %s and %s, need the same", key, saved, given);
}

/* Released with fam_free. */
static inline char *recipe_written(const fam_recipe *recipe)
{
    char *text = NULL;
    fam_error error;
    if (fam_recipe_write(&text, recipe, &error) != FAM_OK)
        fail_msg("%s", error.message);
    return text;
}

static inline void recipe_check_round_trip(const fam_recipe *recipe)
{
    fam_recipe *again = NULL;
    fam_error error;
    char *text = recipe_written(recipe);
    if (fam_recipe_parse(&again, recipe->memory, "again", text, strlen(text), NULL, 0, &error) != FAM_OK)
        fail_msg("%s\n%s", error.message, text);
    char *second = recipe_written(again);
    assert_string_equal(text, second);
    assert_int_equal(fam_recipe_compare(recipe, again, recipe_no_difference, NULL, &error), FAM_OK);
    fam_free(recipe->memory, text);
    fam_free(recipe->memory, second);
    fam_recipe_free(again);
}

#endif
