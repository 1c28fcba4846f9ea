/*
 * train/run_folder.c: the folder of a run: its lock, the names in it, and clearing away what a killed run left.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "train/snapshot_private.h"

#define STEP_PREFIX "step_"
#define TEMPORARY_SUFFIX ".tmp"
#define LOCK_NAME "lock"
#define TRASH_PREFIX ".trash-"

enum { STEP_DIGITS_MIN = 8, STEP_DIGITS_MAX = 19 };

void fam_step_name(char out[FAM_STEP_NAME_SIZE], int64_t step)
{
    snprintf(out, FAM_STEP_NAME_SIZE, STEP_PREFIX "%0*" PRId64, STEP_DIGITS_MIN, step);
}

void fam_step_temporary_name(char out[FAM_STEP_NAME_SIZE], int64_t step)
{
    snprintf(out, FAM_STEP_NAME_SIZE, STEP_PREFIX "%0*" PRId64 TEMPORARY_SUFFIX, STEP_DIGITS_MIN, step);
}

static int64_t step_of(const char *name, const char *suffix)
{
    const size_t prefix = strlen(STEP_PREFIX);
    if (strncmp(name, STEP_PREFIX, prefix) != 0)
        return -1;
    const char *digits = name + prefix;
    size_t count = strspn(digits, "0123456789");
    if (count < STEP_DIGITS_MIN || count > STEP_DIGITS_MAX || strcmp(digits + count, suffix) != 0)
        return -1;
    if (count > STEP_DIGITS_MIN && digits[0] == '0')
        return -1; /* one name a step */
    int64_t step = 0;
    for (size_t i = 0; i < count; i++)
        if (!fam_mul_i64(&step, step, 10) || __builtin_add_overflow(step, digits[i] - '0', &step))
            return -1;
    return step;
}

int64_t fam_step_of_name(const char *name)
{
    return step_of(name, "");
}

int64_t fam_step_of_temporary_name(const char *name)
{
    return step_of(name, TEMPORARY_SUFFIX);
}

fam_status fam_trash_put(const fam_run_folder *folder, const char *name, fam_error *error)
{
    char trash[FAM_STEP_NAME_SIZE + 32];
    fam_folder_kind kind = FAM_FOLDER_OTHER;
    for (unsigned number = 0; kind != FAM_FOLDER_NOTHING; number++) {
        snprintf(trash, sizeof trash, TRASH_PREFIX "%.*s-%u", FAM_STEP_NAME_SIZE, name, number);
        fam_status status = fam_folder_look(&kind, NULL, folder->checkpoints, trash, error);
        if (status != FAM_OK)
            return status;
    }
    return fam_folder_rename(folder->checkpoints, name, trash, error);
}

/* Deletes trash, and with `temporary` what was being written. */
static fam_status clear(const fam_run_folder *folder, bool temporary, fam_error *error)
{
    fam_folder_names names = {.memory = folder->memory};
    fam_status status = FAM_OK;
    FAM_TRY(fam_folder_list(&names, folder->checkpoints, error));
    for (int64_t i = 0; i < names.count; i++) {
        const char *name = names.list[i];
        if (strncmp(name, TRASH_PREFIX, strlen(TRASH_PREFIX)) == 0 ||
            (temporary && fam_step_of_temporary_name(name) >= 0))
            FAM_TRY(fam_folder_remove(folder->checkpoints, name, error));
    }
done:
    fam_folder_names_free(&names);
    return status;
}

fam_status fam_trash_empty(const fam_run_folder *folder, fam_error *error)
{
    return clear(folder, false, error);
}

/* Whether there is nothing in it but the lock. */
static fam_status look_for_emptiness(fam_run_folder *folder, fam_error *error)
{
    fam_folder_names names = {.memory = folder->memory};
    fam_status status = fam_folder_list(&names, folder->root, error);
    folder->empty = status == FAM_OK && names.count == 1;
    fam_folder_names_free(&names);
    return status;
}

fam_status fam_run_folder_open(fam_run_folder **out, fam_memory *memory, const char *path, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_run_folder *folder = NULL;
    FAM_TRY_ALLOC(folder, fam_alloc_zeroed(memory, sizeof *folder), path);
    folder->memory = memory;
    folder->made = !fam_path_exists(path);
    FAM_TRY(fam_folder_make(memory, path, error));
    FAM_TRY(fam_folder_open(&folder->root, memory, path, error));
    FAM_TRY(fam_lock_take(&folder->lock, folder->root, LOCK_NAME, error));
    FAM_TRY(look_for_emptiness(folder, error));
    FAM_TRY(fam_folder_open_in(&folder->checkpoints, folder->root, FAM_CHECKPOINTS, true, error));
    FAM_TRY(fam_folder_sync(folder->root, error));
    FAM_TRY(clear(folder, true, error));
    *out = folder;
    folder = NULL;
done:
    if (folder && folder->made && !folder->lock)
        rmdir(path); /* not if another put something there; so below */
    fam_run_folder_discard(folder);
    return status;
}

void fam_run_folder_discard(fam_run_folder *folder)
{
    static const char *const names[] = {FAM_CHECKPOINTS, "start", "recipe.yaml", "metrics.jsonl"};
    if (!folder)
        return;
    for (size_t i = 0; folder->empty && i < sizeof names / sizeof *names; i++)
        fam_folder_remove(folder->root, names[i], NULL);
    if (folder->lock && (folder->empty || folder->made))
        fam_folder_remove(folder->root, LOCK_NAME, NULL);
    if (folder->lock && folder->made)
        rmdir(fam_folder_path(folder->root));
    fam_run_folder_close(folder);
}

void fam_run_folder_close(fam_run_folder *folder)
{
    if (!folder)
        return;
    fam_folder_close(folder->checkpoints);
    fam_folder_close(folder->root);
    fam_lock_release(folder->lock);
    fam_free(folder->memory, folder);
}

const char *fam_run_folder_path(const fam_run_folder *folder)
{
    return fam_folder_path(folder->root);
}

fam_status fam_run_folder_replace(fam_run_folder *folder, const char *fresh, const char *name, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_folder_kind kind;
    FAM_TRY(fam_folder_look(&kind, NULL, folder->root, name, error));
    if (kind != FAM_FOLDER_NOTHING) {
        status = fam_folder_exchange(folder->root, fresh, name, error);
        if (status == FAM_OK)
            status = fam_folder_remove(folder->root, fresh, error);
        else if (status == FAM_STATUS_UNSUPPORTED)
            status = fam_folder_remove(folder->root, name, error);
        FAM_TRY(status);
        FAM_TRY(fam_folder_look(&kind, NULL, folder->root, name, error));
    }
    if (kind == FAM_FOLDER_NOTHING)
        FAM_TRY(fam_folder_rename(folder->root, fresh, name, error));
    FAM_TRY(fam_folder_sync(folder->root, error));
done:
    return status;
}

fam_status fam_run_folder_remove(fam_run_folder *folder, const char *name, fam_error *error)
{
    return fam_folder_remove(folder->root, name, error);
}
