/*
 * cli/cmd_bench.c: fam bench: tokens per second of reading and of generating, at several depths.
 */
#include <stdio.h>
#include <stdlib.h>

#include "commands.h"
#include "measure.h"
#include "message.h"
#include "model.h"
#include "output.h"
#include "reader.h"

typedef struct figure {
    int64_t tokens; /* length of the prompt, or depth */
    double median, min, max;
} figure;

typedef struct bench_run {
    const cli_options *options;
    fam_engine *engine;
    fam_session *session;
    cli_reader reader;
    uint64_t random;
    int64_t vocab_size, repetitions, decode_tokens;
    int64_t *lengths, *depths;
    size_t length_count, depth_count;
    figure *prefill, *decode;
    double *samples;
} bench_run;

/* xorshift64*: which tokens it reads does not matter, that they are the same every time does. */
static int32_t draw(bench_run *run)
{
    run->random ^= run->random >> 12;
    run->random ^= run->random << 25;
    run->random ^= run->random >> 27;
    return (int32_t)((run->random * 2685821657736338717ULL >> 33) % (uint64_t)run->vocab_size);
}

static fam_status feed_random(bench_run *run, fam_session *session, int64_t count, fam_error *error)
{
    enum { PIECE = 1 << 16 };
    int32_t *ids = malloc((size_t)(count < PIECE ? count : PIECE) * sizeof *ids + 1);
    fam_status status = ids ? FAM_OK : failure(error, FAM_STATUS_OUT_OF_MEMORY, "bench: out of memory");
    while (status == FAM_OK && count > 0) {
        size_t n = count < PIECE ? (size_t)count : PIECE;
        for (size_t i = 0; i < n; i++)
            ids[i] = draw(run);
        status = fam_session_feed(session, ids, n, NULL, error);
        count -= (int64_t)n;
    }
    free(ids);
    return status;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static figure summary(bench_run *run, int64_t tokens)
{
    size_t n = (size_t)run->repetitions;
    qsort(run->samples, n, sizeof *run->samples, compare);
    double median = (run->samples[(n - 1) / 2] + run->samples[n / 2]) / 2;
    return (figure){tokens, median, run->samples[0], run->samples[n - 1]};
}

static fam_status measure_prefill(bench_run *run, size_t index, fam_error *error)
{
    int64_t length = run->lengths[index];
    fam_status status = FAM_OK;
    for (int64_t i = -1; i < run->repetitions && status == FAM_OK; i++) { /* the first one only warms up */
        fam_session_reset(run->session);
        double start = measure_seconds();
        status = feed_random(run, run->session, length, error);
        if (status == FAM_OK && !fam_session_logits(run->session))
            status = failure(error, FAM_STATUS_FAILED, "bench: found no logits after %lld tokens", (long long)length);
        if (status == FAM_OK && i >= 0)
            run->samples[i] = (double)length / (measure_seconds() - start);
    }
    if (status == FAM_OK) {
        run->prefill[index] = summary(run, length);
        message("prefill of %lld tokens: %.1f tok/s", (long long)length, run->prefill[index].median);
    }
    return status;
}

static fam_status decode_once(bench_run *run, fam_session *session, double *speed, fam_error *error)
{
    int32_t token = draw(run);
    fam_status status = FAM_OK;
    double start = measure_seconds();
    for (int64_t i = 0; i < run->decode_tokens && status == FAM_OK; i++) {
        status = fam_session_feed(session, &token, 1, NULL, error);
        if (status == FAM_OK)
            status = fam_session_sample(session, &token, error);
    }
    *speed = (double)run->decode_tokens / (measure_seconds() - start);
    return status;
}

/* The session is at a smaller depth or at this one; the repetitions run on clones of it. */
static fam_status measure_decode(bench_run *run, size_t index, fam_error *error)
{
    int64_t depth = run->depths[index], ahead = depth - fam_session_position(run->session);
    fam_status status = feed_random(run, run->session, ahead, error);
    for (int64_t i = -1; i < run->repetitions && status == FAM_OK; i++) {
        fam_session *clone = NULL;
        double speed = 0;
        status = fam_session_clone(&clone, run->session, error);
        if (status == FAM_OK)
            status = decode_once(run, clone, &speed, error);
        if (i >= 0)
            run->samples[i] = speed;
        fam_session_free(clone);
    }
    if (status == FAM_OK) {
        run->decode[index] = summary(run, depth);
        message("decode at depth %lld: %.1f tok/s", (long long)depth, run->decode[index].median);
    }
    return status;
}

static int compare_integers(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Lengths and depths against what mode full can hold: known before anything is measured. */
static fam_status check_context(const bench_run *run, const fam_engine_info *info, fam_error *error)
{
    if (info->mode != FAM_MODE_FULL)
        return FAM_OK;
    for (size_t i = 0; i < run->length_count; i++) {
        if (run->lengths[i] > info->context)
            return failure(error, FAM_STATUS_CONTEXT_FULL, "--prompt-tokens: found %lld, need at most the context of %lld "
                           "in mode full", (long long)run->lengths[i], (long long)info->context);
    }
    for (size_t i = 0; i < run->depth_count; i++) {
        if (run->depths[i] + run->decode_tokens > info->context)
            return failure(error, FAM_STATUS_CONTEXT_FULL, "--depths: found %lld and %lld tokens to generate, need at most "
                           "the context of %lld in mode full", (long long)run->depths[i], (long long)run->decode_tokens,
                           (long long)info->context);
    }
    return FAM_OK;
}

static fam_status set_up(bench_run *run, fam_engine_info *info, fam_error *error)
{
    const cli_options *options = run->options;
    fam_session_options session_options;
    run->repetitions = option_integer(options, OPTION_REPETITIONS);
    run->decode_tokens = option_integer(options, OPTION_DECODE_TOKENS);
    run->lengths = option_list(options, OPTION_PROMPT_TOKENS, &run->length_count);
    run->depths = option_list(options, OPTION_DEPTHS, &run->depth_count);
    run->prefill = calloc(run->length_count, sizeof *run->prefill);
    run->decode = calloc(run->depth_count, sizeof *run->decode);
    run->samples = calloc((size_t)run->repetitions, sizeof *run->samples);
    if (!run->lengths || !run->depths || !run->prefill || !run->decode || !run->samples)
        return failure(error, FAM_STATUS_OUT_OF_MEMORY, "bench: out of memory");
    qsort(run->depths, run->depth_count, sizeof *run->depths, compare_integers); /* one reading passes all of them */
    fam_status status = model_open(&run->engine, options, error);
    if (status != FAM_OK)
        return status;
    fam_engine_info_get(run->engine, info);
    run->vocab_size = info->vocab_size;
    run->random = 1;
    run->reader.quiet = true;
    reader_session_options(&session_options, &run->reader);
    status = check_context(run, info, error);
    return status == FAM_OK ? fam_session_create(&run->session, run->engine, &session_options, error) : status;
}

static json_t *figures_json(const figure *figures, size_t count, const char *name)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < count; i++)
        json_array_append_new(list, json_pack("{s:I, s:o, s:o, s:o}", name, (json_int_t)figures[i].tokens, "tok_s",
                                              output_json_real(figures[i].median), "min",
                                              output_json_real(figures[i].min), "max", output_json_real(figures[i].max)));
    return list;
}

