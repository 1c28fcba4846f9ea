/*
 * cli/commands.h: one function a verb; each returns the exit code of the program, and has said what went wrong.
 */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "options.h"

int cmd_generate(const cli_options *options);
int cmd_chat(const cli_options *options);
int cmd_score(const cli_options *options);
int cmd_tokenize(const cli_options *options);
int cmd_inspect(const cli_options *options);
int cmd_bench(const cli_options *options);
int cmd_train(const cli_options *options);
int cmd_plot(const cli_options *options);
int cmd_export(const cli_options *options);
int cmd_eval(const cli_options *options);

#endif
