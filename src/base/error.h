/*
 * base/error.h: filling a fam_error, and the two macros that pass a failure on.
 *
 * Convention: a fallible function declares `fam_status status = FAM_OK;`, leaves through one label `done:` that releases
 * what it holds, and returns `status`. FAM_TRY and FAM_FAIL_IF jump there.
 */
#ifndef FAM_BASE_ERROR_H
#define FAM_BASE_ERROR_H

#include <stdarg.h>

#include "fam/status.h"

/* Sets *error (may be NULL) to `status` and the formatted line; returns `status`. Control characters and broken UTF-8
 * that came in through the arguments are written as '?', so a message is always one clean line. A message that does not
 * fit keeps its beginning and its end, with "..." between. */
fam_status fam_error_set(fam_error *error, fam_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
fam_status fam_error_set_v(fam_error *error, fam_status status, const char *format, va_list arguments);

/* Puts "<prefix>: " before the message that *error already holds (NULL: nothing); returns the error's status. Used by a
 * caller that knows the file's name when the callee does not. */
fam_status fam_error_prefix(fam_error *error, fam_status status, const char *prefix);

/* Evaluates a call; on failure keeps its status and goes to `done`. */
#define FAM_TRY(call)                                                                                                  \
    do {                                                                                                               \
        status = (call);                                                                                               \
        if (status != FAM_OK)                                                                                          \
            goto done;                                                                                                 \
    } while (0)

/* If `condition` holds: sets the error (a variable named `error` must be in scope) and goes to `done`. */
#define FAM_FAIL_IF(condition, status_value, ...)                                                                      \
    do {                                                                                                               \
        if (condition) {                                                                                               \
            status = fam_error_set(error, (status_value), __VA_ARGS__);                                                \
            goto done;                                                                                                 \
        }                                                                                                              \
    } while (0)

#endif
