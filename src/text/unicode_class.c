/*
 * text/unicode_class.c: see unicode_class.h. Binary search over ranges; ASCII, nearly all of the text, by a table.
 */
#include "text/unicode_class.h"

#include "base/utf8.h"

typedef fam_code_range code_range;

#include "text/unicode_ranges.inc"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const uint8_t ascii[128] = {
    ['\t'] = FAM_CHAR_SPACE, ['\n'] = FAM_CHAR_SPACE, ['\v'] = FAM_CHAR_SPACE, ['\f'] = FAM_CHAR_SPACE,
    ['\r'] = FAM_CHAR_SPACE, [' '] = FAM_CHAR_SPACE,  ['0'] = FAM_CHAR_NUMBER, ['1'] = FAM_CHAR_NUMBER,
    ['2'] = FAM_CHAR_NUMBER, ['3'] = FAM_CHAR_NUMBER, ['4'] = FAM_CHAR_NUMBER, ['5'] = FAM_CHAR_NUMBER,
    ['6'] = FAM_CHAR_NUMBER, ['7'] = FAM_CHAR_NUMBER, ['8'] = FAM_CHAR_NUMBER, ['9'] = FAM_CHAR_NUMBER,
    ['A'] = FAM_CHAR_LETTER, ['B'] = FAM_CHAR_LETTER, ['C'] = FAM_CHAR_LETTER, ['D'] = FAM_CHAR_LETTER,
    ['E'] = FAM_CHAR_LETTER, ['F'] = FAM_CHAR_LETTER, ['G'] = FAM_CHAR_LETTER, ['H'] = FAM_CHAR_LETTER,
    ['I'] = FAM_CHAR_LETTER, ['J'] = FAM_CHAR_LETTER, ['K'] = FAM_CHAR_LETTER, ['L'] = FAM_CHAR_LETTER,
    ['M'] = FAM_CHAR_LETTER, ['N'] = FAM_CHAR_LETTER, ['O'] = FAM_CHAR_LETTER, ['P'] = FAM_CHAR_LETTER,
    ['Q'] = FAM_CHAR_LETTER, ['R'] = FAM_CHAR_LETTER, ['S'] = FAM_CHAR_LETTER, ['T'] = FAM_CHAR_LETTER,
    ['U'] = FAM_CHAR_LETTER, ['V'] = FAM_CHAR_LETTER, ['W'] = FAM_CHAR_LETTER, ['X'] = FAM_CHAR_LETTER,
    ['Y'] = FAM_CHAR_LETTER, ['Z'] = FAM_CHAR_LETTER, ['a'] = FAM_CHAR_LETTER, ['b'] = FAM_CHAR_LETTER,
    ['c'] = FAM_CHAR_LETTER, ['d'] = FAM_CHAR_LETTER, ['e'] = FAM_CHAR_LETTER, ['f'] = FAM_CHAR_LETTER,
    ['g'] = FAM_CHAR_LETTER, ['h'] = FAM_CHAR_LETTER, ['i'] = FAM_CHAR_LETTER, ['j'] = FAM_CHAR_LETTER,
    ['k'] = FAM_CHAR_LETTER, ['l'] = FAM_CHAR_LETTER, ['m'] = FAM_CHAR_LETTER, ['n'] = FAM_CHAR_LETTER,
    ['o'] = FAM_CHAR_LETTER, ['p'] = FAM_CHAR_LETTER, ['q'] = FAM_CHAR_LETTER, ['r'] = FAM_CHAR_LETTER,
    ['s'] = FAM_CHAR_LETTER, ['t'] = FAM_CHAR_LETTER, ['u'] = FAM_CHAR_LETTER, ['v'] = FAM_CHAR_LETTER,
    ['w'] = FAM_CHAR_LETTER, ['x'] = FAM_CHAR_LETTER, ['y'] = FAM_CHAR_LETTER, ['z'] = FAM_CHAR_LETTER,
};

static bool in_ranges(const code_range *ranges, size_t count, uint32_t code)
{
    size_t low = 0, high = count; /* the first range that ends at or after `code` lies in [low, high] */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ranges[middle].last < code)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && ranges[low].first <= code;
}

static bool is_space_beyond_ascii(uint32_t code)
{
    return code == 0x85 || code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
           code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

fam_char_class fam_char_classify(uint32_t code)
{
    if (code < 128)
        return (fam_char_class)ascii[code];
    if (in_ranges(letters, COUNT(letters), code))
        return FAM_CHAR_LETTER;
    if (in_ranges(numbers, COUNT(numbers), code))
        return FAM_CHAR_NUMBER;
    return is_space_beyond_ascii(code) ? FAM_CHAR_SPACE : FAM_CHAR_OTHER;
}

bool fam_char_is_numeric(uint32_t code)
{
    if (code < 128)
        return code >= '0' && code <= '9';
    return in_ranges(numbers, COUNT(numbers), code) ||
           in_ranges(numeric_beyond_numbers, COUNT(numeric_beyond_numbers), code);
}

fam_char_class fam_char_at(const uint8_t *text, size_t size, size_t *length)
{
    *length = 1;
    if (text[0] < 128)
        return (fam_char_class)ascii[text[0]];
    uint32_t code;
    size_t n = fam_utf8_decode(text, size, &code);
    if (n == 0)
        return FAM_CHAR_OTHER;
    *length = n;
    return fam_char_classify(code);
}

const fam_code_range *fam_char_letters(size_t *count)
{
    *count = COUNT(letters);
    return letters;
}

const fam_code_range *fam_char_numbers(size_t *count)
{
    *count = COUNT(numbers);
    return numbers;
}
