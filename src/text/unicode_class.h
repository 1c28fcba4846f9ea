/*
 * text/unicode_class.h: what pre-tokenizers ask of a character: letter, number, white space.
 *
 * The tables are those of the `tokenizers` package (Unicode 16), not of the PCRE2 that happens to be installed, so that
 * the same text gives the same ids on every machine.
 */
#ifndef FAM_TEXT_UNICODE_CLASS_H
#define FAM_TEXT_UNICODE_CLASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum fam_char_class {
    FAM_CHAR_OTHER,
    FAM_CHAR_LETTER, /* \p{L} */
    FAM_CHAR_NUMBER, /* \p{N} */
    FAM_CHAR_SPACE   /* \s */
} fam_char_class;

fam_char_class fam_char_classify(uint32_t code);

/* Whether a Digits pre-tokenizer splits the character off: general categories Nd, Nl and No of Unicode 17. */
bool fam_char_is_numeric(uint32_t code);

/* The first character of `text` (size > 0): its class, and its length in *length. A byte that begins no valid character
 * is one of class OTHER. */
fam_char_class fam_char_at(const uint8_t *text, size_t size, size_t *length);

/* A range of code points, both ends included. The lists are sorted. */
typedef struct fam_code_range {
    uint32_t first, last;
} fam_code_range;
const fam_code_range *fam_char_letters(size_t *count);
const fam_code_range *fam_char_numbers(size_t *count);

#endif
