/*
 * cli/weights_count.h: how many numbers a run trains, from the headers of the safetensors files in its folder.
 */
#ifndef CLI_WEIGHTS_COUNT_H
#define CLI_WEIGHTS_COUNT_H

#include <stddef.h>
#include <stdint.h>

/* `what` is the recipe's adapt.what; -1: not known (the files are not there, or are something else). */
int64_t weights_count_of_run(const char *folder, const char *what);

/* Of the JSON header of a safetensors file: the product of each tensor's shape, summed; -1: it is none. */
int64_t weights_count_of_header(const char *json, size_t size);

#endif
