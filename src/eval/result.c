/*
 * eval/result.c: the table of outcomes and the summary made from it: see internal.h.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval/internal.h"
#include "eval/reader.h"

static const double Z = 1.959963984540054; /* 95 %, two-sided */

void fam_eval_wilson(int64_t right, int64_t n, double *low, double *high)
{
    if (n == 0) {
        *low = *high = NAN;
        return;
    }
    double share = (double)right / (double)n, z2 = Z * Z / (double)n;
    double middle = share + z2 / 2, half = Z * sqrt(share * (1 - share) / (double)n + z2 / (4 * (double)n));
    *low = right == 0 ? 0 : (middle - half) / (1 + z2); /* exact at the ends, where rounding would not be */
    *high = right == n ? 1 : (middle + half) / (1 + z2);
}

/* ---- making ------------------------------------------------------------------------------------------------------ */

static fam_status copy_text(char **out, fam_memory *memory, const char *text, fam_error *error)
{
    fam_status status = FAM_OK;
    if (text)
        FAM_TRY_ALLOC(*out, fam_strdup(memory, text), "results");
done:
    return status;
}

static fam_status describe(fam_eval_description *out, fam_memory *memory, const fam_eval_system *system,
                           fam_error *error)
{
    fam_status status = FAM_OK;
    fam_eval_reader reader;
    fam_eval_reader_init(&reader, system->engine);
    out->reach = fam_eval_reader_reach(&reader);
    fam_engine_info_get(system->engine, &out->info);
    FAM_TRY(copy_text(&out->name, memory, system->name, error));
    FAM_TRY(copy_text(&out->adapter, memory, system->adapter, error));
done:
    return status;
}

fam_status fam_eval_result_fill(fam_eval_result *result, const fam_eval_system *systems, size_t system_count,
                                const fam_eval_options *options, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_memory *memory = &result->memory;
    result->task = options->task;
    result->seed = options->seed;
    result->draws = options->draws;
    result->digits = options->digits;
    result->asked = options->asked;
    FAM_TRY(copy_text(&result->model, memory, options->model, error));
    FAM_TRY_ALLOC(result->systems, fam_alloc_array(memory, system_count, sizeof *result->systems), "results");
    result->system_count = system_count;
    for (size_t i = 0; i < system_count; i++)
        FAM_TRY(describe(&result->systems[i], memory, &systems[i], error));
done:
    return status;
}

fam_status fam_eval_result_make_table(fam_eval_result *result, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_memory *memory = &result->memory;
    int64_t outcomes = 0, sums = 0, systems = (int64_t)result->system_count, ranges = 0;
    for (size_t i = 0; i < result->question_count; i++) {
        fam_eval_question *q = &result->questions[i];
        q->first_outcome = outcomes;
        q->first_sum = sums;
        outcomes += q->draws * systems; /* at most 2^36 more, so that no sum wraps before it is refused */
        sums += q->draws * systems * q->ranges;
        FAM_FAIL_IF(outcomes > (int64_t)1 << 32, FAM_STATUS_INVALID_ARGUMENT,
                    "draws: found more than 2^32 over all questions and systems, need fewer");
        ranges += q->ranges;
    }
    FAM_TRY_ALLOC(result->outcomes, fam_alloc_array(memory, (size_t)outcomes, sizeof *result->outcomes), "draws");
    if (sums > 0)
        FAM_TRY_ALLOC(result->sums, fam_alloc_array(memory, (size_t)sums, sizeof *result->sums), "draws");
    result->cell_count = result->question_count * result->system_count;
    result->depth_count = (size_t)(ranges * systems);
    FAM_TRY_ALLOC(result->cells, fam_alloc_array(memory, result->cell_count, sizeof *result->cells), "results");
    FAM_TRY_ALLOC(result->depths, fam_alloc_array(memory, result->depth_count, sizeof *result->depths), "results");
done:
    return status;
}

void fam_eval_result_free(fam_eval_result *result)
{
    size_t bytes_left;
    if (result)
        fam_eval_result_free_counted(result, &bytes_left);
}

