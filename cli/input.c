/*
 * cli/input.c: the stream of ids; the second half of input.h. Bytes go in chunks from the present source to the encoder
 * (or the parser of ids), whose ids wait in a queue of a few chunks.
 */
#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "ids.h"
#include "message.h"
#include "signals.h"
#include "sources.h"

enum { CHUNK_BYTES = 1 << 14 };

struct cli_input {
    input_plan plan;
    size_t current; /* cli_source */
    int fd;         /* of the current source; -1: not open */
    fam_encoder *encoder;
    ids_parser ids;
    XXH3_state_t *hash; /* of the current cli_source */
    int32_t *queue;
    size_t queue_start, queue_count, queue_capacity;
    int64_t ids_given;
    bool bos, queue_failed;
    char chunk[CHUNK_BYTES];
};

static bool add_ids(void *context, const int32_t *ids, size_t count)
{
    cli_input *in = context;
    if (in->queue_start + in->queue_count + count > in->queue_capacity) {
        memmove(in->queue, in->queue + in->queue_start, in->queue_count * sizeof *in->queue);
        in->queue_start = 0;
    }
    if (in->queue_count + count > in->queue_capacity) {
        size_t capacity = 2 * (in->queue_count + count);
        int32_t *queue = realloc(in->queue, capacity * sizeof *queue);
        if (!queue) {
            in->queue_failed = true;
            return false;
        }
        in->queue = queue;
        in->queue_capacity = capacity;
    }
    memcpy(in->queue + in->queue_start + in->queue_count, ids, count * sizeof *ids);
    in->queue_count += count;
    in->ids_given += (int64_t)count;
    return true;
}

fam_status input_create(cli_input **out, const input_plan *plan, fam_error *error)
{
    cli_input *in = calloc(1, sizeof *in);
    if (!in)
        return failure(error, FAM_STATUS_OUT_OF_MEMORY, "the input: out of memory");
    in->plan = *plan;
    in->fd = -1;
    in->queue_capacity = CHUNK_BYTES;
    in->queue = malloc(in->queue_capacity * sizeof *in->queue);
    in->hash = XXH3_createState();
    fam_status status = FAM_OK;
    if (!in->queue || !in->hash)
        status = failure(error, FAM_STATUS_OUT_OF_MEMORY, "the input: out of memory");
    else if (sources_need_tokenizer(plan->sources, plan->count))
        status = fam_encoder_create(&in->encoder, plan->tokenizer, plan->special, error);
    if (status != FAM_OK) {
        input_free(in);
        return status;
    }
    if (plan->bos && plan->count > 0 && sources_need_tokenizer(plan->sources, 1) &&
        fam_tokenizer_adds_bos(plan->tokenizer)) {
        int32_t bos = fam_tokenizer_bos(plan->tokenizer);
        in->bos = bos >= 0 && add_ids(in, &bos, 1);
        in->ids_given = 0;
    }
    *out = in;
    return FAM_OK;
}

void input_free(cli_input *in)
{
    if (!in)
        return;
    if (in->fd > STDIN_FILENO)
        close(in->fd);
    fam_encoder_free(in->encoder);
    XXH3_freeState(in->hash);
    free(in->queue);
    free(in);
}

static bool is_text(const cli_source *source)
{
    return source->kind == SOURCE_FILE || source->kind == SOURCE_PROMPT;
}

static fam_status begin_source(cli_input *in, cli_source *source, fam_error *error)
{
    source->begun = true;
    source->ids_before = in->ids_given;
    source->bytes = 0;
    XXH3_128bits_reset(in->hash);
    ids_parser_init(&in->ids, source_label(source), in->plan.vocab_size);
    if (!source_is_file(source))
        return FAM_OK;
    do /* opening a FIFO waits for its writer */
        in->fd = source_is_stdin(source) ? STDIN_FILENO : open(source->name, O_RDONLY | O_CLOEXEC);
    while (in->fd < 0 && errno == EINTR && !signals_stop_asked());
    if (in->fd < 0 && errno == EINTR)
        return failure(error, FAM_STATUS_CANCELLED, "%s: interrupted while it was opened", source->name);
    if (in->fd < 0)
        return failure(error, errno == ENOENT ? FAM_STATUS_NOT_FOUND : FAM_STATUS_IO, "%s: cannot open: %s", source->name,
                       strerror(errno));
    return FAM_OK;
}

/* Up to `limit` bytes of the current source; *size 0 at its end. */
static fam_status read_chunk(cli_input *in, const cli_source *source, size_t limit, size_t *size, fam_error *error)
{
    if (!source_is_file(source)) {
        size_t left = (size_t)source->size - source->bytes;
        *size = left < limit ? left : limit;
        memcpy(in->chunk, source->name + source->bytes, *size);
        return FAM_OK;
    }
    for (;;) {
        if (signals_stop_asked())
            return failure(error, FAM_STATUS_CANCELLED, "%s: interrupted", source_label(source));
        ssize_t got = read(in->fd, in->chunk, limit);
        if (got >= 0) {
            *size = (size_t)got;
            return FAM_OK;
        }
        if (errno != EINTR)
            return failure(error, FAM_STATUS_IO, "%s: cannot read: %s", source_label(source), strerror(errno));
    }
}

