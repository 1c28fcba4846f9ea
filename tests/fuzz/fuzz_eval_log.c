/*
 * Fuzz target: draws.jsonl, what an evaluation kept. Whatever it holds, a draw that is taken from it is a possible one.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static fam_status check(void *context, const fam_eval_line *line, fam_error *error)
{
    const fam_eval_outcome *outcome = &line->outcome;
    (void)error;
    ++*(size_t *)context;
    if (!line->system || !line->identity || line->length < 2 || line->keys < 1 || line->draw < 0 ||
        !(line->depth_from >= 0 && line->depth_to <= 1))
        abort();
    if (outcome->parts_right < 0 || outcome->parts_right > outcome->parts || outcome->tokens < 1 ||
        outcome->tokens > line->length || outcome->tokens_right < 0 || outcome->tokens_right > outcome->tokens ||
        outcome->tokens_read < 0 || outcome->tokens_read > line->length || !isfinite(outcome->nll) ||
        !(outcome->seconds >= 0))
        abort();
    if (line->ranges != 0 && line->ranges != fam_eval_ranges_of(line->length))
        abort();
    for (int i = 0; i < line->ranges; i++)
        if (!isfinite(line->sums[i]))
            abort();
    return FAM_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const fam_eval_header header = {.task = "text", .seed = 7, .digits = 5, .asked = 1, .files = "0123456789abcdef"};
    fam_error error;
    size_t whole = 0, lines = 0;
    fam_status status =
        fam_eval_log_parse("draws.jsonl", (const char *)data, size, &header, check, &lines, &whole, &error);
    if (status == FAM_OK ? whole > size || (whole > 0 && data[whole - 1] != '\n') || lines > whole
                         : strncmp(error.message, "draws.jsonl: line ", 18) != 0)
        abort();
    return 0;
}
