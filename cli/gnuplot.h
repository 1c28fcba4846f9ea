/*
 * cli/gnuplot.h: the program gnuplot, which draws. It runs as a process of its own: whatever happens to it, a training
 * that is being drawn goes on.
 */
#ifndef CLI_GNUPLOT_H
#define CLI_GNUPLOT_H

#include <stddef.h>

#include "fam/status.h"

/* Runs a script; *out is what gnuplot wrote on its standard output, with a NUL behind, released with free. UNSUPPORTED:
 * there is no gnuplot (the message says what to install). FAILED: it did not do what it was told, or took a minute. */
fam_status gnuplot_run(char **out, size_t *size, const char *script, size_t script_size, fam_error *error);

#endif
