/*
 * cli/message.h: what the program says to a person: lines on standard error that begin with "fam: ".
 */
#ifndef CLI_MESSAGE_H
#define CLI_MESSAGE_H

#include "fam/status.h"

/* One line, written at once; control characters from file names and arguments become '?'. A progress line that stands
 * on the terminal is cleared first. */
void message(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Fills *error and returns `status`, as the library's functions do. */
fam_status failure(fam_error *error, fam_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Says a failure; returns the exit code. */
int message_failure(const fam_error *error);

/* Says a usage error; returns 2. */
int usage_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Whether a progress line stands unfinished on the terminal (set by progress.c). */
void message_set_progress_line(int stands);

#endif
