/*
 * cli/session_file.h: the option --session: a session created, restored from its file, saved to it.
 */
#ifndef CLI_SESSION_FILE_H
#define CLI_SESSION_FILE_H

#include "fam/fam.h"
#include "options.h"

/* Before anything is loaded: whether the options make sense, and whether the file could be saved at the end. */
fam_status session_file_check(const cli_options *options, fam_error *error);

/* A new session, continued from --session if that file exists. */
fam_status session_file_open(fam_session **out, fam_engine *engine, const cli_options *options,
                             const fam_session_options *session_options, fam_error *error);

/* Whether the session is to be saved at the end. */
bool session_file_saves(const cli_options *options);

#endif
