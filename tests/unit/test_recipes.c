/*
 * The recipes that come with the project, and docs/RECIPES.md, whose reference of keys is written from the table:
 * tests/cli/update.sh (which sets FAM_UPDATE_SNAPSHOTS) writes it anew.
 */
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>

#include "recipe_checks.h"
#include "train/recipe_keys.h"

static fam_error error;
static fam_memory memory;

static fam_recipe *read_recipe(const char *path)
{
    fam_recipe *recipe = NULL;
    if (fam_recipe_read(&recipe, &memory, path, NULL, 0, &error) != FAM_OK)
        fail_msg("%s", error.message);
    return recipe;
}

static void every_recipe_reads_and_writes(void **state)
{
    (void)state;
    glob_t found = {0};
    fam_memory_init(&memory);
    assert_int_equal(glob(suite_path("recipes/*.yaml"), 0, NULL, &found), 0);
    assert_int_equal(glob(suite_path("recipes/ablations/*.yaml"), GLOB_APPEND, NULL, &found), 0);
    assert_true(found.gl_pathc >= 18);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        fam_recipe *recipe = read_recipe(found.gl_pathv[i]);
        recipe_check_round_trip(recipe);
        fam_recipe_free(recipe);
        assert_int_equal(memory.bytes, 0);
    }
    globfree(&found);
}

static void count(void *context, const char *key, const char *saved, const char *given)
{
    (void)key, (void)saved, (void)given;
    ++*(int *)context;
}

