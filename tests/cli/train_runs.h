/*
 * tests/cli/train_runs.h: runs of fam train that take a fraction of a second, and what is compared of two of them.
 */
#ifndef TESTS_CLI_TRAIN_RUNS_H
#define TESTS_CLI_TRAIN_RUNS_H

#include "run.h"

/* From nothing, in blocks of 48 bytes; the steps may be made more (schedule constant). Data is to be put behind it. */
#define TRAIN_HEAD                                                                                                     \
    "model:\n"                                                                                                         \
    "  new: {layers: 2, hidden_size: 16, intermediate_size: 24, heads: 2}\n"                                           \
    "fam: {mode: fam, block_size: 48, fam_length: 3, state_norm: rms}\n"                                               \
    "optimizer: {learning_rate: 5e-3, warmup_steps: 2, schedule: constant}\n"                                          \
    "train: {steps: 6, sequences: 2, blocks: 3, accumulate: 2, dtype: f32}\n"                                          \
    "output: {every: 2, keep: 3}\n"                                                                                    \
    "data:\n"
#define TRAIN_RECALL "  - {kind: recall, digits: 1, rest_share: 0.1}\n"

/* fam train RECIPE --out OUT with more arguments behind it. */
#define train(recipe, out, ...) run("train", (recipe), "--out", (out), "--no-report", __VA_ARGS__)
#define train_plan(recipe, out, ...)                                                                                   \
    {                                                                                                                  \
        .arguments = {"train", (recipe), "--out", (out), "--no-report", __VA_ARGS__ }                                  \
    }

static inline const char *train_recipe(void)
{
    return run_write_text("tiny.yaml", TRAIN_HEAD TRAIN_RECALL);
}

static inline void train_expect(run_result result, int code, const char *part)
{
    expect_code(result, code);
    expect_contains(result.err, part);
    run_free(&result);
}

/* "RUN/name"; one of some buffers. */
static inline const char *train_in(const char *out, const char *name)
{
    static char paths[8][700];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", out, name);
    return path;
}

static inline void shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static inline void shell(const char *format, ...)
{
    char command[2000];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    if (system(command) != 0)
        fail_msg("failed: %s", command);
}

static inline int train_lines(const char *out)
{
    FILE *file = fopen(train_in(out, "metrics.jsonl"), "rb");
    int lines = 0;
    for (int c; file && (c = fgetc(file)) != EOF;)
        lines += c == '\n';
    if (file)
        fclose(file);
    return lines;
}

/* Losses and norms of every step, one after the other; steps 1 to `steps` are there once each. Released with free. */
static inline char *train_losses(const char *out, int steps)
{
    char *text = run_slurp(train_in(out, "metrics.jsonl"), NULL), *losses = calloc((size_t)steps + 1, 100);
    int step = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        json_t *object = run_json(line);
        if (run_integer(object, "step") != ++step)
            fail_msg("found step %lld, need %d", run_integer(object, "step"), step);
        sprintf(losses + strlen(losses), "%s %s\n", json_string_value(json_object_get(object, "loss_hex")),
                json_string_value(json_object_get(object, "gradient_norm_hex")));
        json_decref(object);
    }
    assert_int_equal(step, steps);
    free(text);
    return losses;
}

static inline void train_expect_same_file(const char *a, const char *b)
{
    size_t n, m;
    char *one = run_slurp(a, &n), *two = run_slurp(b, &m);
    if (n != m || memcmp(one, two, n) != 0)
        fail_msg("%s and %s differ", a, b);
    free(one);
    free(two);
}

/* Two runs made the same steps and came to the same weights, to the bit. */
static inline void train_expect_same(const char *a, const char *b, int steps)
{
    char *one = train_losses(a, steps), *two = train_losses(b, steps);
    assert_string_equal(one, two);
    free(one);
    free(two);
    train_expect_same_file(train_in(a, "result/model.safetensors"), train_in(b, "result/model.safetensors"));
}

#endif
