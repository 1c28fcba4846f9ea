/*
 * tests/support/snapshot_fixture.h: a run folder with checkpoints whose contents follow from their step, and looking at
 * what is there. Failures fail the test that called.
 */
#ifndef TESTS_SUPPORT_SNAPSHOT_FIXTURE_H
#define TESTS_SUPPORT_SNAPSHOT_FIXTURE_H

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/random.h"
#include "scratch.h"
#include "suite.h"
#include "train/manifest.h"
#include "train/snapshot.h"

typedef struct fixture {
    fam_memory memory;
    const char *parent; /* scratch */
    char path[600];     /* of the run: parent/run */
    fam_run_folder *run;
} fixture;

#define ok(call)                                                                                                       \
    do {                                                                                                               \
        fam_error ok_error_ = {0};                                                                                     \
        fam_error *error = &ok_error_;                                                                                 \
        if ((call) != FAM_OK)                                                                                          \
            fail_msg("%s:%d: %s", __FILE__, __LINE__, ok_error_.message);                                              \
    } while (0)

/* The call must fail with this status, and its message hold `words`. */
#define refused(call, want, words)                                                                                     \
    do {                                                                                                               \
        fam_error refused_error_ = {0};                                                                                \
        fam_error *error = &refused_error_;                                                                            \
        fam_status refused_status_ = (call);                                                                           \
        if (refused_status_ != (want) || refused_error_.status != (want) ||                                            \
            !strstr(refused_error_.message, (words)))                                                                  \
            fail_msg("%s:%d: found %d \"%s\", need %d with \"%s\"", __FILE__, __LINE__, refused_status_,               \
                     refused_error_.message, (want), (words));                                                         \
    } while (0)

/* The files of a checkpoint; sizes around those of the pieces that are hashed, and none at all. */
static const struct {
    const char *path;
    size_t bytes;
} FILES[] = {{"model.safetensors", 40000}, {"optimizer.safetensors", 70001}, {"state.json", 17},
             {"empty", 0},                 {"adapter/adapter_config.json", 300}};
enum { FILE_COUNT = sizeof FILES / sizeof *FILES };

/* What a file of a step holds: freed by free. */
static inline uint8_t *file_contents(int64_t step, int file)
{
    fam_random random;
    uint8_t *data = malloc(FILES[file].bytes + 8);
    fam_random_seed(&random, (uint64_t)step * 16 + (uint64_t)file);
    for (size_t i = 0; i < FILES[file].bytes; i += 8) {
        uint64_t word = fam_random_next(&random);
        memcpy(data + i, &word, 8);
    }
    return data;
}

/* Writes the files of a step; -1 and errno if the system refuses. */
static inline int write_files(const char *folder, int64_t step)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/adapter", folder);
    if (mkdir(path, 0777) != 0)
        return -1;
    for (int i = 0; i < FILE_COUNT; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, FILES[i].path);
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        uint8_t *data = file_contents(step, i);
        bool whole = fd >= 0 && write(fd, data, FILES[i].bytes) == (ssize_t)FILES[i].bytes;
        free(data);
        if (fd >= 0)
            close(fd);
        if (!whole)
            return -1;
    }
    return 0;
}

/* Makes the hash at the end of a MANIFEST right for what is before it. */
static inline void manifest_sign(char *text, size_t size)
{
    enum { DIGITS = FAM_HASH_SIZE - 1, TAIL = 15 + DIGITS + 4 }; /* as train/manifest.h has it */
    fam_file_hash hash;
    assert_true(size > TAIL);
    fam_hash_bytes(&hash, text, size - TAIL);
    memcpy(text + size - 4 - DIGITS, hash.digits, DIGITS);
}

/* One checkpoint; a caller's own failure is told as IO "caller". */
static inline fam_status save_in(fam_run_folder *run, int64_t step, int64_t keep, fam_error *error)
{
    fam_snapshot_writer *writer = NULL;
    fam_status status = fam_snapshot_begin(&writer, run, step, 200000, error);
    if (status != FAM_OK)
        return status;
    if (write_files(fam_snapshot_folder(writer), step) != 0) {
        fam_snapshot_abort(writer);
        return fam_error_set(error, FAM_STATUS_IO, "caller: cannot write");
    }
    return fam_snapshot_commit(writer, keep, error);
}

