/*
 * cli/weights_count.c: see weights_count.h.
 */
#include "weights_count.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "whole_file.h"

enum { HEADER_BYTES = 16 << 20 };

static const int64_t COUNT_MAX = (int64_t)1 << 53;

/* Of one tensor; -1: no shape. */
static int64_t count_of(const json_t *tensor)
{
    const json_t *shape = json_object_get(tensor, "shape");
    int64_t count = 1;
    for (size_t i = 0; i < json_array_size(shape); i++) {
        int64_t extent = json_integer_value(json_array_get(shape, i));
        if (extent < 0 || (extent > 0 && count > COUNT_MAX / extent))
            return -1;
        count *= extent;
    }
    return json_is_array(shape) ? count : -1;
}

int64_t weights_count_of_header(const char *json, size_t size)
{
    json_t *root = json_loadb(json, size, JSON_REJECT_DUPLICATES, NULL);
    int64_t sum = json_is_object(root) ? 0 : -1;
    for (void *at = json_object_iter(root); at && sum >= 0; at = json_object_iter_next(root, at)) {
        if (strcmp(json_object_iter_key(at), "__metadata__") == 0)
            continue;
        int64_t count = count_of(json_object_iter_value(at));
        sum = count < 0 || sum > COUNT_MAX - count ? -1 : sum + count;
    }
    json_decref(root);
    return sum;
}

/* 0 if the file is not there. */
static int64_t count_in(const char *folder, const char *name)
{
    char path[FILE_PATH_BYTES];
    unsigned char length[8];
    fam_error error;
    FILE *file;
    int64_t count = -1;
    if (file_path(path, folder, name, &error) != FAM_OK)
        return -1;
    fam_status status = file_open(&file, path, &error);
    if (status != FAM_OK)
        return status == FAM_STATUS_NOT_FOUND ? 0 : -1;
    if (fread(length, 1, sizeof length, file) == sizeof length) {
        uint64_t size = 0;
        for (int i = 7; i >= 0; i--)
            size = size << 8 | length[i];
        char *json = size <= HEADER_BYTES ? malloc(size + 1) : NULL;
        if (json && fread(json, 1, size, file) == size)
            count = weights_count_of_header(json, size);
        free(json);
    }
    fclose(file);
    return count;
}

int64_t weights_count_of_run(const char *folder, const char *what)
{
    static const char *const adapters[] = {"result", "start/adapter"}, *const models[] = {"result", "start/model"};
    bool all = strcmp(what, "all") == 0;
    for (int i = 0; i < 2; i++) {
        char path[FILE_PATH_BYTES];
        fam_error error;
        if (file_path(path, folder, all ? models[i] : adapters[i], &error) != FAM_OK)
            return -1;
        int64_t weights = all                           ? count_in(path, "model.safetensors")
                          : strcmp(what, "prompt") == 0 ? 0
                                                        : count_in(path, "adapter_model.safetensors");
        int64_t prompt = all ? 0 : count_in(path, "fam_prompt.safetensors");
        if (weights >= 0 && prompt >= 0 && weights + prompt > 0)
            return weights + prompt;
    }
    return -1;
}
