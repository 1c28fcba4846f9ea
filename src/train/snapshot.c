/*
 * train/snapshot.c: checkpoints. Writing: files, MANIFEST, and only then the name that counts. Reading: the newest
 * whose MANIFEST and files agree.
 *
 * At every moment of a commit the newest good checkpoint has its name: the new one gets it when all of it is on the
 * disk, and old ones lose theirs (to .trash) only when that name is on the disk, too.
 */
#include "train/snapshot.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "train/manifest.h"
#include "train/snapshot_private.h"

enum { KEEP_MIN = 2 };

/* The name with the largest step below `bound` (any, if it is -1); NULL if there is none. */
static const char *newest_below(const fam_folder_names *names, int64_t bound)
{
    const char *newest = NULL;
    for (int64_t i = 0; i < names->count; i++) {
        int64_t step = fam_step_of_name(names->list[i]);
        if (step >= 0 && (bound < 0 || step < bound) && (!newest || step > fam_step_of_name(newest)))
            newest = names->list[i];
    }
    return newest;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

struct fam_snapshot_writer {
    fam_memory *memory;
    fam_run_folder *run;
    fam_folder *folder; /* step_N.tmp */
    int64_t step;
};

static void writer_free(fam_snapshot_writer *writer)
{
    writer->run->writing = false;
    fam_folder_close(writer->folder);
    fam_free(writer->memory, writer);
}

fam_status fam_snapshot_begin(fam_snapshot_writer **out, fam_run_folder *folder, int64_t step, uint64_t bytes,
                              fam_error *error)
{
    fam_status status = FAM_OK;
    fam_snapshot_writer *writer = NULL;
    const char *path = fam_folder_path(folder->checkpoints);
    char name[FAM_STEP_NAME_SIZE];
    uint64_t room = 0;
    if (folder->writing)
        return fam_error_set(error, FAM_STATUS_INVALID_ARGUMENT,
                             "%s: found a checkpoint being written, need one at a time", path);
    FAM_FAIL_IF(step < 0, FAM_STATUS_INVALID_ARGUMENT, "%s: step: found %" PRId64 ", need 0 or more", path, step);
    FAM_TRY(fam_folder_free_bytes(&room, folder->checkpoints, error));
    FAM_FAIL_IF(room < bytes, FAM_STATUS_IO,
                "%s: free space: found %" PRIu64 " bytes, need %" PRIu64 " for a checkpoint", path, room, bytes);
    FAM_TRY_ALLOC(writer, fam_alloc_zeroed(folder->memory, sizeof *writer), path);
    writer->memory = folder->memory;
    writer->run = folder;
    writer->step = step;
    fam_step_temporary_name(name, step);
    FAM_TRY(fam_folder_remove(folder->checkpoints, name, error)); /* of a failure that could not be cleared away */
    FAM_TRY(fam_folder_open_in(&writer->folder, folder->checkpoints, name, true, error));
    folder->writing = true;
    *out = writer;
    writer = NULL;
done:
    fam_snapshot_abort(writer);
    return status;
}

const char *fam_snapshot_folder(const fam_snapshot_writer *writer)
{
    return fam_folder_path(writer->folder);
}

void fam_snapshot_abort(fam_snapshot_writer *writer)
{
    if (!writer)
        return;
    char name[FAM_STEP_NAME_SIZE];
    fam_step_temporary_name(name, writer->step);
    fam_folder_remove(writer->run->checkpoints, name, NULL); /* what this leaves is removed by the next open */
    writer_free(writer);
}

/* Hashes and syncs all files below `folder`, whose own path in the checkpoint is `prefix` ("" or ending in a slash),
 * then the folder itself. */
static fam_status gather(fam_manifest *manifest, const fam_folder *folder, const char *prefix, int depth,
                         fam_error *error)
{
    fam_status status = FAM_OK;
    fam_folder_names names = {.memory = manifest->memory};
    fam_folder *inner = NULL;
    char path[FAM_MANIFEST_PATH_MAX + 2];
    const char *where = fam_folder_path(folder);
    FAM_FAIL_IF(depth > FAM_MANIFEST_DEPTH_MAX, FAM_STATUS_INVALID_ARGUMENT,
                "%s: checkpoint: found folders nested more than %d deep", where, FAM_MANIFEST_DEPTH_MAX);
    FAM_TRY(fam_folder_list(&names, folder, error));
    for (int64_t i = 0; i < names.count; i++) {
        fam_folder_kind kind;
        fam_file_hash hash;
        FAM_TRY(fam_folder_look(&kind, NULL, folder, names.list[i], error));
        int length = snprintf(path, sizeof path - 1, "%s%s", prefix, names.list[i]);
        FAM_FAIL_IF(length > FAM_MANIFEST_PATH_MAX, FAM_STATUS_INVALID_ARGUMENT,
                    "%s/%s: checkpoint: found a path of %d bytes, need at most %d", where, names.list[i], length,
                    FAM_MANIFEST_PATH_MAX);
        if (kind == FAM_FOLDER_FOLDER) {
            path[length] = '/';
            path[length + 1] = '\0';
            FAM_TRY(fam_folder_open_in(&inner, folder, names.list[i], false, error));
            FAM_TRY(gather(manifest, inner, path, depth + 1, error));
            fam_folder_close(inner);
            inner = NULL;
            continue;
        }
        FAM_FAIL_IF(kind != FAM_FOLDER_FILE, FAM_STATUS_INVALID_ARGUMENT,
                    "%s/%s: checkpoint: found %s, need files and folders only", where, names.list[i],
                    fam_folder_kind_words(kind));
        FAM_TRY(fam_folder_hash(&hash, folder, names.list[i], true, error));
        FAM_TRY(fam_manifest_add(manifest, where, path, &hash, error));
    }
    FAM_TRY(fam_folder_sync(folder, error));
done:
    fam_folder_close(inner);
    fam_folder_names_free(&names);
    return status;
}

/* Everything that must be on the disk before the checkpoint gets its name. */
static fam_status seal(fam_snapshot_writer *writer, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_manifest manifest;
    char *text = NULL;
    size_t size = 0;
    fam_manifest_init(&manifest, writer->memory, writer->step);
    FAM_TRY(gather(&manifest, writer->folder, "", 1, error));
    FAM_TRY(fam_manifest_write(&text, &size, &manifest, error));
    FAM_TRY(fam_folder_write(writer->folder, FAM_MANIFEST_NAME, text, size, error));
    FAM_TRY(fam_folder_sync(writer->folder, error));
done:
    fam_free(writer->memory, text);
    fam_manifest_clear(&manifest);
    return status;
}

/* Gives the checkpoint its name. One of the same step (damaged, or of a run that was begun anew) changes places with it
 * at once; where the file system cannot do that, it goes first. *renamed: the temporary name is no longer the new
 * one's. */
static fam_status publish(const fam_snapshot_writer *writer, bool *renamed, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_folder *checkpoints = writer->run->checkpoints;
    char name[FAM_STEP_NAME_SIZE], temporary[FAM_STEP_NAME_SIZE];
    fam_folder_kind kind;
    fam_step_name(name, writer->step);
    fam_step_temporary_name(temporary, writer->step);
    FAM_TRY(fam_folder_look(&kind, NULL, checkpoints, name, error));
    if (kind != FAM_FOLDER_NOTHING) {
        status = fam_folder_exchange(checkpoints, temporary, name, error);
        if (status == FAM_OK) {
            *renamed = true;
            FAM_TRY(fam_folder_sync(checkpoints, error));
            FAM_TRY(fam_folder_remove(checkpoints, temporary, error));
            goto done;
        }
        if (status != FAM_STATUS_UNSUPPORTED)
            goto done;
        FAM_TRY(fam_trash_put(writer->run, name, error));
    }
    FAM_TRY(fam_folder_rename(checkpoints, temporary, name, error));
    *renamed = true;
    FAM_TRY(fam_folder_sync(checkpoints, error));
done:
    return status;
}

/* Keeps `newest` and those before it, `keep` in all. Those of later steps belong to a past that the run has left: they
 * were damaged when it was resumed, or it was begun anew. */
static fam_status rotate(const fam_run_folder *run, int64_t newest, int64_t keep, fam_error *error)
{
    fam_folder_names names = {.memory = run->memory};
    fam_status status = FAM_OK;
    int64_t kept = 0;
    FAM_TRY(fam_folder_list(&names, run->checkpoints, error));
    for (const char *name = newest_below(&names, -1); name; name = newest_below(&names, fam_step_of_name(name))) {
        if (fam_step_of_name(name) <= newest && kept < keep)
            kept++;
        else
            FAM_TRY(fam_trash_put(run, name, error));
    }
    FAM_TRY(fam_folder_sync(run->checkpoints, error));
    FAM_TRY(fam_trash_empty(run, error));
done:
    fam_folder_names_free(&names);
    return status;
}

fam_status fam_snapshot_commit(fam_snapshot_writer *writer, int64_t keep, fam_error *error)
{
    fam_status status = FAM_OK;
    bool renamed = false;
    FAM_TRY(seal(writer, error));
    FAM_TRY(publish(writer, &renamed, error));
    FAM_TRY(rotate(writer->run, writer->step, keep < KEEP_MIN ? KEEP_MIN : keep, error));
done:
    if (renamed)
        writer_free(writer);
    else
        fam_snapshot_abort(writer);
    return status;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* Opens the folder that the last component of `path` lies in, links refused. *inner is NULL when it is `folder`. */
static fam_status descend(fam_folder **inner, const char **name, const fam_folder *folder, const char *path,
                          fam_error *error)
{
    fam_status status = FAM_OK;
    fam_folder *at = NULL;
    for (const char *slash; (slash = strchr(path, '/')); path = slash + 1) {
        char component[FAM_MANIFEST_PATH_MAX + 1];
        fam_folder *next = NULL;
        snprintf(component, sizeof component, "%.*s", (int)(slash - path), path);
        FAM_TRY(fam_folder_open_in(&next, at ? at : folder, component, false, error));
        fam_folder_close(at);
        at = next;
    }
    *inner = at;
    *name = path;
    at = NULL;
done:
    fam_folder_close(at);
    return status;
}

static fam_status check_file(const fam_folder *folder, const fam_manifest_file *file, bool contents, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_folder *inner = NULL;
    const char *name = NULL, *where = fam_folder_path(folder);
    fam_file_hash found = {0};
    fam_folder_kind kind;
    FAM_TRY(descend(&inner, &name, folder, file->path, error));
    const fam_folder *at = inner ? inner : folder;
    FAM_TRY(fam_folder_look(&kind, &found.bytes, at, name, error));
    FAM_FAIL_IF(kind != FAM_FOLDER_FILE, FAM_STATUS_BAD_FORMAT, "%s/%s: found %s, need a file of %" PRIu64 " bytes",
                where, file->path, fam_folder_kind_words(kind), file->hash.bytes);
    if (contents && found.bytes == file->hash.bytes)
        FAM_TRY(fam_folder_hash(&found, at, name, false, error));
    FAM_FAIL_IF(found.bytes != file->hash.bytes, FAM_STATUS_BAD_FORMAT,
                "%s/%s: size: found %" PRIu64 " bytes, need %" PRIu64, where, file->path, found.bytes,
                file->hash.bytes);
    FAM_FAIL_IF(contents && strcmp(found.digits, file->hash.digits) != 0, FAM_STATUS_BAD_FORMAT,
                "%s/%s: checksum: found %s, need %s: the file is damaged", where, file->path, found.digits,
                file->hash.digits);
done:
    fam_folder_close(inner);
    return status;
}

/* `step`: what MANIFEST must say, or -1 for anything. What is missing is BAD_FORMAT. */
static fam_status check_folder(const fam_folder *folder, fam_memory *memory, int64_t step, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_manifest manifest;
    uint8_t *text = NULL;
    size_t size = 0;
    char name[FAM_ERROR_SIZE];
    snprintf(name, sizeof name, "%.1000s/" FAM_MANIFEST_NAME, fam_folder_path(folder));
    fam_manifest_init(&manifest, memory, 0);
    FAM_TRY(fam_folder_read(&text, &size, folder, FAM_MANIFEST_NAME, FAM_MANIFEST_BYTES_MAX, error));
    FAM_TRY(fam_manifest_parse(&manifest, memory, name, (const char *)text, size, error));
    FAM_FAIL_IF(step >= 0 && manifest.step != step, FAM_STATUS_BAD_FORMAT,
                "%s: step: found %" PRId64 ", need %" PRId64 " as its folder is called", name, manifest.step, step);
    for (int64_t i = 0; i < manifest.count; i++) /* what is quickly told comes first */
        FAM_TRY(check_file(folder, &manifest.files[i], false, error));
    for (int64_t i = 0; i < manifest.count; i++)
        FAM_TRY(check_file(folder, &manifest.files[i], true, error));
done:
    fam_manifest_clear(&manifest);
    fam_free(memory, text);
    if (status == FAM_STATUS_NOT_FOUND)
        status = error ? (error->status = FAM_STATUS_BAD_FORMAT) : FAM_STATUS_BAD_FORMAT;
    return status;
}

fam_status fam_snapshot_check(const char *path, fam_memory *memory, fam_error *error)
{
    fam_folder *folder = NULL;
    fam_status status = fam_folder_open(&folder, memory, path, error);
    if (status == FAM_OK)
        status = check_folder(folder, memory, -1, error);
    fam_folder_close(folder);
    return status;
}

typedef struct notices {
    void (*say)(void *context, const char *line);
    void *context;
} notices;

static void tell(const notices *to, const char *line)
{
    if (to->say)
        to->say(to->context, line);
}

/* Tells about names that look like a step's and are none. */
static void tell_names(const notices *to, const fam_folder_names *names, const char *path)
{
    fam_error line;
    for (int64_t i = 0; i < names->count; i++) {
        const char *name = names->list[i];
        if (fam_step_of_temporary_name(name) >= 0)
            fam_error_set(&line, FAM_STATUS_BAD_FORMAT, "%s/%s: being written, or left by a run that was killed", path,
                          name);
        else if (strncmp(name, "step_", 5) == 0 && fam_step_of_name(name) < 0)
            fam_error_set(&line, FAM_STATUS_BAD_FORMAT,
                          "%s/%s: not the name of a step: need step_ and at least eight digits, as in step_00000200",
                          path, name);
        else
            continue;
        tell(to, line.message);
    }
}

/* Sets *whole if it is; else says why. What the system, not the checkpoint, refuses is an error: an older one is not
 * taken because memory was short. */
static fam_status try_step(bool *whole, const fam_folder *checkpoints, const char *name, fam_memory *memory,
                           const notices *to, fam_error *error)
{
    fam_folder *folder = NULL;
    fam_error reason = {0};
    fam_status status = fam_folder_open_in(&folder, checkpoints, name, false, &reason);
    if (status == FAM_OK)
        status = check_folder(folder, memory, fam_step_of_name(name), &reason);
    fam_folder_close(folder);
    *whole = status == FAM_OK;
    if (status == FAM_STATUS_BAD_FORMAT || status == FAM_STATUS_NOT_FOUND) {
        tell(to, reason.message);
        return FAM_OK;
    }
    return status == FAM_OK ? FAM_OK : fam_error_set(error, status, "%s", reason.message);
}

fam_status fam_snapshot_find(fam_snapshot *out, fam_memory *memory, const char *run,
                             void (*skipped)(void *context, const char *line), void *context, fam_error *error)
{
    fam_status status = FAM_OK;
    const notices to = {skipped, context};
    fam_folder *root = NULL, *checkpoints = NULL;
    fam_folder_names names = {.memory = memory};
    *out = (fam_snapshot){0};
    status = fam_folder_open(&root, memory, run, error);
    if (status == FAM_OK)
        status = fam_folder_open_in(&checkpoints, root, FAM_CHECKPOINTS, false, error);
    if (status == FAM_STATUS_NOT_FOUND)
        status = FAM_OK; /* a run that has not begun */
    if (!checkpoints)
        goto done;
    FAM_TRY(fam_folder_list(&names, checkpoints, error));
    tell_names(&to, &names, fam_folder_path(checkpoints));
    for (const char *name = newest_below(&names, -1); name; name = newest_below(&names, fam_step_of_name(name))) {
        bool whole = false;
        FAM_TRY(try_step(&whole, checkpoints, name, memory, &to, error));
        out->damaged += !whole;
        if (!whole)
            continue;
        FAM_TRY_ALLOC(out->folder, fam_path_join(memory, fam_folder_path(checkpoints), name), run);
        out->step = fam_step_of_name(name);
        break;
    }
done:
    fam_folder_names_free(&names);
    fam_folder_close(checkpoints);
    fam_folder_close(root);
    return status;
}
