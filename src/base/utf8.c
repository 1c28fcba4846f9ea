/*
 * base/utf8.c: see utf8.h.
 */
#include "base/utf8.h"

/* Length that a first byte announces, 0 if it cannot begin a character. */
static size_t announced_length(uint8_t first)
{
    if (first < 0x80)
        return 1;
    if (first >= 0xc2 && first <= 0xdf)
        return 2;
    if (first >= 0xe0 && first <= 0xef)
        return 3;
    if (first >= 0xf0 && first <= 0xf4)
        return 4;
    return 0;
}

/* Whether `second` may follow `first`: refuses overlong forms, surrogates, and what lies above U+10FFFF. */
static bool second_fits(uint8_t first, uint8_t second)
{
    if ((second & 0xc0) != 0x80)
        return false;
    switch (first) {
    case 0xe0:
        return second >= 0xa0;
    case 0xed:
        return second <= 0x9f;
    case 0xf0:
        return second >= 0x90;
    case 0xf4:
        return second <= 0x8f;
    default:
        return true;
    }
}

size_t fam_utf8_decode(const uint8_t *text, size_t size, uint32_t *code)
{
    if (size == 0)
        return 0;
    size_t length = announced_length(text[0]);
    if (length == 0 || length > size)
        return 0;
    if (length == 1) {
        *code = text[0];
        return 1;
    }
    if (!second_fits(text[0], text[1]))
        return 0;
    uint32_t value = text[0] & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (text[i] & 0x3f);
    }
    *code = value;
    return length;
}

size_t fam_utf8_encode(uint32_t code, uint8_t *out)
{
    if (code < 0x80) {
        out[0] = (uint8_t)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (uint8_t)(0xc0 | code >> 6);
        out[1] = (uint8_t)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (uint8_t)(0xe0 | code >> 12);
        out[1] = (uint8_t)(0x80 | (code >> 6 & 0x3f));
        out[2] = (uint8_t)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | code >> 18);
    out[1] = (uint8_t)(0x80 | (code >> 12 & 0x3f));
    out[2] = (uint8_t)(0x80 | (code >> 6 & 0x3f));
    out[3] = (uint8_t)(0x80 | (code & 0x3f));
    return 4;
}

bool fam_utf8_valid(const uint8_t *text, size_t size)
{
    for (size_t i = 0; i < size;) {
        uint32_t code;
        size_t n = fam_utf8_decode(text + i, size - i, &code);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

size_t fam_utf8_complete_prefix(const uint8_t *text, size_t size)
{
    for (size_t back = 1; back <= 3 && back <= size; back++) {
        const uint8_t *first = text + size - back;
        size_t length = announced_length(*first);
        if ((*first & 0xc0) == 0x80)
            continue; /* a continuation byte: the first byte lies further back */
        if (length <= back)
            break;
        if (back >= 2 && !second_fits(first[0], first[1]))
            break;
        return size - back;
    }
    return size;
}
