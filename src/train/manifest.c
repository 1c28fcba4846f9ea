/*
 * train/manifest.c: see manifest.h.
 */
#include "train/manifest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "format/json.h"

static const char FORMAT[] = "fam checkpoint";
#define TAIL_FORMAT "  \"xxh3_128\": \"%s\"\n}\n"

enum {
    HASH_DIGITS = FAM_HASH_SIZE - 1,
    TAIL_BYTES = sizeof TAIL_FORMAT - 1 - 2 + HASH_DIGITS,
    MEMBERS = 5,     /* of the object: format, version, step, files, xxh3_128 */
    FILE_MEMBERS = 3 /* of a file: path, bytes, xxh3_128 */
};

void fam_manifest_init(fam_manifest *manifest, fam_memory *memory, int64_t step)
{
    *manifest = (fam_manifest){.memory = memory, .step = step};
}

void fam_manifest_clear(fam_manifest *manifest)
{
    for (int64_t i = 0; i < manifest->count; i++)
        fam_free(manifest->memory, manifest->files[i].path);
    fam_free(manifest->memory, manifest->files);
    fam_manifest_init(manifest, manifest->memory, manifest->step);
}

/* What is wrong with a path, or NULL. */
static const char *path_fault(const char *path)
{
    size_t length = strlen(path);
    int depth = 1;
    if (length == 0)
        return "an empty path";
    if (length > FAM_MANIFEST_PATH_MAX)
        return "a path that is too long";
    if (!fam_utf8_valid((const uint8_t *)path, length))
        return "a path that is not UTF-8";
    if (strcmp(path, FAM_MANIFEST_NAME) == 0)
        return FAM_MANIFEST_NAME " itself";
    for (const char *next = path;; depth++) {
        size_t component = strcspn(next, "/");
        if (component == 0)
            return "a path with an empty component";
        if (component <= 2 && strncmp(next, "..", component) == 0)
            return "a path with \".\" or \"..\"";
        if (next[component] == '\0')
            break;
        next += component + 1;
    }
    return depth > FAM_MANIFEST_DEPTH_MAX ? "a path that is nested too deep" : NULL;
}

/* Appends; the path has been checked. */
static fam_status append(fam_manifest *manifest, const char *where, const char *path, const fam_file_hash *hash,
                         fam_error *error)
{
    fam_status status = FAM_OK;
    if (manifest->count == manifest->capacity) {
        int64_t larger = 2 * manifest->capacity + 16;
        fam_manifest_file *files;
        FAM_TRY_ALLOC(files, fam_realloc(manifest->memory, manifest->files, (size_t)larger * sizeof *files), where);
        manifest->files = files;
        manifest->capacity = larger;
    }
    char *copy;
    FAM_TRY_ALLOC(copy, fam_strdup(manifest->memory, path), where);
    manifest->files[manifest->count++] = (fam_manifest_file){.path = copy, .hash = *hash};
done:
    return status;
}

