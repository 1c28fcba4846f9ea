/*
 * base/folder.h: folders held open, and what lies in them reached by name: listed, read, hashed, synced, renamed,
 * deleted. Links in a folder are never followed, so nothing outside of it is touched.
 *
 * A name is one component, without a slash. A fam_folder may be used by several threads as the file system allows.
 */
#ifndef FAM_BASE_FOLDER_H
#define FAM_BASE_FOLDER_H

#include "base/file.h"

typedef struct fam_folder fam_folder;

/* Makes a folder and those above it that are missing, each synced into the one above. It is no error if it is there. */
fam_status fam_folder_make(fam_memory *memory, const char *path, fam_error *error);
/* The path may be a link to a folder: the caller chose it. NOT_FOUND, IO, OUT_OF_MEMORY. */
fam_status fam_folder_open(fam_folder **out, fam_memory *memory, const char *path, fam_error *error);
/* A folder in a folder; anything else of that name, a link too, is BAD_FORMAT. With `make` it is made if nothing is
 * there, not yet synced. */
fam_status fam_folder_open_in(fam_folder **out, const fam_folder *parent, const char *name, bool make,
                              fam_error *error);
void fam_folder_close(fam_folder *folder); /* NULL is allowed */
const char *fam_folder_path(const fam_folder *folder);

/* All names in it but "." and "..", sorted by bytes. Released with fam_folder_names_free. */
typedef struct fam_folder_names {
    fam_memory *memory;
    char **list;
    int64_t count;
} fam_folder_names;
fam_status fam_folder_list(fam_folder_names *out, const fam_folder *folder, fam_error *error);
void fam_folder_names_free(fam_folder_names *names);

typedef enum fam_folder_kind {
    FAM_FOLDER_NOTHING,
    FAM_FOLDER_FILE, /* a regular one */
    FAM_FOLDER_FOLDER,
    FAM_FOLDER_LINK,
    FAM_FOLDER_OTHER
} fam_folder_kind;
/* What has this name; *bytes (may be NULL) is a file's size. */
fam_status fam_folder_look(fam_folder_kind *out, uint64_t *bytes, const fam_folder *folder, const char *name,
                           fam_error *error);
/* "a symbolic link" and so on, for messages. */
const char *fam_folder_kind_words(fam_folder_kind kind);

/* A regular file of at most `limit` bytes, as fam_file_read; BAD_FORMAT if it is anything else. */
fam_status fam_folder_read(uint8_t **out, size_t *size, const fam_folder *folder, const char *name, size_t limit,
                           fam_error *error);
/* Makes a file that was not there, and syncs it (the folder is not synced). */
fam_status fam_folder_write(const fam_folder *folder, const char *name, const void *data, size_t size,
                            fam_error *error);

enum { FAM_HASH_SIZE = 33 };
typedef struct fam_file_hash {
    uint64_t bytes;
    char digits[FAM_HASH_SIZE]; /* XXH3-128, 32 lower-case hexadecimal digits, the high word first */
} fam_file_hash;
void fam_hash_bytes(fam_file_hash *out, const void *data, size_t size);
/* Reads a regular file in pieces (BAD_FORMAT if it is anything else); with `sync` it is on the disk afterwards. */
fam_status fam_folder_hash(fam_file_hash *out, const fam_folder *folder, const char *name, bool sync,
                           fam_error *error);

fam_status fam_folder_sync(const fam_folder *folder, fam_error *error);
/* What is called `to` may only be nothing or, for a folder, an empty folder. */
fam_status fam_folder_rename(const fam_folder *folder, const char *from, const char *to, fam_error *error);
/* The two change places at once; UNSUPPORTED where the file system cannot. */
fam_status fam_folder_exchange(const fam_folder *folder, const char *a, const char *b, fam_error *error);
/* Deletes whatever has this name, with all that is in it (folders nested at most FAM_FOLDER_DEPTH_MAX deep); it is no
 * error if there is nothing. */
enum { FAM_FOLDER_DEPTH_MAX = 32 };
fam_status fam_folder_remove(const fam_folder *folder, const char *name, fam_error *error);
/* Bytes that this user may still write there; UINT64_MAX where the file system does not tell. */
fam_status fam_folder_free_bytes(uint64_t *out, const fam_folder *folder, fam_error *error);

/* A lock on a folder: a file in it that one process holds until it releases it or ends, however it ends, and that says
 * who does. Held by another (also in this process): MISMATCH "in use by process N on HOST". */
typedef struct fam_lock fam_lock;
fam_status fam_lock_take(fam_lock **out, const fam_folder *folder, const char *name, fam_error *error);
void fam_lock_release(fam_lock *lock); /* NULL is allowed */

#endif
