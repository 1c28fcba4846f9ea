/*
 * base/utf8.h: UTF-8, strict (no overlong forms, no surrogates, nothing above U+10FFFF).
 */
#ifndef FAM_BASE_UTF8_H
#define FAM_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes one character. Returns its length in bytes (1 to 4) and sets *code; 0 when `text` does not begin with a
 * complete valid character (or size is 0). */
size_t fam_utf8_decode(const uint8_t *text, size_t size, uint32_t *code);

/* Encodes one character (a valid code point) into out, which has room for 4 bytes; returns its length. */
size_t fam_utf8_encode(uint32_t code, uint8_t *out);

/* Whether all of `text` is valid UTF-8. */
bool fam_utf8_valid(const uint8_t *text, size_t size);

/* How many bytes of `text` can be shown now: all but a last character that is valid so far and may still be completed.
 * Broken bytes count as complete. */
size_t fam_utf8_complete_prefix(const uint8_t *text, size_t size);

#endif
