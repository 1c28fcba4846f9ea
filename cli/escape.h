/*
 * cli/escape.h: text from outside, made harmless for what it is written into. Bytes that are not UTF-8 and control
 * characters become U+FFFD.
 */
#ifndef CLI_ESCAPE_H
#define CLI_ESCAPE_H

#include <stdio.h>

/* As text or in an attribute's value of HTML and XML. Newlines and tabs stay. */
void escape_html(FILE *out, const char *text);

/* A quoted string of gnuplot in which nothing has a meaning, cut behind `limit` characters. */
void escape_gnuplot(FILE *out, const char *text, int limit);

#endif
