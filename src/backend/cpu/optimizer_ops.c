/*
 * backend/cpu/optimizer_ops.c: the optimisers' operators. Work is cut by the number of elements alone, and partial sums
 * are added in the order of the pieces, so that no result depends on the number of threads.
 */
#include <math.h>

#include "backend/cpu/internal.h"

enum {
    PIECE_ELEMENTS = 16 * 1024,                              /* a thread's item, about */
    COLUMNS = 64,                                            /* a thread's item where columns are shared out */
    SUMS_MAX = FAM_CPU_PARTIAL_BYTES / (int)sizeof(double) /* pieces whose sums are kept */
};

/* The floor of squared gradients in the paper of Shazeer and Stern. */
#define SQUARE_MIN 1e-30

static int64_t pieces_of(int64_t count, int64_t piece)
{
    return (count + piece - 1) / piece;
}

static int64_t piece_end(int64_t item, int64_t piece, int64_t count)
{
    return (item + 1) * piece < count ? (item + 1) * piece : count;
}

/* So many of `count` units of `elements` each that there is work for a thread, and not too many pieces. */
static int64_t piece_size(int64_t count, int64_t elements)
{
    int64_t size = PIECE_ELEMENTS / elements, least = pieces_of(count, SUMS_MAX);
    size = size < 1 ? 1 : size;
    return size < least ? least : size;
}

static void for_pieces(fam_exec *exec, fam_pool_body *body, void *context, int64_t pieces)
{
    if (pieces <= 1)
        body(context, 0, pieces, 0);
    else
        fam_pool_run(fam_cpu_exec_of(exec)->pool, body, context, pieces, 1);
}

static double add_sums(const double *sums, int64_t pieces)
{
    double sum = 0;
    for (int64_t i = 0; i < pieces; i++)
        sum += sums[i];
    return sum;
}

/* ---- norm -------------------------------------------------------------------------------------------------------- */

typedef struct norm_arguments {
    const fam_cpu_kernels *kernels;
    const float *x;
    double *sums;
    int64_t count, piece;
} norm_arguments;

static void norm_pieces(void *context, int64_t begin, int64_t end, int thread)
{
    const norm_arguments *a = context;
    (void)thread;
    for (int64_t item = begin; item < end; item++) {
        int64_t first = item * a->piece;
        a->sums[item] = a->kernels->optimizer.sum_squares(a->x + first, piece_end(item, a->piece, a->count) - first);
    }
}

double fam_cpu_sum_squares(fam_exec *exec, const float *x, int64_t count)
{
    fam_cpu_exec *cpu = fam_cpu_exec_of(exec);
    norm_arguments a = {cpu->kernels, x, (double *)cpu->partial, count, piece_size(count, 1)};
    int64_t pieces = pieces_of(count, a.piece);
    for_pieces(exec, norm_pieces, &a, pieces);
    return add_sums(a.sums, pieces);
}

/* ---- AdamW ------------------------------------------------------------------------------------------------------- */

typedef struct adamw_arguments {
    const fam_cpu_kernels *kernels;
    float *x, *m, *v;
    const float *gradient;
    int64_t count;
    fam_cpu_adamw numbers;
} adamw_arguments;

static void adamw_pieces(void *context, int64_t begin, int64_t end, int thread)
{
    const adamw_arguments *a = context;
    int64_t first = begin * PIECE_ELEMENTS, count = piece_end(end - 1, PIECE_ELEMENTS, a->count) - first;
    (void)thread;
    a->kernels->optimizer.adamw(a->x + first, a->m + first, a->v + first, a->gradient + first, count, &a->numbers);
}

void fam_cpu_adamw_op(fam_exec *exec, float *x, float *m, float *v, const float *gradient, int64_t count,
                      const fam_adamw_step *step)
{
    adamw_arguments a = {fam_cpu_exec_of(exec)->kernels, x, m, v, gradient, count,
                         {.scale = (float)step->scale,
                          .fresh1 = (float)(1 - step->beta1),
                          .beta2 = (float)step->beta2,
                          .fresh2 = (float)(1 - step->beta2),
                          .root_correction = (float)(1 / sqrt(1 - pow(step->beta2, (double)step->step))),
                          .epsilon = (float)step->epsilon,
                          .rate = (float)(step->rate / (1 - pow(step->beta1, (double)step->step))),
                          .keep = (float)(1 - step->rate * step->weight_decay)}};
    if (count > 0)
        for_pieces(exec, adamw_pieces, &a, pieces_of(count, PIECE_ELEMENTS));
}

/* ---- Adafactor --------------------------------------------------------------------------------------------------- */

typedef struct adafactor_arguments {
    const fam_cpu_optimizer_kernels *kernels;
    float *x, *m, *row, *column;
    const float *gradient;
    double *sums;
    int64_t rows, columns, piece; /* piece: rows an item */
    double mean_row;              /* of `row`, after this step's squares */
    double limit;                 /* what the update is divided by */
    double scale, beta2, floor;
    fam_cpu_adafactor numbers;
} adafactor_arguments;

static float average(const adafactor_arguments *a, float before, double square_sum, int64_t count)
{
    double mean = a->scale * a->scale * square_sum / (double)count + a->floor;
    return (float)(a->beta2 * before + (1 - a->beta2) * mean);
}

