/*
 * fam/status.h: how every call of libfam reports what happened.
 *
 * A function that can fail returns a fam_status and takes a `fam_error *` as its last argument (NULL if the words are
 * not wanted). On anything but FAM_OK the error holds one line for a person, in the form
 * `<file>: <what>: <where>: found X, need Y`, and the object that the call was made on is as it was before, unless the
 * function's own comment says otherwise.
 */
#ifndef FAM_STATUS_H
#define FAM_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#ifndef FAM_API
#if defined(__GNUC__)
#define FAM_API __attribute__((visibility("default")))
#else
#define FAM_API
#endif
#endif

/* The one list of statuses: X(enumerator, value, text, exit code of `fam`, HTTP code). Values never change. */
#define FAM_STATUS_LIST(X)                                                                                             \
    X(FAM_OK, 0, "ok", 0, 200)                                                                                         \
    X(FAM_STATUS_FAILED, 1, "failed", 1, 500)                                                                          \
    X(FAM_STATUS_INVALID_ARGUMENT, 2, "invalid argument", 2, 400)                                                      \
    X(FAM_STATUS_BAD_FORMAT, 3, "file is malformed", 3, 422)                                                           \
    X(FAM_STATUS_UNSUPPORTED, 4, "not supported", 3, 422)                                                              \
    X(FAM_STATUS_MISMATCH, 5, "files do not belong together", 3, 409)                                                  \
    X(FAM_STATUS_OUT_OF_MEMORY, 6, "out of memory", 4, 503)                                                            \
    X(FAM_STATUS_NOT_FOUND, 7, "not found", 5, 404)                                                                    \
    X(FAM_STATUS_IO, 8, "input/output error", 5, 500)                                                                  \
    X(FAM_STATUS_CONTEXT_FULL, 9, "context is full", 2, 400)                                                           \
    X(FAM_STATUS_CANCELLED, 10, "cancelled", 130, 499)                                                                 \
    X(FAM_STATUS_STOPPED, 11, "stopped early, resumable", 75, 503)                                                     \
    X(FAM_STATUS_DEVICE, 12, "device error", 1, 500)

typedef enum fam_status {
#define FAM_STATUS_ENUM(name, value, text, exit_code, http_code) name = value,
    FAM_STATUS_LIST(FAM_STATUS_ENUM)
#undef FAM_STATUS_ENUM
} fam_status;

#define FAM_ERROR_SIZE 1024

/* A status and one line of UTF-8 that explains it, NUL-terminated, without a newline or other control characters. */
typedef struct fam_error {
    fam_status status;
    char message[FAM_ERROR_SIZE];
} fam_error;

/* The text of a status ("out of memory"); "unknown status" for a value outside the list. Thread-safe. */
FAM_API const char *fam_status_text(fam_status status);

/* The exit code that the program `fam` uses for a status; 1 for a value outside the list. Thread-safe. */
FAM_API int fam_status_exit_code(fam_status status);

/* The HTTP code for a status; 500 for a value outside the list. Thread-safe. */
FAM_API int fam_status_http_code(fam_status status);

#ifdef __cplusplus
}
#endif

#endif
