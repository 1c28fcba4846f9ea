/*
 * cli/output.c: see output.h. Below stdio, because a signal must not lose bytes half-way.
 */
#include "output.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "message.h"

enum { BUFFER_BYTES = 1 << 16 };

static char buffer[BUFFER_BYTES];
static size_t buffered;
static int failed; /* errno of the first failure */

static fam_status report(fam_error *error)
{
    return failure(error, FAM_STATUS_IO, "standard output: cannot write: %s", strerror(failed));
}

static fam_status write_out(const char *data, size_t size, fam_error *error)
{
    while (size > 0 && !failed) {
        ssize_t written = write(STDOUT_FILENO, data, size);
        if (written >= 0) {
            data += written;
            size -= (size_t)written;
        } else if (errno != EINTR) {
            failed = errno;
        }
    }
    return failed ? report(error) : FAM_OK;
}

fam_status output_flush(fam_error *error)
{
    size_t size = buffered;
    buffered = 0;
    return failed ? report(error) : write_out(buffer, size, error);
}

fam_status output_write(const void *data, size_t size, fam_error *error)
{
    if (failed)
        return report(error);
    if (size > sizeof buffer - buffered) {
        fam_status status = output_flush(error);
        if (status != FAM_OK)
            return status;
        if (size >= sizeof buffer)
            return write_out(data, size, error);
    }
    if (size > 0)
        memcpy(buffer + buffered, data, size);
    buffered += size;
    return FAM_OK;
}

fam_status output_format(fam_error *error, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length >= (int)sizeof text)
        length = (int)sizeof text - 1;
    return output_write(text, (size_t)length, error);
}

fam_status output_json(const json_t *object, fam_error *error)
{
    char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    if (!text)
        return failure(error, FAM_STATUS_OUT_OF_MEMORY, "JSON output: out of memory");
    fam_status status = output_write(text, strlen(text), error);
    if (status == FAM_OK)
        status = output_write("\n", 1, error);
    free(text);
    return status;
}

fam_status output_close(fam_error *error)
{
    fam_status status = output_flush(error);
    if (close(STDOUT_FILENO) != 0 && errno != EINTR && errno != EBADF && status == FAM_OK) {
        failed = errno;
        status = report(error);
    }
    return status;
}

json_t *output_json_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}
