/*
 * tests/support/model_checks.c: see model_checks.h.
 */
#include "model_checks.h"

#include <stdio.h>
#include <string.h>

#include "suite.h"

fam_error model_error;
fam_memory model_memory;
char model_warnings[4096];

static void keep_warning(void *context, const char *line)
{
    (void)context;
    size_t used = strlen(model_warnings);
    snprintf(model_warnings + used, sizeof model_warnings - used, "%s\n", line);
}

fam_status model_open(const char *path, const char *ignored, fam_checkpoint **out)
{
    const char *const keys[] = {ignored};
    const fam_checkpoint_options options = {keys, ignored != NULL, keep_warning, NULL};
    *out = NULL;
    model_warnings[0] = '\0';
    fam_memory_init(&model_memory);
    return fam_checkpoint_open(out, &model_memory, path, &options, &model_error);
}

void model_close(fam_checkpoint *checkpoint)
{
    fam_checkpoint_free(checkpoint);
    assert_int_equal(model_memory.bytes, 0);
}

void model_expect_refusal(const char *path, fam_status need, const char *words, const char *row)
{
    fam_checkpoint *checkpoint;
    fam_status status = model_open(path, NULL, &checkpoint);
    if (status != need || checkpoint || !strstr(model_error.message, words))
        fail_msg("%s: status %d: %s; need %d \"%s\"", row, status, status ? model_error.message : "", need, words);
    if (strncmp(model_error.message, path, strlen(path)) != 0)
        fail_msg("%s: does not begin with the path: %s", row, model_error.message);
    assert_int_equal(model_memory.bytes, 0);
}

void model_fail_each_allocation(const char *path)
{
    fam_status status = FAM_STATUS_FAILED;
    size_t fail = 1;
    for (; status != FAM_OK; fail++) {
        fam_checkpoint *checkpoint = NULL;
        fam_memory_init(&model_memory);
        model_memory.fail_at = fail;
        status = fam_checkpoint_open(&checkpoint, &model_memory, path, NULL, &model_error);
        if (status != FAM_OK && (status != FAM_STATUS_OUT_OF_MEMORY || checkpoint))
            fail_msg("allocation %zu: status %d: %s", fail, status, model_error.message);
        fam_checkpoint_free(checkpoint);
        assert_int_equal(model_memory.bytes, 0);
    }
    assert_true(fail > 8);
}