static void every_ablation_changes_something(void **state)
{
    (void)state;
    glob_t found = {0};
    fam_memory_init(&memory);
    fam_recipe *base = read_recipe(suite_path("recipes/tiny-passkey.yaml"));
    assert_int_equal(glob(suite_path("recipes/ablations/*.yaml"), 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        int differences = 0;
        fam_recipe *recipe = read_recipe(found.gl_pathv[i]);
        assert_int_equal(fam_recipe_compare(base, recipe, count, &differences, &error), FAM_OK);
        if (differences < 1 || differences > 2)
            fail_msg("%s: found %d differences from the base, need 1 or 2", found.gl_pathv[i], differences);
        fam_recipe_free(recipe);
    }
    fam_recipe_free(base);
    globfree(&found);
}

/* ---- docs/RECIPES.md ---- */

static const char marker[] = "<!-- From here on: written from src/train/recipe_keys.c; a test keeps it equal. -->\n";

static void write_words(FILE *out, const fam_key *key)
{
    for (int i = 0; key->words(i); i++)
        fprintf(out, "%s%s", i ? ", " : "", key->words(i));
}

/* A range of numbers; what is beyond any use is not told. */
static void write_range(FILE *out, const fam_key *key)
{
    char range[FAM_KEY_RANGE_SIZE];
    bool open = key->most >= 1 << 20;
    if (open && key->above)
        fprintf(out, "above %.8g", key->least);
    else if (open)
        fprintf(out, "%.8g or more", key->least);
    else
        fputs(fam_key_range(key, range), out);
}

static void write_type(FILE *out, const fam_key *key)
{
    switch (key->type) {
    case FAM_KEY_INTEGER:
    case FAM_KEY_NUMBER:
        fputs(key->type == FAM_KEY_INTEGER ? "whole number, " : "number, ", out);
        write_range(out, key);
        break;
    case FAM_KEY_BOOLEAN:
        fputs("true or false", out);
        break;
    case FAM_KEY_WORD:
    case FAM_KEY_WORDS:
        fputs(key->type == FAM_KEY_WORDS ? "list of " : "", out);
        write_words(out, key);
        break;
    case FAM_KEY_TEXT:
        fputs("text", out);
        break;
    case FAM_KEY_PATH:
        fputs("path", out);
        break;
    case FAM_KEY_ENTRIES:
        fprintf(out, "list of at most %d entries", (int)key->most);
        break;
    case FAM_KEY_GROUP:
        fputs("map", out);
        break;
    }
}

static void write_default(FILE *out, const fam_key *key)
{
    if (key->flags & FAM_KEY_REQUIRED)
        fputs("required", out);
    else if (key->type == FAM_KEY_WORDS)
        fputs("all of them", out);
    else
        fputs(key->preset ? key->preset : key->otherwise ? key->otherwise : "none", out);
}

static void write_kinds(FILE *out, unsigned kinds)
{
    unsigned all = 0;
    int said = 0;
    for (int i = 0; fam_data_kind_name(i); i++)
        all |= 1u << i;
    if (kinds == all) {
        fputs("all", out);
        return;
    }
    for (int i = 0; fam_data_kind_name(i); i++)
        if (kinds >> i & 1)
            fprintf(out, "%s%s", said++ ? ", " : "", fam_data_kind_name(i));
}

static void write_row(FILE *out, const fam_key *key, bool is_entry)
{
    fprintf(out, "| `%s` | ", fam_key_name(key));
    if (is_entry) {
        write_kinds(out, key->kinds);
        fputs(" | ", out);
    }
    write_type(out, key);
    fputs(" | ", out);
    write_default(out, key);
    fprintf(out, " | %s |\n", key->meaning);
}

static void write_free(FILE *out)
{
    int said = 0;
    fputs("## What may change when a run is resumed\n\n", out);
    for (const fam_key *key = fam_recipe_keys; key->path; key++)
        if (key->flags & FAM_KEY_FREE)
            fprintf(out, "%s`%s`", said++ ? ", " : "", key->path);
    for (const fam_key *key = fam_recipe_entry_keys; key->path; key++)
        if (key->flags & FAM_KEY_FREE)
            fprintf(out, ", `%s` of an entry", key->path);
    fputs("; and `train.steps` where `optimizer.schedule` is constant. Any other key must stay as it was.\n", out);
}

static void write_reference(FILE *out)
{
    fputs("## Keys\n\n| key | is | default | means |\n| --- | --- | --- | --- |\n", out);
    fputs("| `extends` | path | none | Another recipe that this one is laid over. |\n", out);
    for (const fam_key *key = fam_recipe_keys; key->path; key++)
        if (fam_key_is_in(key, ""))
            write_row(out, key, false);
    for (const fam_key *group = fam_recipe_keys; group->path; group++) {
        if (group->type != FAM_KEY_GROUP)
            continue;
        fprintf(out, "\n### %s\n\n%s\n\n| key | is | default | means |\n| --- | --- | --- | --- |\n", group->path,
                group->meaning);
        for (const fam_key *key = fam_recipe_keys; key->path; key++)
            if (fam_key_is_in(key, group->path))
                write_row(out, key, false);
    }
    fputs("\n### An entry of data\n\nA key that the entry's kind does not use is refused.\n\n"
          "| key | kinds | is | default | means |\n| --- | --- | --- | --- | --- |\n",
          out);
    for (const fam_key *key = fam_recipe_entry_keys; key->path; key++)
        write_row(out, key, true);
    fputs("\n", out);
    write_free(out);
}

static char *slurp(const char *path)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char *text = calloc(1, 1 << 20);
    size_t size = fread(text, 1, (1 << 20) - 1, file);
    assert_true(size > 0);
    fclose(file);
    return text;
}

static void the_reference_of_keys_is_up_to_date(void **state)
{
    (void)state;
    char *reference = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&reference, &size);
    write_reference(out);
    assert_int_equal(fclose(out), 0);
    char *found = slurp(suite_path("docs/RECIPES.md"));
    char *place = strstr(found, marker);
    assert_non_null(place);
    place += strlen(marker) + 1;
    if (getenv("FAM_UPDATE_SNAPSHOTS")) {
        FILE *file = fopen(suite_path("docs/RECIPES.md"), "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(found, 1, (size_t)(place - found), file), place - found);
        assert_true(fputs(reference, file) >= 0 && fclose(file) == 0);
    } else {
        size_t at = 0, line = 1;
        for (; reference[at] && place[at] == reference[at]; at++)
            line += reference[at] == '\n';
        if (place[at] != reference[at])
            fail_msg("docs/RECIPES.md, line %zu of the reference: found \"%.60s\", need \"%.60s\" (tests/cli/update.sh "
                     "writes it anew)",
                     line, place + at, reference + at);
    }
    free(found);
    free(reference);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_recipe_reads_and_writes),
    cmocka_unit_test(every_ablation_changes_something),
    cmocka_unit_test(the_reference_of_keys_is_up_to_date),
};

SUITE_MAIN(tests)
