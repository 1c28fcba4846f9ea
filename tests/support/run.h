/*
 * tests/support/run.h: engines and sessions on the golden cases, and comparing what they give. Failures of the helpers
 * fail the test that called them.
 */
#ifndef TESTS_SUPPORT_RUN_H
#define TESTS_SUPPORT_RUN_H

#include "fam/fam.h"
#include "format/safetensors.h"
#include "suite.h"

/* Largest difference over the largest magnitude wanted (over 1 where that is all zero); infinite where one is NaN. */
double run_error(const float *got, const float *want, size_t count);

/* A directory of this process's own, removed with all in it by run_directory_remove. */
typedef struct run_directory {
    char path[64];
} run_directory;
void run_directory_make(run_directory *directory);
void run_directory_remove(const run_directory *directory);
/* directory + "/" + name in one of a few static buffers. */
const char *run_path(const run_directory *directory, const char *name);

/* A whole file; *size may be NULL. Freed by free. */
uint8_t *run_read(const char *path, size_t *size);
void run_write(const char *path, const void *data, size_t size);

/* Token ids of a JSON file that is an array, or of one of its keys (nested: "0/ids"). Freed by free. */
int32_t *run_ids(const char *path, const char *key, size_t *count);

/* A golden case: what it feeds. */
typedef struct run_case {
    char directory[1024], adapter[1100];
    int32_t *tokens;
    size_t count;
    int64_t offset;
    float *start_state; /* or NULL */
} run_case;
void run_case_open(run_case *out, const char *name);
void run_case_close(run_case *golden);

/* Options of float32 arithmetic and one thread. Context is left alone. */
fam_engine_options run_options(void);
/* `options` may be NULL; the case's adapter is added. */
fam_engine *run_engine(const run_case *golden, const fam_engine_options *options);
fam_session *run_session(fam_engine *engine, const run_case *golden, int64_t span);
/* Feeds tokens [from, to) in pieces of at most `piece`. */
void run_feed(fam_session *session, const int32_t *tokens, size_t from, size_t to, size_t piece);

/* Logits and, in mode fam, the state, one after the other. */
typedef struct run_picture {
    float *values;
    size_t count, logits;
} run_picture;
void run_take_picture(run_picture *out, const fam_engine *engine, fam_session *session);
void run_picture_free(run_picture *picture);
void run_assert_same(const run_picture *a, const run_picture *b); /* bit by bit */
void run_assert_near(const run_picture *a, const run_picture *b, double tolerance);

#define run_ok(call)                                                                                                   \
    do {                                                                                                               \
        fam_error run_error_ = {0};                                                                                    \
        fam_error *error = &run_error_;                                                                                \
        if ((call) != FAM_OK)                                                                                          \
            fail_msg("%s", run_error_.message);                                                                        \
    } while (0)

/* The call must fail with this status, and its message hold `words`. */
#define run_refused(call, want, words)                                                                                 \
    do {                                                                                                               \
        fam_error run_error_ = {0};                                                                                    \
        fam_error *error = &run_error_;                                                                                \
        fam_status run_status_ = (call);                                                                               \
        if (run_status_ != (want) || run_error_.status != (want) || !strstr(run_error_.message, (words)))              \
            fail_msg("found %d \"%s\", need %d with \"%s\"", run_status_, run_error_.message, (want), (words));        \
    } while (0)

#endif
