/*
 * train/inspect.c: what a training checkpoint, or a run's newest one, holds, as JSON.
 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "fam/train.h"
#include "format/json.h"
#include "train/manifest.h"
#include "train/snapshot.h"

static bool has(fam_memory *memory, const char *folder, const char *name)
{
    char *path = fam_path_join(memory, folder, name);
    bool there = path && fam_path_exists(path);
    fam_free(memory, path);
    return there;
}

bool fam_train_is_run(const char *path)
{
    fam_memory memory;
    fam_memory_init(&memory);
    return has(&memory, path, FAM_MANIFEST_NAME) || has(&memory, path, "checkpoints");
}

static fam_status read_text(char **out, fam_memory *memory, const char *folder, const char *name, fam_error *error)
{
    fam_status status = FAM_OK;
    enum { TEXT_MAX = 16 << 20 };
    uint8_t *data = NULL;
    size_t size;
    char *path = NULL;
    FAM_TRY_ALLOC(path, fam_path_join(memory, folder, name), name);
    FAM_TRY(fam_file_read(&data, &size, memory, path, TEXT_MAX, error));
    *out = (char *)data;
done:
    fam_free(memory, path);
    return status;
}

/* A whole checkpoint's files, and how the run stood. */
static fam_status describe(json_t *object, fam_memory *memory, const char *folder, fam_error *error)
{
    fam_status status = FAM_OK;
    char *text = NULL, *progress_text = NULL;
    fam_manifest manifest;
    json_t *progress = NULL;
    fam_manifest_init(&manifest, memory, 0);
    FAM_TRY(fam_snapshot_check(folder, memory, error));
    FAM_TRY(read_text(&text, memory, folder, FAM_MANIFEST_NAME, error));
    FAM_TRY(fam_manifest_parse(&manifest, memory, folder, text, strlen(text), error));
    FAM_TRY(read_text(&progress_text, memory, folder, "trainer.json", error));
    FAM_TRY(fam_json_parse(&progress, folder, progress_text, strlen(progress_text), error));
    uint64_t bytes = 0;
    for (int64_t i = 0; i < manifest.count; i++)
        bytes += manifest.files[i].hash.bytes;
    json_object_set_new(object, "step", json_integer((json_int_t)manifest.step));
    json_object_set_new(object, "bytes", json_integer((json_int_t)bytes));
    json_object_set_new(object, "files", json_integer((json_int_t)manifest.count));
    static const char *const shown[] = {"tokens", "optimizer_steps", "bad_total"};
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
        json_object_set(object, shown[i], json_object_get(progress, shown[i]));
    const json_t *curriculum = json_object_get(progress, "curriculum");
    json_object_set(object, "level", json_object_get(curriculum, "level"));
    json_object_set_new(object, "weights", json_string(has(memory, folder, "model") ? "model" : "adapter"));
done:
    fam_free(memory, text);
    fam_free(memory, progress_text);
    fam_manifest_clear(&manifest);
    json_decref(progress);
    return status;
}

static void note_skipped(void *context, const char *line)
{
    json_array_append_new(context, json_string(line));
}

fam_status fam_train_inspect(char **json, const char *path, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_memory memory;
    fam_snapshot newest = {0};
    json_t *object = json_object(), *skipped = json_array();
    fam_memory_init(&memory);
    bool is_run = !has(&memory, path, FAM_MANIFEST_NAME);
    const char *folder = path;
    if (is_run) {
        FAM_TRY(fam_snapshot_find(&newest, &memory, path, note_skipped, skipped, error));
        FAM_FAIL_IF(!newest.folder, FAM_STATUS_NOT_FOUND, "%s: checkpoint: found none that is whole, need one", path);
        folder = newest.folder;
    }
    json_object_set_new(object, "kind", json_string(is_run ? "run" : "checkpoint"));
    json_object_set_new(object, "checkpoint", json_string(folder));
    if (json_array_size(skipped) > 0)
        json_object_set(object, "skipped", skipped);
    FAM_TRY(describe(object, &memory, folder, error));
    *json = json_dumps(object, JSON_COMPACT);
    FAM_FAIL_IF(!*json, FAM_STATUS_OUT_OF_MEMORY, "%s: out of memory", path);
done:
    json_decref(object);
    json_decref(skipped);
    fam_free(&memory, newest.folder);
    return status;
}