void fam_eval_result_free_counted(fam_eval_result *result, size_t *bytes_left)
{
    fam_memory *memory = &result->memory;
    for (size_t i = 0; i < result->system_count; i++) {
        fam_free(memory, result->systems[i].name);
        fam_free(memory, result->systems[i].adapter);
    }
    fam_free(memory, result->systems);
    fam_free(memory, result->model);
    fam_free(memory, result->questions);
    fam_free(memory, result->outcomes);
    fam_free(memory, result->sums);
    fam_free(memory, result->cells);
    fam_free(memory, result->depths);
    *bytes_left = memory->bytes;
    free(result);
}

/* ---- the summary ------------------------------------------------------------------------------------------------- */

fam_eval_cell fam_eval_cell_of(const fam_eval_result *result, size_t question, size_t system)
{
    const fam_eval_question *q = &result->questions[question];
    int64_t exact = 0, tokens = 0, tokens_right = 0;
    double parts = 0, nll = 0;
    fam_eval_cell cell = {
        .system = system, .length = q->length, .depth_from = q->depth_from, .depth_to = q->depth_to, .keys = q->keys};
    for (int64_t i = 0; i < q->draws; i++) {
        const fam_eval_outcome *outcome = fam_eval_outcome_at(result, question, system, i);
        if (!outcome->done)
            continue;
        cell.draws++;
        cell.seconds += outcome->seconds;
        cell.tokens += outcome->tokens_read;
        exact += outcome->parts_right == outcome->parts;
        parts += outcome->parts > 0 ? (double)outcome->parts_right / (double)outcome->parts : 0;
        tokens += outcome->tokens;
        tokens_right += outcome->tokens_right;
        nll += outcome->nll;
    }
    bool answers = cell.draws > 0 && result->task != FAM_EVAL_TEXT;
    fam_eval_wilson(exact, answers ? cell.draws : 0, &cell.exact_low, &cell.exact_high);
    cell.exact = answers ? (double)exact / (double)cell.draws : NAN;
    cell.parts = answers ? parts / (double)cell.draws : NAN;
    cell.digits = answers ? (double)tokens_right / (double)tokens : NAN;
    cell.nll = tokens > 0 ? nll / (double)tokens : NAN;
    return cell;
}

static fam_eval_depth depth_of(const fam_eval_result *result, size_t question, size_t system, int range)
{
    const fam_eval_question *q = &result->questions[question];
    int64_t to = fam_eval_range_start(range + 1);
    double tokens = (double)fam_eval_range_tokens(range, q->length), mean = 0, spread = 0;
    fam_eval_depth depth = {.system = system,
                            .length = q->length,
                            .from = fam_eval_range_start(range),
                            .to = to < q->length ? to : q->length};
    for (int64_t i = 0; i < q->draws; i++) { /* Welford's running mean and sum of squares */
        if (!fam_eval_outcome_at(result, question, system, i)->done)
            continue;
        double value = fam_eval_sums_at(result, question, system, i)[range] / tokens, before = value - mean;
        depth.draws++;
        mean += before / (double)depth.draws;
        spread += before * (value - mean);
    }
    double n = (double)depth.draws, half = depth.draws > 1 ? Z * sqrt(spread / (n - 1) / n) : NAN;
    depth.nll = depth.draws > 0 ? mean : NAN;
    depth.nll_low = depth.nll - half;
    depth.nll_high = depth.nll + half;
    return depth;
}

void fam_eval_result_summarise(fam_eval_result *result)
{
    size_t at = 0;
    result->complete = true;
    for (size_t q = 0; q < result->question_count; q++) {
        for (size_t s = 0; s < result->system_count; s++) {
            fam_eval_cell *cell = &result->cells[q * result->system_count + s];
            *cell = fam_eval_cell_of(result, q, s);
            result->complete &= cell->draws == result->questions[q].draws;
        }
        for (int range = 0; range < result->questions[q].ranges; range++)
            for (size_t s = 0; s < result->system_count; s++)
                result->depths[at++] = depth_of(result, q, s, range);
    }
}

const fam_eval_cell *fam_eval_cells(const fam_eval_result *result, size_t *count)
{
    *count = result->cell_count;
    return result->cells;
}

const fam_eval_depth *fam_eval_by_depth(const fam_eval_result *result, size_t *count)
{
    *count = result->depth_count;
    return result->depths;
}