static void row_squares(void *context, int64_t begin, int64_t end, int thread)
{
    const adafactor_arguments *a = context;
    (void)thread;
    for (int64_t i = begin * a->piece; i < piece_end(end - 1, a->piece, a->rows); i++)
        a->row[i] = average(a, a->row[i], a->kernels->sum_squares(a->gradient + i * a->columns, a->columns),
                            a->columns);
}

static void column_squares(void *context, int64_t begin, int64_t end, int thread)
{
    const adafactor_arguments *a = context;
    (void)thread;
    for (int64_t item = begin; item < end; item++) {
        int64_t first = item * COLUMNS, count = piece_end(item, COLUMNS, a->columns) - first;
        double sums[COLUMNS] = {0};
        for (int64_t i = 0; i < a->rows; i++)
            a->kernels->add_squares(sums, a->gradient + i * a->columns + first, count);
        for (int64_t c = 0; c < count; c++)
            a->column[first + c] = average(a, a->column[first + c], sums[c], a->rows);
    }
}

/* What a row's gradients are multiplied by, before they are divided by the column's root. */
static double row_factor(const adafactor_arguments *a, int64_t i)
{
    return a->scale * sqrt(a->mean_row / a->row[i]);
}

static void factored_sizes(void *context, int64_t begin, int64_t end, int thread)
{
    const adafactor_arguments *a = context;
    (void)thread;
    for (int64_t item = begin; item < end; item++) {
        a->sums[item] = 0;
        for (int64_t i = item * a->piece; i < piece_end(item, a->piece, a->rows); i++) {
            double factor = row_factor(a, i);
            a->sums[item] +=
                factor * factor * a->kernels->sum_quotients(a->gradient + i * a->columns, a->column, a->columns);
        }
    }
}

static void factored_updates(void *context, int64_t begin, int64_t end, int thread)
{
    const adafactor_arguments *a = context;
    (void)thread;
    for (int64_t i = begin * a->piece; i < piece_end(end - 1, a->piece, a->rows); i++) {
        int64_t at = i * a->columns;
        a->kernels->adafactor(a->x + at, a->m + at, a->gradient + at, a->column, a->columns,
                              (float)(row_factor(a, i) / a->limit), &a->numbers);
    }
}

/* Where the second moments are held whole, a "row" is one element. */
static void whole_sizes(void *context, int64_t begin, int64_t end, int thread)
{
    const adafactor_arguments *a = context;
    (void)thread;
    for (int64_t item = begin; item < end; item++) {
        int64_t first = item * a->piece, count = piece_end(item, a->piece, a->rows) - first;
        a->kernels->average_squares(a->row + first, a->gradient + first, count, &a->numbers);
        a->sums[item] =
            a->scale * a->scale * a->kernels->sum_quotients(a->gradient + first, a->row + first, count);
    }
}

static void whole_updates(void *context, int64_t begin, int64_t end, int thread)
{
    const adafactor_arguments *a = context;
    int64_t first = begin * a->piece, count = piece_end(end - 1, a->piece, a->rows) - first;
    (void)thread;
    a->kernels->adafactor(a->x + first, a->m + first, a->gradient + first, a->row + first, count,
                          (float)(a->scale / a->limit), &a->numbers);
}

static double mean_of(const float *x, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += x[i];
    return sum / (double)count;
}

void fam_cpu_adafactor_op(fam_exec *exec, float *x, float *m, float *row, float *column, const float *gradient,
                          int64_t rows, int64_t columns, const fam_adafactor_step *step)
{
    fam_cpu_exec *cpu = fam_cpu_exec_of(exec);
    double t = (double)step->step, square = step->epsilon * step->epsilon;
    adafactor_arguments a = {.kernels = &cpu->kernels->optimizer, .x = x, .m = m, .row = row, .column = column,
                             .gradient = gradient, .sums = (double *)cpu->partial, .rows = rows, .columns = columns,
                             .scale = step->scale, .floor = square > SQUARE_MIN ? square : SQUARE_MIN};
    a.beta2 = step->beta2 * (1 - pow(step->beta2, t - 1)) / (1 - pow(step->beta2, t));
    a.numbers = (fam_cpu_adafactor){.scale = (float)step->scale,
                                    .beta1 = (float)step->beta1,
                                    .fresh1 = (float)(step->rate * (1 - step->beta1)),
                                    .beta2 = (float)a.beta2,
                                    .fresh2 = (float)(1 - a.beta2),
                                    .floor = (float)a.floor,
                                    .keep = (float)(1 - step->rate * step->weight_decay)};
    if (rows < 1 || columns < 1)
        return;
    if (!column) {
        a.rows = rows * columns;
        a.columns = 1;
    }
    a.piece = piece_size(a.rows, a.columns);
    int64_t pieces = pieces_of(a.rows, a.piece);
    if (column) {
        for_pieces(exec, row_squares, &a, pieces);
        for_pieces(exec, column_squares, &a, pieces_of(columns, COLUMNS));
        a.mean_row = mean_of(row, rows);
    }
    for_pieces(exec, column ? factored_sizes : whole_sizes, &a, pieces);
    double size = sqrt(add_sums(a.sums, pieces) / (double)(rows * columns));
    a.limit = step->clip > 0 && size > step->clip ? size / step->clip : 1;
    for_pieces(exec, column ? factored_updates : whole_updates, &a, pieces);
}
