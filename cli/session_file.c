/*
 * cli/session_file.c: see session_file.h.
 */
#include "session_file.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "message.h"

bool session_file_saves(const cli_options *options)
{
    return option_given(options, OPTION_SESSION) && !option_given(options, OPTION_NO_SAVE);
}

static bool exists(const char *path)
{
    struct stat about;
    return lstat(path, &about) == 0 || errno != ENOENT;
}

static fam_status check_directory(const char *path, fam_error *error)
{
    char directory[PATH_MAX];
    snprintf(directory, sizeof directory, "%s", path);
    char *slash = strrchr(directory, '/');
    if (!slash)
        strcpy(directory, ".");
    else
        slash[slash == directory] = '\0';
    if (access(directory, W_OK | X_OK) == 0)
        return FAM_OK;
    return failure(error, FAM_STATUS_IO, "%s: cannot be saved: directory %s: %s", path, directory, strerror(errno));
}

fam_status session_file_check(const cli_options *options, fam_error *error)
{
    const char *path = option_text(options, OPTION_SESSION);
    if (!path && option_given(options, OPTION_NO_SAVE))
        return failure(error, FAM_STATUS_INVALID_ARGUMENT, "--no-save: found no --session, need one to read");
    if (option_given(options, OPTION_SAVE_EVERY) && !session_file_saves(options))
        return failure(error, FAM_STATUS_INVALID_ARGUMENT, "--save-every: found %s, need a --session that is saved",
                       path ? "--no-save" : "no --session");
    if (!path)
        return FAM_OK;
    struct stat about;
    if (stat(path, &about) == 0 && !S_ISREG(about.st_mode))
        return failure(error, FAM_STATUS_IO, "%s: found something that is not a file, need a session file or a new name",
                       path);
    if (!session_file_saves(options))
        return exists(path) ? FAM_OK
                            : failure(error, FAM_STATUS_NOT_FOUND, "%s: not found, and --no-save only reads it", path);
    return check_directory(path, error);
}

/* The usual reason for a session of mode fam that does not fit: its memory comes with an adapter. */
static void advise_adapter(const fam_engine *engine, const char *path, fam_error *error)
{
    fam_engine_info info;
    fam_session_file_info file;
    fam_error ignored;
    fam_engine_info_get(engine, &info);
    if (info.mode == FAM_MODE_FAM || fam_session_file_inspect(path, &file, &ignored) != FAM_OK || file.mode != FAM_MODE_FAM)
        return;
    size_t length = strlen(error->message);
    snprintf(error->message + length, sizeof error->message - length, ": was --adapter forgotten?");
}

fam_status session_file_open(fam_session **out, fam_engine *engine, const cli_options *options,
                             const fam_session_options *session_options, fam_error *error)
{
    const char *path = option_text(options, OPTION_SESSION);
    fam_status status = fam_session_create(out, engine, session_options, error);
    if (status == FAM_OK && path && exists(path))
        status = fam_session_restore(*out, path, error);
    if (status == FAM_STATUS_MISMATCH && !option_given(options, OPTION_ADAPTER))
        advise_adapter(engine, path, error);
    return status;
}
