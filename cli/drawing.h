/*
 * cli/drawing.h: a set of pictures, told to gnuplot in one script. A picture is begun, filled with gnuplot's commands
 * by whoever knows the data, and is an SVG document after drawing_finish. The look of all of them (fonts, colours,
 * axes, where a legend stands) is here.
 *
 *     drawing_begin ── { drawing_picture, fprintf(d->script, …) } … ── drawing_finish ── drawing_free
 */
#ifndef CLI_DRAWING_H
#define CLI_DRAWING_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "fam/status.h"

enum { DRAWING_PICTURES = 64, DRAWING_NAME_BYTES = 48, DRAWING_COLOURS = 8 };

typedef struct picture {
    char name[DRAWING_NAME_BYTES]; /* letters, digits and _: of the file, and before the ids inside */
    char *title, *note;            /* plain text; the note may be NULL */
    char *svg;                     /* the whole document, with its prolog */
    size_t svg_size;
} picture;

typedef struct drawing {
    FILE *script;
    char *text;
    size_t text_size;
    picture pictures[DRAWING_PICTURES];
    size_t count;
    bool no_memory;
} drawing;

fam_status drawing_begin(drawing *d, fam_error *error);
bool drawing_full(const drawing *d); /* no further picture may be begun */

/* Begins one of so many units (CSS pixels when it is not scaled). `name` is made unique with a number. */
void drawing_picture(drawing *d, const char *name, int width, int height, const char *title);
void drawing_note(drawing *d, const char *format, ...) __attribute__((format(printf, 2, 3))); /* of the picture begun */

/* Runs gnuplot; without a picture it does nothing. Statuses of gnuplot_run. */
fam_status drawing_finish(drawing *d, fam_error *error);
void drawing_free(drawing *d);

/* Colours that people who see colours differently can tell apart (Okabe and Ito), with marks and dashes that differ
 * too: series number i, counted from 0, round and round. */
const char *drawing_colour(size_t i); /* "0072B2" */
int drawing_mark(size_t i);           /* gnuplot's pointtype */
int drawing_dash(size_t i);           /* gnuplot's dashtype */

typedef enum drawing_axis { DRAWING_X, DRAWING_Y } drawing_axis;

/* The y axis from low to high, or a little more where that is nothing. Numbers of any size may be given. */
void drawing_y_range(drawing *d, double low, double high);

/* A logarithmic axis that shows low to high (both above 0), with marks at 1, 2 and 5 where there is room. */
void drawing_log_axis(drawing *d, drawing_axis axis, double low, double high);
/* Whether numbers from low to high want one. */
bool drawing_wants_log(double low, double high);

/* A logarithmic axis to the base 2 with marks at these numbers (rising), leaving out some where they would overlap:
 * "2k" for 2,048 and so on. */
void drawing_marked_axis(drawing *d, drawing_axis axis, const int64_t *values, size_t count);
enum { DRAWING_COUNT_BYTES = 32 };
char *drawing_count(char out[DRAWING_COUNT_BYTES], int64_t value); /* "2k", "1M" (powers of 1,024), "300" */

#endif
