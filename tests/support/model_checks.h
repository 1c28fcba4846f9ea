/*
 * tests/support/model_checks.h: opening models in tests: with warnings kept, with a refusal expected, with every
 * allocation failing in turn. Uses cmocka's assertions.
 */
#ifndef TESTS_SUPPORT_MODEL_CHECKS_H
#define TESTS_SUPPORT_MODEL_CHECKS_H

#include "format/checkpoint.h"

/* Of the newest call below. */
extern fam_error model_error;
extern fam_memory model_memory;
extern char model_warnings[4096]; /* a line each */

/* Opens; `ignored` is a key to be ignored, or NULL. */
fam_status model_open(const char *path, const char *ignored, fam_checkpoint **out);
/* Frees, and asserts that nothing is left. */
void model_close(fam_checkpoint *checkpoint);
/* Fails unless opening gives this status, and a message that begins with the path and holds `words`. `row` names the
 * case. */
void model_expect_refusal(const char *path, fam_status need, const char *words, const char *row);
/* Opens with the n-th allocation failing, for every n until it succeeds. */
void model_fail_each_allocation(const char *path);

#endif
