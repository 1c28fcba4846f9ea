/*
 * Fuzz target: the text of a recipe, and after a NUL each a set that is laid over it. What reads must be written, and
 * read back as the same.
 */
#include <stdlib.h>
#include <string.h>

#include "train/recipe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SETS_MAX = 8 };

static void no_difference(void *context, const char *key, const char *saved, const char *given)
{
    (void)context, (void)key, (void)saved, (void)given;
    abort();
}

static void check_round_trip(const fam_recipe *recipe)
{
    fam_recipe *again = NULL;
    fam_error error;
    char *text = NULL, *second = NULL;
    if (fam_recipe_write(&text, recipe, &error) != FAM_OK ||
        fam_recipe_parse(&again, recipe->memory, "again", text, strlen(text), NULL, 0, &error) != FAM_OK ||
        fam_recipe_write(&second, again, &error) != FAM_OK || strcmp(text, second) != 0 ||
        fam_recipe_compare(recipe, again, no_difference, NULL, &error) != FAM_OK)
        abort();
    fam_free(recipe->memory, text);
    fam_free(recipe->memory, second);
    fam_recipe_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size + 1);
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    copy[size] = '\0';
    const char *sets[SETS_MAX];
    int64_t set_count = 0;
    size_t length = strlen(copy);
    for (size_t at = length + 1; at < size && set_count < SETS_MAX; at += strlen(copy + at) + 1)
        sets[set_count++] = copy + at;

    fam_memory memory;
    fam_recipe *recipe = NULL;
    fam_error error = {0};
    fam_memory_init(&memory);
    fam_status status = fam_recipe_parse(&recipe, &memory, "r", copy, length, sets, set_count, &error);
    if ((status == FAM_OK) != (recipe != NULL))
        abort();
    if (status == FAM_OK)
        check_round_trip(recipe);
    else if (strncmp(error.message, "r: ", 3) != 0 || error.status != status)
        abort();
    fam_recipe_free(recipe);
    if (memory.bytes != 0)
        abort();
    free(copy);
    return 0;
}
