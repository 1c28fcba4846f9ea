/*
 * Fuzz target: MANIFEST of a checkpoint. The bytes are read as they are, and once more with the hash at their end made
 * right, so that what lies behind it is reached. No accepted path leads out of the checkpoint, and what is accepted is
 * accepted again after it was written.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_path(const char *path)
{
    size_t length = strlen(path);
    if (length == 0 || length > FAM_MANIFEST_PATH_MAX || path[0] == '/' || path[length - 1] == '/' ||
        strstr(path, "//") || strcmp(path, FAM_MANIFEST_NAME) == 0)
        abort();
    for (const char *at = path; at; at = strchr(at, '/')) {
        at += *at == '/';
        size_t component = strcspn(at, "/");
        if ((component == 1 && at[0] == '.') || (component == 2 && at[0] == '.' && at[1] == '.'))
            abort();
    }
}

static void read_one(const char *text, size_t size)
{
    fam_memory memory;
    fam_manifest manifest, again;
    fam_error error = {0};
    fam_memory_init(&memory);
    if (fam_manifest_parse(&manifest, &memory, "MANIFEST", text, size, &error) == FAM_OK) {
        char *written;
        size_t length;
        for (int64_t i = 0; i < manifest.count; i++)
            check_path(manifest.files[i].path);
        if (fam_manifest_write(&written, &length, &manifest, &error) != FAM_OK ||
            fam_manifest_parse(&again, &memory, "MANIFEST", written, length, &error) != FAM_OK ||
            again.count != manifest.count || again.step != manifest.step)
            abort();
        fam_manifest_clear(&again);
        fam_free(&memory, written);
    } else if (manifest.count != 0 || strncmp(error.message, "MANIFEST: ", 10) != 0) {
        abort();
    }
    fam_manifest_clear(&manifest);
    if (memory.bytes != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char head[] = ",\n  \"xxh3_128\": \"", foot[] = "\"\n}\n";
    fam_file_hash hash;
    char *text = malloc(size + 100);
    if (!text)
        abort();
    memcpy(text, data, size);
    read_one(text, size);
    /* what is before the last two lines, or all of it, with these lines made right */
    static const size_t tail = sizeof head - 1 + FAM_HASH_SIZE - 1 + sizeof foot - 1;
    size_t body = size > tail && memcmp(text + size - tail, head, sizeof head - 1) == 0 ? size - tail : size;
    memcpy(text + body, ",\n", 2);
    fam_hash_bytes(&hash, text, body + 2);
    int length = snprintf(text + body, 100, "%s%s%s", head, hash.digits, foot);
    read_one(text, body + (size_t)length);
    free(text);
    return 0;
}