static inline fam_status save(fixture *f, int64_t step, int64_t keep, fam_error *error)
{
    return save_in(f->run, step, keep, error);
}

static inline void fixture_open(fixture *f)
{
    fam_memory_init(&f->memory);
    if (access("/dev/shm", W_OK | X_OK) == 0) /* thousands of syncs, which a disk would take minutes for */
        setenv("TMPDIR", "/dev/shm", 0);
    f->parent = scratch_make();
    f->run = NULL;
    snprintf(f->path, sizeof f->path, "%s/run", f->parent);
    ok(fam_run_folder_open(&f->run, &f->memory, f->path, error));
}

/* As after the end of a process. */
static inline void fixture_reopen(fixture *f)
{
    fam_run_folder_close(f->run);
    f->run = NULL;
    ok(fam_run_folder_open(&f->run, &f->memory, f->path, error));
}

static inline void fixture_close(fixture *f)
{
    fam_run_folder_close(f->run);
    assert_int_equal(f->memory.bytes, 0);
    scratch_remove(f->parent);
}

/* path of something in the checkpoints' folder, in one of a few static buffers */
static inline const char *in_checkpoints(const fixture *f, const char *name)
{
    static char buffers[8][8192];
    static unsigned next;
    char *buffer = buffers[next++ % 8];
    snprintf(buffer, sizeof buffers[0], "%s/checkpoints/%s", f->path, name);
    return buffer;
}

typedef struct notice_list {
    int count;
    char text[8192];
} notice_list;

static inline void take_notice(void *context, const char *line)
{
    notice_list *list = context;
    size_t length = strlen(list->text);
    list->count++;
    snprintf(list->text + length, sizeof list->text - length, "%s\n", line);
}

/* The files of the checkpoint of a step (-1: nothing) must be what such a one holds. */
static inline void expect_whole(fixture *f, int64_t step)
{
    for (int i = 0; step >= 0 && i < FILE_COUNT; i++) {
        uint8_t *data, *want = file_contents(step, i);
        size_t size;
        char path[1400];
        snprintf(path, sizeof path, "%s/checkpoints/step_%08lld/%s", f->path, (long long)step, FILES[i].path);
        ok(fam_file_read(&data, &size, &f->memory, path, 1 << 20, error));
        assert_int_equal(size, FILES[i].bytes);
        assert_memory_equal(data, want, size);
        fam_free(&f->memory, data);
        free(want);
    }
}

/* The newest whole checkpoint must be of this step (-1: there is none), and so many must be told as skipped, `words`
 * (NULL: any) among them. */
static inline void expect_found(fixture *f, int64_t step, int skipped, const char *words)
{
    fam_snapshot found;
    notice_list notices = {0};
    ok(fam_snapshot_find(&found, &f->memory, f->path, take_notice, &notices, error));
    if (notices.count != skipped || (words && !strstr(notices.text, words)))
        fail_msg("found %d notices \"%s\", need %d with \"%s\"", notices.count, notices.text, skipped,
                 words ? words : "");
    if ((step < 0) != (found.folder == NULL) || (step >= 0 && found.step != step))
        fail_msg("found step %lld %s, need %lld", (long long)found.step, found.folder ? found.folder : "(none)",
                 (long long)step);
    expect_whole(f, step);
    fam_free(&f->memory, found.folder);
}

/* All names in the checkpoints' folder, sorted, with a space between. A static buffer. */
static inline const char *names_in_checkpoints(const fixture *f)
{
    static char text[4096];
    struct dirent **entries;
    int count = scandir(in_checkpoints(f, ""), &entries, NULL, alphasort);
    assert_true(count >= 0);
    text[0] = '\0';
    for (int i = 0; i < count; i++) {
        size_t length = strlen(text);
        if (strcmp(entries[i]->d_name, ".") != 0 && strcmp(entries[i]->d_name, "..") != 0)
            snprintf(text + length, sizeof text - length, "%s%s", length ? " " : "", entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return text;
}

static inline void expect_names(const fixture *f, const char *names)
{
    if (names)
        assert_string_equal(names_in_checkpoints(f), names);
}

#endif
