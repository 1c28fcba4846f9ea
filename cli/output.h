/*
 * cli/output.h: standard output. A failed write (a closed pipe, a full disk) is an error of status IO, never silence.
 */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <jansson.h>
#include <stddef.h>

#include "fam/status.h"

/* Buffered; after the first failure all later calls fail with the same error. */
fam_status output_write(const void *data, size_t size, fam_error *error);
fam_status output_format(fam_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
fam_status output_flush(fam_error *error);

/* One object and a newline. NULL (jansson was out of memory while making it) is an error. */
fam_status output_json(const json_t *object, fam_error *error);

/* Flushes and closes; the last chance to learn that something was not written. */
fam_status output_close(fam_error *error);

/* Real number, or null where JSON has no word for it. */
json_t *output_json_real(double value);

#endif