static fam_status changed(const cli_source *source, fam_error *error)
{
    return failure(error, FAM_STATUS_MISMATCH,
                   "%s: it has changed: found other content, need the file as it was when the session read a part of it",
                   source_label(source));
}

static bool unverified(const cli_source *source)
{
    return source->expected && source->bytes < source->expected_bytes;
}

static fam_status encoder_status(const cli_input *in, fam_status status, fam_error *error)
{
    if (in->queue_failed)
        return failure(error, FAM_STATUS_OUT_OF_MEMORY, "the input: out of memory");
    return status;
}

/* The source is at its end. Text goes on into the next source if that is text too. */
static fam_status end_source(cli_input *in, cli_source *source, fam_error *error)
{
    if (unverified(source))
        return changed(source, error);
    source_hash_state(source->hash, in->hash);
    if (in->fd > STDIN_FILENO)
        close(in->fd);
    in->fd = -1;
    in->current++;
    fam_status status = FAM_OK;
    if (!is_text(source))
        status = ids_parser_finish(&in->ids, add_ids, in, error);
    else if (in->current == in->plan.count || !is_text(&in->plan.sources[in->current]))
        status = fam_encoder_finish(in->encoder, add_ids, in, error);
    return encoder_status(in, status, error);
}

/* One chunk of the current source, or its end. */
static fam_status step(cli_input *in, fam_error *error)
{
    cli_source *source = &in->plan.sources[in->current];
    fam_status status = source->begun ? FAM_OK : begin_source(in, source, error);
    size_t limit = CHUNK_BYTES, size = 0;
    if (unverified(source) && source->expected_bytes - source->bytes < limit)
        limit = (size_t)(source->expected_bytes - source->bytes);
    if (status == FAM_OK)
        status = read_chunk(in, source, limit, &size, error);
    if (status != FAM_OK)
        return status;
    if (size == 0)
        return end_source(in, source, error);
    bool check = unverified(source);
    XXH3_128bits_update(in->hash, in->chunk, size);
    source->bytes += size;
    if (check && !unverified(source)) {
        char hash[33];
        source_hash_state(hash, in->hash);
        if (strcmp(hash, source->expected_hash) != 0)
            return changed(source, error);
    }
    if (is_text(source))
        status = fam_encoder_feed(in->encoder, in->chunk, size, add_ids, in, error);
    else
        status = ids_parser_feed(&in->ids, in->chunk, size, add_ids, in, error);
    return encoder_status(in, status, error);
}

fam_status input_read(cli_input *in, int32_t *ids, size_t capacity, size_t *count, fam_error *error)
{
    *count = 0;
    while (*count < capacity) {
        if (in->queue_count > 0) {
            size_t n = capacity - *count < in->queue_count ? capacity - *count : in->queue_count;
            memcpy(ids + *count, in->queue + in->queue_start, n * sizeof *ids);
            in->queue_start += n;
            in->queue_count -= n;
            *count += n;
        } else if (in->current == in->plan.count) {
            return FAM_OK;
        } else {
            fam_status status = step(in, error);
            if (status != FAM_OK)
                return status;
        }
    }
    return FAM_OK;
}

static bool any_unverified(const cli_input *in)
{
    for (size_t i = 0; i < in->plan.count; i++) {
        if (unverified(&in->plan.sources[i]))
            return true;
    }
    return false;
}

fam_status input_skip(cli_input *in, int64_t ids, fam_error *error)
{
    while (in->current < in->plan.count && (ids > (int64_t)in->queue_count || any_unverified(in))) {
        size_t n = ids < (int64_t)in->queue_count ? (size_t)ids : in->queue_count;
        in->queue_start += n;
        in->queue_count -= n;
        ids -= (int64_t)n;
        fam_status status = step(in, error);
        if (status != FAM_OK)
            return status;
    }
    if (ids > (int64_t)in->queue_count)
        return failure(error, FAM_STATUS_MISMATCH,
                       "the input: it has changed: found fewer tokens than the session read, need %lld more",
                       (long long)ids - (long long)in->queue_count);
    in->queue_start += (size_t)ids;
    in->queue_count -= (size_t)ids;
    return FAM_OK;
}

int64_t input_ids_given(const cli_input *in)
{
    return in->ids_given;
}

bool input_has_bos(const cli_input *in)
{
    return in->bos;
}

void input_hashes(cli_input *in)
{
    if (in->current < in->plan.count && in->plan.sources[in->current].begun)
        source_hash_state(in->plan.sources[in->current].hash, in->hash);
}

void input_bytes(const cli_input *in, double *done, double *total)
{
    *done = *total = 0;
    for (size_t i = 0; i < in->plan.count; i++) {
        const cli_source *source = &in->plan.sources[i];
        *done += (double)source->bytes;
        if (source->size < 0)
            *total = -1;
        else if (*total >= 0)
            *total += (double)source->size;
    }
}

uint64_t input_dropped(const cli_input *in, uint64_t *first_offset)
{
    return in->encoder ? fam_encoder_dropped(in->encoder, first_offset) : 0;
}

void input_tell_dropped(const cli_input *in)
{
    uint64_t offset = 0, dropped = input_dropped(in, &offset);
    if (dropped > 0)
        message("the input: %llu byte%s for which the vocabulary has no token %s left out, the first at byte %llu",
                (unsigned long long)dropped, dropped == 1 ? "" : "s", dropped == 1 ? "was" : "were",
                (unsigned long long)offset);
}