fam_status fam_manifest_add(fam_manifest *manifest, const char *where, const char *path, const fam_file_hash *hash,
                            fam_error *error)
{
    const char *fault = path_fault(path);
    if (fault)
        return fam_error_set(error, FAM_STATUS_INVALID_ARGUMENT,
                             "%s: checkpoint file \"%s\": found %s, need a plain relative path", where, path, fault);
    if (manifest->count == FAM_MANIFEST_FILES_MAX)
        return fam_error_set(error, FAM_STATUS_INVALID_ARGUMENT,
                             "%s: checkpoint: found more than %d files, need at most so many", where,
                             FAM_MANIFEST_FILES_MAX);
    return append(manifest, where, path, hash, error);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static int compare_files(const void *a, const void *b)
{
    return strcmp(((const fam_manifest_file *)a)->path, ((const fam_manifest_file *)b)->path);
}

/* The members before the hash as JSON of jansson's, or NULL. */
static char *dump(const fam_manifest *manifest)
{
    json_t *files = json_array();
    for (int64_t i = 0; files && i < manifest->count; i++) {
        const fam_manifest_file *file = &manifest->files[i];
        json_t *entry = json_pack("{s:s, s:I, s:s}", "path", file->path, "bytes", (json_int_t)file->hash.bytes,
                                  "xxh3_128", file->hash.digits);
        if (!entry || json_array_append_new(files, entry) != 0) { /* takes the entry, also when it fails */
            json_decref(files);
            files = NULL;
        }
    }
    /* json_pack takes `files`, also when it fails */
    json_t *root = files ? json_pack("{s:s, s:i, s:I, s:o}", "format", FORMAT, "version", FAM_MANIFEST_VERSION, "step",
                                     (json_int_t)manifest->step, "files", files)
                         : NULL;
    char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    json_decref(root);
    return text;
}

fam_status fam_manifest_write(char **out, size_t *size, fam_manifest *manifest, fam_error *error)
{
    fam_status status = FAM_OK;
    char *text = NULL, *json = NULL;
    if (manifest->count > 0)
        qsort(manifest->files, (size_t)manifest->count, sizeof *manifest->files, compare_files);
    for (int64_t i = 1; i < manifest->count; i++)
        FAM_FAIL_IF(compare_files(&manifest->files[i - 1], &manifest->files[i]) == 0, FAM_STATUS_INVALID_ARGUMENT,
                    FAM_MANIFEST_NAME ": path \"%s\": found it twice, need it once", manifest->files[i].path);
    FAM_TRY_ALLOC(json, dump(manifest), FAM_MANIFEST_NAME);
    size_t covered = strlen(json); /* its end, "\n}", becomes ",\n" */
    FAM_TRY_ALLOC(text, fam_alloc(manifest->memory, covered + TAIL_BYTES + 1), FAM_MANIFEST_NAME);
    memcpy(text, json, covered - 2);
    memcpy(text + covered - 2, ",\n", 2);
    fam_file_hash hash;
    fam_hash_bytes(&hash, text, covered);
    snprintf(text + covered, TAIL_BYTES + 1, TAIL_FORMAT, hash.digits);
    *out = text;
    *size = covered + TAIL_BYTES;
done:
    free(json);
    return status;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static fam_status check_tail(const char *name, const char *text, size_t size, fam_error *error)
{
    fam_status status = FAM_OK;
    FAM_FAIL_IF(size < TAIL_BYTES, FAM_STATUS_BAD_FORMAT, "%s: too short: found %zu bytes, need at least %d", name,
                size, TAIL_BYTES);
    size_t covered = size - TAIL_BYTES;
    char tail[TAIL_BYTES + 1];
    fam_file_hash hash;
    fam_hash_bytes(&hash, text, covered);
    snprintf(tail, sizeof tail, TAIL_FORMAT, hash.digits);
    FAM_FAIL_IF(memcmp(tail, text + covered, TAIL_BYTES) != 0, FAM_STATUS_BAD_FORMAT,
                "%s: checksum: offset %zu: found another, the file is damaged or cut short", name, covered);
done:
    return status;
}

static bool is_hash(const char *digits)
{
    return strlen(digits) == HASH_DIGITS && strspn(digits, "0123456789abcdef") == HASH_DIGITS;
}

static fam_status parse_file(fam_manifest *manifest, const char *name, json_t *entry, int64_t index, fam_error *error)
{
    fam_status status = FAM_OK;
    char where[FAM_ERROR_SIZE];
    const char *path = NULL, *digits = NULL;
    int64_t bytes = 0;
    fam_file_hash hash;
    snprintf(where, sizeof where, "%.900s: files[%lld]", name, (long long)index);
    FAM_FAIL_IF(!json_is_object(entry) || json_object_size(entry) != FILE_MEMBERS, FAM_STATUS_BAD_FORMAT,
                "%s: found something else, need an object of path, bytes and xxh3_128", where);
    FAM_TRY(fam_json_string(entry, where, "path", true, &path, error));
    FAM_TRY(fam_json_i64(entry, where, "bytes", true, &bytes, error));
    FAM_TRY(fam_json_string(entry, where, "xxh3_128", true, &digits, error));
    const char *fault = path_fault(path);
    FAM_FAIL_IF(fault, FAM_STATUS_BAD_FORMAT, "%s: path: found %s, need a plain relative path", where, fault);
    FAM_FAIL_IF(manifest->count > 0 && strcmp(manifest->files[manifest->count - 1].path, path) >= 0,
                FAM_STATUS_BAD_FORMAT, "%s: path: found \"%s\" again or out of order, need sorted paths", where, path);
    FAM_FAIL_IF(bytes < 0, FAM_STATUS_BAD_FORMAT, "%s: bytes: found %lld, need 0 or more", where, (long long)bytes);
    FAM_FAIL_IF(!is_hash(digits), FAM_STATUS_BAD_FORMAT, "%s: xxh3_128: found \"%.40s\", need %d hexadecimal digits",
                where, digits, HASH_DIGITS);
    hash.bytes = (uint64_t)bytes;
    memcpy(hash.digits, digits, FAM_HASH_SIZE);
    FAM_TRY(append(manifest, name, path, &hash, error));
done:
    return status;
}

static fam_status check_version(const char *name, const json_t *root, fam_error *error)
{
    fam_status status = FAM_OK;
    const char *format = NULL;
    int64_t version = 0;
    FAM_TRY(fam_json_string(root, name, "format", true, &format, error));
    FAM_FAIL_IF(strcmp(format, FORMAT) != 0, FAM_STATUS_BAD_FORMAT, "%s: format: found \"%.64s\", need \"%s\"", name,
                format, FORMAT);
    FAM_TRY(fam_json_i64(root, name, "version", true, &version, error));
    FAM_FAIL_IF(version < 1, FAM_STATUS_BAD_FORMAT, "%s: version: found %lld, need 1 to %d", name, (long long)version,
                FAM_MANIFEST_VERSION);
    FAM_FAIL_IF(version > FAM_MANIFEST_VERSION, FAM_STATUS_UNSUPPORTED,
                "%s: version: found %lld, need at most %d (a newer fam wrote it)", name, (long long)version,
                FAM_MANIFEST_VERSION);
done:
    return status;
}

fam_status fam_manifest_parse(fam_manifest *out, fam_memory *memory, const char *name, const char *text, size_t size,
                              fam_error *error)
{
    fam_status status = FAM_OK;
    fam_manifest manifest;
    json_t *root = NULL, *files = NULL;
    fam_manifest_init(&manifest, memory, 0);
    fam_manifest_init(out, memory, 0);
    FAM_FAIL_IF(size > FAM_MANIFEST_BYTES_MAX, FAM_STATUS_BAD_FORMAT, "%s: size: found %zu bytes, need at most %d",
                name, size, FAM_MANIFEST_BYTES_MAX);
    FAM_TRY(check_tail(name, text, size, error));
    FAM_TRY(fam_json_parse(&root, name, text, size, error));
    FAM_FAIL_IF(!json_is_object(root), FAM_STATUS_BAD_FORMAT, "%s: top level: found an array, need an object", name);
    FAM_TRY(check_version(name, root, error));
    FAM_TRY(fam_json_i64(root, name, "step", true, &manifest.step, error));
    FAM_FAIL_IF(manifest.step < 0, FAM_STATUS_BAD_FORMAT, "%s: step: found %lld, need 0 or more", name,
                (long long)manifest.step);
    FAM_TRY(fam_json_child(root, name, "files", JSON_ARRAY, true, &files, error));
    FAM_FAIL_IF(json_object_size(root) != MEMBERS, FAM_STATUS_BAD_FORMAT,
                "%s: members: found %zu, need format, version, step, files and xxh3_128", name, json_object_size(root));
    FAM_FAIL_IF(json_array_size(files) > FAM_MANIFEST_FILES_MAX, FAM_STATUS_BAD_FORMAT,
                "%s: files: found %zu, need at most %d", name, json_array_size(files), FAM_MANIFEST_FILES_MAX);
    for (size_t i = 0; i < json_array_size(files); i++)
        FAM_TRY(parse_file(&manifest, name, json_array_get(files, i), (int64_t)i, error));
    *out = manifest;
    fam_manifest_init(&manifest, memory, 0);
done:
    json_decref(root);
    fam_manifest_clear(&manifest);
    return status;
}
