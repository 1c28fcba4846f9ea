/*
 * cli/cmd_tokenize.c: fam tokenize: text to ids and back. Streams both ways.
 */
#include <stdlib.h>

#include "commands.h"
#include "input.h"
#include "message.h"
#include "output.h"
#include "signals.h"

enum { BATCH = 4096 };

typedef struct tokenize_run {
    const cli_options *options;
    fam_tokenizer *tokenizer;
    cli_source *sources;
    size_t source_count;
    cli_input *input;
    fam_decoder *decoder;
} tokenize_run;

static fam_status check(const tokenize_run *run, fam_error *error)
{
    const cli_options *options = run->options;
    bool text = sources_need_tokenizer(run->sources, run->source_count);
    if (option_given(options, OPTION_DECODE)) {
        if (option_given(options, OPTION_JSON))
            return failure(error, FAM_STATUS_INVALID_ARGUMENT, "--json: found --decode, which prints text, need one of them");
        if (text || run->source_count == 0)
            return failure(error, FAM_STATUS_INVALID_ARGUMENT, "--decode: found %s, need --ids or --ids-file",
                           text ? "text" : "no ids");
        return FAM_OK;
    }
    if (run->source_count == 0)
        return failure(error, FAM_STATUS_INVALID_ARGUMENT,
                       "tokenize: found nothing to read, need --prompt or --file, or --decode with --ids or --ids-file");
    for (size_t i = 0; i < run->source_count; i++) {
        if (run->sources[i].kind == SOURCE_IDS || run->sources[i].kind == SOURCE_IDS_FILE)
            return failure(error, FAM_STATUS_INVALID_ARGUMENT, "%s: found ids, need --decode to turn them into text",
                           run->sources[i].kind == SOURCE_IDS ? "--ids" : "--ids-file");
    }
    return FAM_OK;
}

static fam_status print_ids(const tokenize_run *run, const int32_t *ids, size_t count, bool first, fam_error *error)
{
    const char *between = option_given(run->options, OPTION_JSON) ? "," : " ";
    fam_status status = FAM_OK;
    for (size_t i = 0; i < count && status == FAM_OK; i++)
        status = output_format(error, "%s%d", first && i == 0 ? "" : between, (int)ids[i]);
    return status;
}

static fam_status print_text(tokenize_run *run, const int32_t *ids, size_t count, fam_error *error)
{
    fam_status status = FAM_OK;
    for (size_t i = 0; i < count && status == FAM_OK; i++) {
        const char *text = NULL;
        size_t length = 0;
        status = fam_decoder_feed(run->decoder, ids[i], &text, &length, error);
        if (status == FAM_OK)
            status = output_write(text, length, error);
    }
    return status;
}

static fam_status print_all(tokenize_run *run, fam_error *error)
{
    bool decode = option_given(run->options, OPTION_DECODE), json = option_given(run->options, OPTION_JSON), first = true;
    int32_t ids[BATCH];
    size_t count = BATCH;
    fam_status status = json ? output_format(error, "{\"tokens\":[") : FAM_OK;
    for (; status == FAM_OK && count == BATCH; first = false) {
        if (signals_stop_asked())
            return failure(error, FAM_STATUS_CANCELLED, "interrupted");
        status = input_read(run->input, ids, BATCH, &count, error);
        if (status == FAM_OK)
            status = decode ? print_text(run, ids, count, error) : print_ids(run, ids, count, first, error);
    }
    if (status == FAM_OK && decode) {
        const char *text = NULL;
        size_t length = 0;
        fam_decoder_finish(run->decoder, &text, &length);
        status = output_write(text, length, error);
    } else if (status == FAM_OK) {
        status = output_format(error, json ? "]}\n" : "\n");
    }
    return status;
}

static fam_status run_all(tokenize_run *run, fam_error *error)
{
    fam_status status = sources_create(&run->sources, &run->source_count, run->options, error);
    if (status == FAM_OK)
        status = check(run, error);
    if (status == FAM_OK)
        status = fam_tokenizer_open(&run->tokenizer, run->options->argument, error);
    if (status == FAM_OK)
        status = fam_decoder_create(&run->decoder, run->tokenizer, true, error);
    if (status != FAM_OK)
        return status;
    input_plan plan = {run->sources, run->source_count, run->tokenizer, fam_tokenizer_vocab_size(run->tokenizer),
                       option_given(run->options, OPTION_SPECIAL), false};
    status = input_create(&run->input, &plan, error);
    if (status == FAM_OK)
        status = print_all(run, error);
    if (status == FAM_OK)
        status = output_close(error);
    if (status == FAM_OK)
        input_tell_dropped(run->input);
    return status;
}

int cmd_tokenize(const cli_options *options)
{
    tokenize_run run = {.options = options};
    fam_error error = {FAM_OK, ""};
    fam_status status = run_all(&run, &error);
    input_free(run.input);
    fam_decoder_free(run.decoder);
    fam_tokenizer_free(run.tokenizer);
    free(run.sources);
    return status == FAM_OK ? 0 : message_failure(&error);
}
