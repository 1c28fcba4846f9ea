/*
 * cli/escape.c: see escape.h.
 */
#include "escape.h"

#include <stdbool.h>
#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd"

/* Bytes of the character at p; 0: it is none that a document may hold. */
static size_t character(const unsigned char *p)
{
    static const unsigned least[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = *p < 0x80                 ? 1
                    : *p >= 0xc2 && *p < 0xe0 ? 2
                    : *p >= 0xe0 && *p < 0xf0 ? 3
                    : *p >= 0xf0 && *p < 0xf5 ? 4
                                              : 0;
    if (length <= 1)
        return *p == '\n' || *p == '\t' || (*p >= 0x20 && *p != 0x7f) ? length : 0;
    unsigned code = *p & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80) /* also at the text's end */
            return 0;
        code = code << 6 | (p[i] & 0x3fu);
    }
    bool control = code < 0xa0, surrogate = code >= 0xd800 && code < 0xe000, none = (code & 0xfffe) == 0xfffe;
    bool bidi = (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069); /* would turn what follows */
    return code < least[length] || code > 0x10ffff || control || surrogate || none || bidi ? 0 : length;
}

void escape_html(FILE *out, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p;) {
        size_t length = character(p);
        if (length == 0)
            fputs(REPLACEMENT, out);
        else if (*p == '&')
            fputs("&amp;", out);
        else if (*p == '<')
            fputs("&lt;", out);
        else if (*p == '>')
            fputs("&gt;", out);
        else if (*p == '"')
            fputs("&quot;", out);
        else if (*p == '\'')
            fputs("&#39;", out);
        else
            fwrite(p, 1, length, out);
        p += length ? length : 1;
    }
}

void escape_gnuplot(FILE *out, const char *text, int limit)
{
    fputc('\'', out);
    for (const unsigned char *p = (const unsigned char *)text; *p;) {
        size_t length = character(p);
        if (limit-- == 0) {
            fputs("…", out);
            break;
        }
        if (length == 0 || *p == '\n' || *p == '\t')
            fputs(REPLACEMENT, out);
        else if (*p == '\'') /* doubled it would be one too, but not at the begin of a string */
            fputs("’", out);
        else if (*p == '`') /* the one sign that could run something */
            fputs("‘", out);
        else
            fwrite(p, 1, length, out);
        p += length ? length : 1;
    }
    fputc('\'', out);
}
