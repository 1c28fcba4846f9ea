/*
 * cli/sources.c: the sources that the command line names, and hashes of files; the first half of input.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "input.h"
#include "message.h"
#include "sources.h"

bool source_is_file(const cli_source *source)
{
    return source->kind == SOURCE_FILE || source->kind == SOURCE_IDS_FILE;
}

bool source_is_stdin(const cli_source *source)
{
    return source_is_file(source) && strcmp(source->name, "-") == 0;
}

const char *source_label(const cli_source *source)
{
    if (source_is_stdin(source))
        return "standard input";
    return source_is_file(source) ? source->name : source->kind == SOURCE_PROMPT ? "--prompt" : "--ids";
}

bool sources_need_tokenizer(const cli_source *sources, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (sources[i].kind == SOURCE_FILE || sources[i].kind == SOURCE_PROMPT)
            return true;
    }
    return false;
}

/* Looks at a file without opening it: a FIFO must not be opened twice. */
static fam_status look(cli_source *source, fam_error *error)
{
    struct stat about;
    if (source_is_stdin(source)) {
        if (fstat(STDIN_FILENO, &about) == 0 && S_ISREG(about.st_mode))
            source->size = about.st_size;
        return FAM_OK;
    }
    if (stat(source->name, &about) != 0)
        return failure(error, errno == ENOENT ? FAM_STATUS_NOT_FOUND : FAM_STATUS_IO, "%s: cannot open: %s", source->name,
                       strerror(errno));
    if (S_ISDIR(about.st_mode))
        return failure(error, FAM_STATUS_IO, "%s: found a directory, need a file", source->name);
    if (access(source->name, R_OK) != 0)
        return failure(error, FAM_STATUS_IO, "%s: cannot open: %s", source->name, strerror(errno));
    if (S_ISREG(about.st_mode))
        source->size = about.st_size;
    return FAM_OK;
}

static cli_source from_text(source_kind kind, const char *text)
{
    return (cli_source){.kind = kind, .name = text, .size = (int64_t)strlen(text)};
}

fam_status sources_create(cli_source **out, size_t *count, const cli_options *options, fam_error *error)
{
    cli_source *sources = calloc(options->count + 1, sizeof *sources);
    size_t n = 0, standard_inputs = 0;
    fam_status status = FAM_OK;
    if (!sources)
        return failure(error, FAM_STATUS_OUT_OF_MEMORY, "the input: out of memory");
    for (size_t i = 0; i < options->count && status == FAM_OK; i++) {
        const option_value *value = &options->values[i];
        if (value->id != OPTION_FILE && value->id != OPTION_IDS_FILE)
            continue;
        cli_source *source = &sources[n++];
        source->kind = value->id == OPTION_FILE ? SOURCE_FILE : SOURCE_IDS_FILE;
        source->name = value->text;
        source->size = -1;
        if (source_is_stdin(source) && standard_inputs++ > 0)
            status = failure(error, FAM_STATUS_INVALID_ARGUMENT, "standard input: named twice, can be read once");
        else
            status = look(source, error);
    }
    if (status != FAM_OK) {
        free(sources);
        return status;
    }
    if (option_given(options, OPTION_IDS))
        sources[n++] = from_text(SOURCE_IDS, option_text(options, OPTION_IDS));
    if (option_given(options, OPTION_PROMPT))
        sources[n++] = from_text(SOURCE_PROMPT, option_text(options, OPTION_PROMPT));
    *out = sources;
    *count = n;
    return FAM_OK;
}

void source_hash_state(char hash[33], const void *xxh3_state)
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(xxh3_state));
    for (size_t i = 0; i < sizeof canonical.digest; i++)
        snprintf(hash + 2 * i, 3, "%02x", canonical.digest[i]);
}

void source_hash_text(char hash[33], const char *text, size_t length)
{
    XXH3_state_t *state = XXH3_createState();
    hash[0] = '\0';
    if (state) {
        XXH3_128bits_reset(state);
        XXH3_128bits_update(state, text, length);
        source_hash_state(hash, state);
    }
    XXH3_freeState(state);
}

fam_status source_hash_file(char hash[33], uint64_t *bytes_read, const char *path, uint64_t bytes, fam_error *error)
{
    enum { CHUNK = 1 << 16 };
    fam_status status = FAM_OK;
    char *chunk = malloc(CHUNK);
    XXH3_state_t *state = XXH3_createState();
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    *bytes_read = 0;
    if (!chunk || !state)
        status = failure(error, FAM_STATUS_OUT_OF_MEMORY, "%s: out of memory", path);
    else if (fd < 0)
        status = failure(error, FAM_STATUS_IO, "%s: cannot open: %s", path, strerror(errno));
    else
        XXH3_128bits_reset(state);
    while (status == FAM_OK && *bytes_read < bytes) {
        uint64_t left = bytes - *bytes_read;
        ssize_t got = read(fd, chunk, left < CHUNK ? (size_t)left : CHUNK);
        if (got == 0)
            break;
        if (got > 0) {
            XXH3_128bits_update(state, chunk, (size_t)got);
            *bytes_read += (uint64_t)got;
        } else if (errno != EINTR) {
            status = failure(error, FAM_STATUS_IO, "%s: cannot read: %s", path, strerror(errno));
        }
    }
    if (status == FAM_OK)
        source_hash_state(hash, state);
    if (fd >= 0)
        close(fd);
    XXH3_freeState(state);
    free(chunk);
    return status;
}
