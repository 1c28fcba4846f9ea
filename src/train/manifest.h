/*
 * train/manifest.h: MANIFEST, the list of a checkpoint's files: JSON that ends with the hash of itself.
 *
 *   {
 *     "format": "fam checkpoint",
 *     "version": 1,
 *     "step": 200,
 *     "files": [
 *       {"path": "optimizer.safetensors", "bytes": 1234, "xxh3_128": "0123456789abcdef0123456789abcdef"},
 *       ...                                       sorted by the bytes of the path, each path once
 *     ],
 *     "xxh3_128": "0123456789abcdef0123456789abcdef"
 *   }
 *
 * The last two lines are, to the byte, `  "xxh3_128": "<32 digits>"` and `}`, and the digits are the XXH3-128 (high
 * word first) of all that is before them. This holds in every version, so damage is told from a newer version.
 */
#ifndef FAM_TRAIN_MANIFEST_H
#define FAM_TRAIN_MANIFEST_H

#include "base/folder.h"

#define FAM_MANIFEST_NAME "MANIFEST"

enum {
    FAM_MANIFEST_VERSION = 1,
    FAM_MANIFEST_BYTES_MAX = 1 << 22,
    FAM_MANIFEST_FILES_MAX = 4096,
    FAM_MANIFEST_PATH_MAX = 512, /* bytes of a path */
    FAM_MANIFEST_DEPTH_MAX = 8   /* components of a path */
};

typedef struct fam_manifest_file {
    char *path; /* relative, components between single slashes, none of them "." or ".." */
    fam_file_hash hash;
} fam_manifest_file;

typedef struct fam_manifest {
    fam_memory *memory;
    int64_t step; /* 0 or more */
    fam_manifest_file *files;
    int64_t count, capacity;
} fam_manifest;

void fam_manifest_init(fam_manifest *manifest, fam_memory *memory, int64_t step);
void fam_manifest_clear(fam_manifest *manifest); /* releases what it holds */

/* Adds a file, in any order. A path that MANIFEST cannot hold: INVALID_ARGUMENT. `where` names the
 * folder in messages. */
fam_status fam_manifest_add(fam_manifest *manifest, const char *where, const char *path, const fam_file_hash *hash,
                            fam_error *error);
/* Sorts the files, and writes the text, released with fam_free. A path that is there twice: INVALID_ARGUMENT. */
fam_status fam_manifest_write(char **out, size_t *size, fam_manifest *manifest, fam_error *error);

/* Reads a text that is not trusted; `name` stands for the file. BAD_FORMAT; UNSUPPORTED: whole, but of a newer version;
 * OUT_OF_MEMORY. On failure *out holds nothing. */
fam_status fam_manifest_parse(fam_manifest *out, fam_memory *memory, const char *name, const char *text, size_t size,
                              fam_error *error);

#endif
