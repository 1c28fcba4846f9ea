/*
 * cli/numbers.h: strict numbers. The whole text must be one number in plain decimal notation: no blanks, no sign where
 * none is allowed, no hexadecimal, no "nan" or "inf", nothing after it, nothing that does not fit.
 */
#ifndef CLI_NUMBERS_H
#define CLI_NUMBERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool number_integer(int64_t *out, const char *text);
bool number_unsigned(uint64_t *out, const char *text);
bool number_real(double *out, const char *text);

/* "4,608": for people. Returns out. */
enum { NUMBER_GROUPED_BYTES = 32 };
char *number_grouped(char out[NUMBER_GROUPED_BYTES], int64_t value);

#endif
