/*
 * base/error.c: the texts of statuses, and error lines that stay one clean line whatever a file put into them.
 */
#include "base/error.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

const char *fam_status_text(fam_status status)
{
    switch (status) {
#define CASE(name, value, text, exit_code, http_code)                                                                  \
    case name:                                                                                                         \
        return text;
        FAM_STATUS_LIST(CASE)
#undef CASE
    }
    return "unknown status";
}

int fam_status_exit_code(fam_status status)
{
    switch (status) {
#define CASE(name, value, text, exit_code, http_code)                                                                  \
    case name:                                                                                                         \
        return exit_code;
        FAM_STATUS_LIST(CASE)
#undef CASE
    }
    return 1;
}

int fam_status_http_code(fam_status status)
{
    switch (status) {
#define CASE(name, value, text, exit_code, http_code)                                                                  \
    case name:                                                                                                         \
        return http_code;
        FAM_STATUS_LIST(CASE)
#undef CASE
    }
    return 500;
}

/* Replaces control characters and broken UTF-8 by '?'. A file may name a tensor with anything. */
static void clean_line(char *text)
{
    size_t length = strlen(text);
    for (size_t i = 0; i < length;) {
        uint32_t code = 0;
        size_t n = fam_utf8_decode((const uint8_t *)text + i, length - i, &code);
        if (n == 0) {
            text[i++] = '?';
            continue;
        }
        if (code < 0x20 || code == 0x7f || (code >= 0x80 && code < 0xa0)) {
            for (size_t k = 0; k < n; k++)
                text[i + k] = '?';
        }
        i += n;
    }
}

fam_status fam_error_set_v(fam_error *error, fam_status status, const char *format, va_list arguments)
{
    if (!error)
        return status;
    char line[8 * FAM_ERROR_SIZE]; /* two paths of PATH_MAX */
    int written = vsnprintf(line, sizeof line, format, arguments);
    if (written < 0)
        line[0] = '\0';
    size_t length = strlen(line);
    if (length < FAM_ERROR_SIZE) {
        memcpy(error->message, line, length + 1);
    } else {
        /* the end says what was found and what is needed, so it must survive a very long path */
        const size_t tail = 400, head = FAM_ERROR_SIZE - tail - 4;
        memcpy(error->message, line, head);
        memcpy(error->message + head, "...", 3);
        memcpy(error->message + head + 3, line + length - tail, tail + 1);
    }
    error->status = status;
    clean_line(error->message);
    return status;
}

fam_status fam_error_set(fam_error *error, fam_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fam_error_set_v(error, status, format, arguments);
    va_end(arguments);
    return status;
}

fam_status fam_error_prefix(fam_error *error, fam_status status, const char *prefix)
{
    if (!error)
        return status;
    char line[FAM_ERROR_SIZE];
    memcpy(line, error->message, sizeof line);
    return fam_error_set(error, status, "%s: %s", prefix, line);
}