static fam_status print_json(const bench_run *run, const fam_engine_info *info, fam_error *error)
{
    uint64_t bytes = 0;
    fam_engine_memory(run->engine, &bytes, NULL, NULL);
    json_t *object =
        json_pack("{s:o, s:o, s:I, s:I, s:s, s:I, s:I, s:s, s:s, s:s, s:i, s:I, s:I}", "prefill",
                  figures_json(run->prefill, run->length_count, "tokens"), "decode",
                  figures_json(run->decode, run->depth_count, "depth"), "decode_tokens", (json_int_t)run->decode_tokens,
                  "repetitions", (json_int_t)run->repetitions, "mode", fam_mode_name(info->mode), "block_size",
                  (json_int_t)info->block_size, "memory_segments", (json_int_t)info->memory_segments, "dtype",
                  info->dtype == FAM_DTYPE_F32 ? "f32" : "bf16", "device", info->device, "isa", info->isa, "threads",
                  info->threads, "peak_bytes", (json_int_t)measure_peak_bytes(), "allocated_bytes", (json_int_t)bytes);
    fam_status status = output_json(object, error);
    json_decref(object);
    return status;
}

static fam_status print_figures(const char *title, const char *name, const figure *figures, size_t count, fam_error *error)
{
    fam_status status = output_format(error, "%s\n%12s %12s %12s %12s\n", title, name, "tok/s", "min", "max");
    for (size_t i = 0; i < count && status == FAM_OK; i++)
        status = output_format(error, "%12lld %12.1f %12.1f %12.1f\n", (long long)figures[i].tokens, figures[i].median,
                               figures[i].min, figures[i].max);
    return status;
}

static fam_status measure_all(bench_run *run, fam_error *error)
{
    fam_engine_info info;
    fam_status status = set_up(run, &info, error);
    for (size_t i = 0; i < run->length_count && status == FAM_OK; i++)
        status = measure_prefill(run, i, error);
    if (status == FAM_OK)
        fam_session_reset(run->session);
    for (size_t i = 0; i < run->depth_count && status == FAM_OK; i++)
        status = measure_decode(run, i, error);
    if (status != FAM_OK)
        return status;
    if (option_given(run->options, OPTION_JSON))
        status = print_json(run, &info, error);
    else
        status = print_figures("prefill", "tokens", run->prefill, run->length_count, error);
    if (status == FAM_OK && !option_given(run->options, OPTION_JSON))
        status = print_figures("decode", "depth", run->decode, run->depth_count, error);
    return status == FAM_OK ? output_close(error) : status;
}

int cmd_bench(const cli_options *options)
{
    bench_run run = {.options = options};
    fam_error error = {FAM_OK, ""};
    fam_status status = measure_all(&run, &error);
    fam_session_free(run.session);
    fam_engine_free(run.engine);
    free(run.lengths);
    free(run.depths);
    free(run.prefill);
    free(run.decode);
    free(run.samples);
    if (status == FAM_STATUS_CANCELLED)
        message("interrupted");
    return status == FAM_OK                  ? 0
           : status == FAM_STATUS_CANCELLED ? fam_status_exit_code(status)
                                            : message_failure(&error);
}
