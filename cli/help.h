/*
 * cli/help.h: what the option table looks like to a reader: help texts, docs/COMMANDS.md, the manual page, completion.
 */
#ifndef CLI_HELP_H
#define CLI_HELP_H

#include <stddef.h>
#include <stdio.h>

#include "options.h"

/* Each prints to standard output and returns the exit code. */
int help_print_program(void);
int help_print_version(void);
int help_print_verb(verb_id verb);

/* "generate, chat, …" */
void help_verb_names(char *out, size_t size);

void help_write_program(FILE *out);
void help_write_verb(FILE *out, verb_id verb);
void help_write_markdown(FILE *out);
void help_write_manual(FILE *out);
void help_write_completion(FILE *out);

#endif
