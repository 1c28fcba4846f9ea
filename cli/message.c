/*
 * cli/message.c: see message.h.
 */
#include "message.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINE_BYTES = 2 * FAM_ERROR_SIZE };

static int progress_line;

void message_set_progress_line(int stands)
{
    progress_line = stands;
}

static void clean(char *text)
{
    for (unsigned char *p = (unsigned char *)text; *p; p++) {
        if (*p < 0x20 || *p == 0x7f)
            *p = '?';
    }
}

static void write_line(const char *format, va_list arguments)
{
    char text[LINE_BYTES], line[LINE_BYTES + 16];
    vsnprintf(text, sizeof text, format, arguments);
    clean(text);
    int length = snprintf(line, sizeof line, "%sfam: %s\n", progress_line ? "\r\033[K" : "", text);
    progress_line = 0;
    const char *p = line;
    while (length > 0) {
        ssize_t written = write(STDERR_FILENO, p, (size_t)length);
        if (written < 0 && errno != EINTR)
            return;
        if (written > 0) {
            p += written;
            length -= (int)written;
        }
    }
}

void message(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    write_line(format, arguments);
    va_end(arguments);
}

fam_status failure(fam_error *error, fam_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    error->status = status;
    vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    return status;
}

int message_failure(const fam_error *error)
{
    message("%s", error->message);
    return fam_status_exit_code(error->status);
}

int usage_error(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    write_line(format, arguments);
    va_end(arguments);
    return fam_status_exit_code(FAM_STATUS_INVALID_ARGUMENT);
}
