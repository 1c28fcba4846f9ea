/*
 * cli/sources.h: what sources.c and input.c share.
 */
#ifndef CLI_SOURCES_H
#define CLI_SOURCES_H

#include "input.h"

bool source_is_stdin(const cli_source *source);
/* The digest of an XXH3_state_t in hexadecimal. */
void source_hash_state(char hash[33], const void *xxh3_state);

#endif
