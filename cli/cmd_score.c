/*
 * cli/cmd_score.c: fam score: how well the model predicts a text.
 */
#include <math.h>
#include <stdlib.h>

#include "commands.h"
#include "fam/eval.h"
#include "input.h"
#include "measure.h"
#include "message.h"
#include "model.h"
#include "numbers.h"
#include "output.h"
#include "reader.h"

typedef struct nll_sum {
    double nll;
    int64_t count;
} nll_sum;

typedef struct score_run {
    const cli_options *options;
    fam_engine *engine;
    const fam_tokenizer *tokenizer;
    fam_session *session;
    cli_source *sources;
    size_t source_count;
    cli_input *input;
    cli_reader reader;
    int64_t tokens;
    double seconds;
    nll_sum all, ranges[FAM_EVAL_RANGES];
} score_run;

static void add(void *context, const double *nll, size_t count)
{
    score_run *score = context;
    for (size_t i = 0; i < count; i++, score->tokens++) {
        if (score->tokens == 0)
            continue; /* nothing predicts the first token */
        int range = 0;
        while (range + 1 < FAM_EVAL_RANGES && score->tokens >= fam_eval_range_start(range + 1))
            range++;
        score->all.nll += nll[i];
        score->all.count++;
        score->ranges[range].nll += nll[i];
        score->ranges[range].count++;
    }
}

static double mean(const nll_sum *sum)
{
    return sum->nll / (double)sum->count;
}

static int64_t range_end(const score_run *score, int range)
{
    int64_t end = fam_eval_range_start(range + 1);
    return end < score->tokens ? end : score->tokens;
}

static json_t *ranges_json(const score_run *score)
{
    json_t *list = json_array();
    for (int i = 0; list && option_given(score->options, OPTION_BY_DEPTH) && i < FAM_EVAL_RANGES; i++) {
        if (score->ranges[i].count == 0)
            continue;
        json_array_append_new(list, json_pack("{s:I, s:I, s:o}", "from", (json_int_t)fam_eval_range_start(i), "to",
                                              (json_int_t)range_end(score, i), "nll",
                                              output_json_real(mean(&score->ranges[i]))));
    }
    return list;
}

static fam_status print_json(const score_run *score, fam_error *error)
{
    uint64_t bytes = 0, peak = 0, allocations = 0;
    fam_engine_memory(score->engine, &bytes, &peak, &allocations);
    double nll = mean(&score->all);
    json_t *object = json_pack("{s:I, s:o, s:o, s:o, s:I, s:I, s:o}", "tokens", (json_int_t)score->tokens, "nll",
                               output_json_real(nll), "perplexity", output_json_real(exp(nll)), "seconds",
                               output_json_real(score->seconds), "peak_bytes", (json_int_t)measure_peak_bytes(),
                               "allocated_bytes", (json_int_t)bytes, "by_depth", ranges_json(score));
    fam_status status = output_json(object, error);
    json_decref(object);
    return status;
}

static fam_status print_text(const score_run *score, fam_error *error)
{
    double nll = mean(&score->all);
    fam_status status = output_format(error, "tokens      %lld\nnll         %.6f\nperplexity  %.6g\nseconds     %.2f\n",
                                      (long long)score->tokens, nll, exp(nll), score->seconds);
    if (status != FAM_OK || !option_given(score->options, OPTION_BY_DEPTH))
        return status;
    status = output_format(error, "\n%12s %12s %12s\n", "from", "to", "nll");
    for (int i = 0; status == FAM_OK && i < FAM_EVAL_RANGES; i++) {
        if (score->ranges[i].count > 0)
            status = output_format(error, "%12lld %12lld %12.6f\n", (long long)fam_eval_range_start(i),
                                   (long long)range_end(score, i), mean(&score->ranges[i]));
    }
    return status;
}

static fam_status open_all(score_run *score, fam_error *error)
{
    const cli_options *options = score->options;
    fam_engine_info info;
    fam_session_options session_options;
    fam_status status = sources_create(&score->sources, &score->source_count, options, error);
    if (status == FAM_OK && score->source_count == 0)
        status = failure(error, FAM_STATUS_INVALID_ARGUMENT,
                         "score: found nothing to read, need --prompt, --file or --ids-file");
    bool text = status == FAM_OK && sources_need_tokenizer(score->sources, score->source_count);
    if (status == FAM_OK && option_given(options, OPTION_SPECIAL) && !text)
        status = failure(error, FAM_STATUS_INVALID_ARGUMENT, "--special: found no text, need --prompt or --file");
    if (status == FAM_OK)
        status = model_open(&score->engine, options, error);
    if (status == FAM_OK && text)
        status = model_tokenizer(&score->tokenizer, score->engine, options->argument, error);
    if (status != FAM_OK)
        return status;
    reader_session_options(&session_options, &score->reader);
    status = fam_session_create(&score->session, score->engine, &session_options, error);
    if (status != FAM_OK)
        return status;
    fam_engine_info_get(score->engine, &info);
    input_plan plan = {score->sources,   score->source_count, score->tokenizer, info.vocab_size,
                       option_given(options, OPTION_SPECIAL), true};
    return input_create(&score->input, &plan, error);
}

static fam_status run(score_run *score, fam_error *error)
{
    fam_status status = open_all(score, error);
    if (status != FAM_OK)
        return status;
    score->reader.session = score->session;
    score->reader.input = score->input;
    score->reader.scored = add;
    score->reader.context = score;
    double start = measure_seconds();
    status = reader_run(&score->reader, score->engine, error);
    score->seconds = measure_seconds() - start;
    if (status != FAM_OK)
        return status;
    input_tell_dropped(score->input);
    if (score->tokens < 2)
        return failure(error, FAM_STATUS_INVALID_ARGUMENT, "the input: found %s, need at least two tokens to score",
                       score->tokens == 0 ? "no tokens" : "one token");
    bool json = option_given(score->options, OPTION_JSON);
    status = json ? print_json(score, error) : print_text(score, error);
    return status == FAM_OK ? output_close(error) : status;
}

int cmd_score(const cli_options *options)
{
    score_run score = {.options = options};
    fam_error error = {FAM_OK, ""};
    fam_status status = run(&score, &error);
    int result = 0;
    if (status == FAM_STATUS_CANCELLED) {
        char tokens[NUMBER_GROUPED_BYTES];
        message("interrupted after %s tokens", number_grouped(tokens, score.tokens));
        result = fam_status_exit_code(status);
    } else if (status != FAM_OK) {
        result = message_failure(&error);
    }
    input_free(score.input);
    fam_session_free(score.session);
    fam_engine_free(score.engine);
    free(score.sources);
    return result;
}
