/*
 * tests/support/line_draw.h: lines of text drawn from a seed, to compare tokenizers on.
 *
 * The same seed and number give the same bytes everywhere: integer arithmetic only. tests/oracle/tokenizer.py calls
 * this very code for its answers, so line_draw.c is the only definition of the draw. A line is valid UTF-8 of at most
 * LINE_DRAW_MAX bytes; it may be empty and may hold newlines and zero bytes.
 */
#ifndef TESTS_SUPPORT_LINE_DRAW_H
#define TESTS_SUPPORT_LINE_DRAW_H

#include <stddef.h>
#include <stdint.h>

enum { LINE_DRAW_MAX = 4096 };

/* Writes line `number` of the draw `seed` and its length; returns 0, or -1 when the capacity does not suffice. */
int line_draw(uint64_t seed, uint64_t number, uint8_t *out, size_t capacity, size_t *length);

#endif
