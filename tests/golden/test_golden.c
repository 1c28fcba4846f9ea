/*
 * Every golden case through build/tests/fam_case, as outside checks run it: pieces, spans, threads and levels of kernels
 * in float32 within the case's tolerance, and bf16 within twice the error that the reference makes in bf16.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/cpu/features.h"
#include "format/json.h"
#include "run.h"

enum { CASES_MAX = 64 };

/* A golden case with its answers. */
typedef struct golden {
    char name[64], directory[1024];
    json_t *json;
    fam_memory memory;
    fam_safetensors *expected;
    int64_t block;
} golden;

typedef struct suite_cases {
    golden cases[CASES_MAX];
    int count;
    double mean_bf16_loss;
    json_t *bf16;
} suite_cases;

static suite_cases all;
static run_directory scratch;

static int64_t block_of(const char *directory)
{
    char path[1200];
    json_error_t error;
    snprintf(path, sizeof path, "%s/config.json", directory);
    json_t *config = json_load_file(path, 0, &error);
    assert_non_null(config);
    int64_t block = json_integer_value(json_object_get(json_object_get(config, "fam"), "block_size"));
    json_decref(config);
    return block > 0 ? block : 16;
}

static int is_case(const struct dirent *entry)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/tests/golden/%s/case.json", suite_root(), entry->d_name);
    return access(path, R_OK) == 0;
}

static void open_cases(void)
{
    struct dirent **entries;
    json_error_t json_error;
    int found = scandir(suite_path("tests/golden"), &entries, is_case, alphasort);
    assert_in_range(found, 18, CASES_MAX);
    all.count = found;
    for (int i = 0; i < found; i++) {
        golden *g = &all.cases[i];
        char path[1200];
        snprintf(g->name, sizeof g->name, "%.60s", entries[i]->d_name);
        snprintf(g->directory, sizeof g->directory, "%s/tests/golden/%s", suite_root(), g->name);
        snprintf(path, sizeof path, "%s/case.json", g->directory);
        g->json = json_load_file(path, 0, &json_error);
        assert_non_null(g->json);
        fam_memory_init(&g->memory);
        snprintf(path, sizeof path, "%s/expected.safetensors", g->directory);
        run_ok(fam_safetensors_open(&g->expected, &g->memory, path, error));
        g->block = block_of(g->directory);
        free(entries[i]);
    }
    free(entries);
    all.bf16 = json_load_file(suite_path("tests/golden/bf16_error.json"), 0, &json_error);
    assert_non_null(all.bf16);
    for (int i = 0; i < found; i++)
        all.mean_bf16_loss +=
            json_number_value(json_object_get(json_object_get(all.bf16, all.cases[i].name), "loss")) / found;
    run_directory_make(&scratch);
}

static void close_cases(void)
{
    for (int i = 0; i < all.count; i++) {
        fam_safetensors_free(all.cases[i].expected);
        json_decref(all.cases[i].json);
    }
    json_decref(all.bf16);
    run_directory_remove(&scratch);
}

/* ---- the runner as a child ---------------------------------------------------------------------------------------- */

/* Starts fam_case; its messages go to OUT.log. */
static pid_t start_runner(const char *directory, const char *out, const char *const *options)
{
    const char *argv[16] = {FAM_BUILD_DIR "/tests/fam_case", directory, out};
    int n = 3;
    while (*options && n < 15)
        argv[n++] = *options++;
    char log[300];
    snprintf(log, sizeof log, "%s.log", out);
    pid_t child = fork();
    if (child == 0) {
        int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        dup2(fd, 1);
        dup2(fd, 2);
        execv(argv[0], (char *const *)argv);
        _exit(127);
    }
    assert_true(child > 0);
    return child;
}

static void wait_for(pid_t child, const char *what, const char *out)
{
    int state = 0;
    while (waitpid(child, &state, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(state) && WEXITSTATUS(state) == 0)
        return;
    char log[300];
    size_t size;
    snprintf(log, sizeof log, "%s.log", out);
    uint8_t *text = run_read(log, &size);
    fail_msg("%s: state %d: %.*s", what, state, (int)size, (const char *)text);
}

/* ---- comparing ---------------------------------------------------------------------------------------------------- */

static const char *group_of(const char *tensor)
{
    if (strncmp(tensor, "grad.", 5) == 0)
        return "grad";
    return strcmp(tensor, "initial_states") == 0 ? "states" : tensor;
}

/* What a group may be off, relative to the largest value. The reference's error of the loss in bf16 is one number, and in
 * some cases its many small errors happen to cancel (0.0003 where the average is 0.0027, 0 for a case without a loss):
 * that luck is no bound for others, so the mean over the cases counts where it is larger. */
static double tolerance(const golden *g, const char *tensor, bool bf16)
{
    const char *group = group_of(tensor);
    const json_t *from = bf16 ? json_object_get(all.bf16, g->name) : json_object_get(g->json, "tolerance");
    const json_t *value = json_object_get(from, group);
    assert_true(json_is_number(value));
    double limit = json_number_value(value);
    if (!bf16)
        return limit;
    if (strcmp(group, "loss") == 0 && limit < all.mean_bf16_loss)
        limit = all.mean_bf16_loss;
    return 2 * limit;
}

/* The tensors that a run wrote against the expected ones. The worst share of a tolerance. */
static double compare(const golden *g, const char *out, const char *what, bool bf16)
{
    fam_safetensors *got;
    fam_memory memory;
    fam_safetensors_entry entry;
    int64_t compared = 0;
    double worst = 0;
    fam_memory_init(&memory);
    run_ok(fam_safetensors_open(&got, &memory, out, error));
    for (int64_t i = 0; fam_safetensors_entry_at(g->expected, i, &entry); i++) {
        const fam_tensor *want = entry.tensor, *have = fam_safetensors_tensor(got, entry.name);
        if (!have || have->n_dims != want->n_dims || have->type != FAM_TYPE_F32 ||
            memcmp(have->shape, want->shape, (size_t)want->n_dims * sizeof *want->shape) != 0)
            fail_msg("%s: tensor %s: found none of its shape in float32", what, entry.name);
        compared++;
        float *a = malloc(have->bytes), *b = malloc(want->bytes); /* data in files may be unaligned */
        memcpy(a, have->data, have->bytes);
        memcpy(b, want->data, want->bytes);
        double error = run_error(a, b, want->bytes / sizeof(float)), limit = tolerance(g, entry.name, bf16);
        free(a);
        free(b);
        if (!(error <= limit))
            fail_msg("%s: %s: found an error of %g, need at most %g", what, entry.name, error, limit);
        worst = error / limit > worst ? error / limit : worst;
    }
    assert_false(fam_safetensors_entry_at(got, compared, &entry)); /* no other names */
    fam_safetensors_free(got);
    return worst;
}

typedef struct plan {
    const char *span; /* "block": one block */
    const char *dtype, *isa, *threads;
    const char *recompute; /* of the training cases; NULL: none */
} plan;

/* Runs all cases by a plan, two at a time, and compares. */
static void run_cases(const plan *p)
{
    enum { AT_ONCE = 2 };
    double worst = 0;
    for (int first = 0; first < all.count; first += AT_ONCE) {
        pid_t children[AT_ONCE];
        char outs[AT_ONCE][200], whats[AT_ONCE][200];
        int n = all.count - first < AT_ONCE ? all.count - first : AT_ONCE;
        for (int i = 0; i < n; i++) {
            const golden *g = &all.cases[first + i];
            char span[32];
            snprintf(span, sizeof span, "%lld", (long long)g->block);
            const char *options[] = {"--span",  strcmp(p->span, "block") == 0 ? span : p->span,
                                     "--dtype", p->dtype,
                                     "--threads", p->threads,
                                     "--recompute", p->recompute ? p->recompute : "none",
                                     p->isa ? "--isa" : NULL, p->isa, NULL};
            snprintf(outs[i], sizeof outs[i], "%s/%d.safetensors", scratch.path, i);
            snprintf(whats[i], sizeof whats[i], "%s --span %s --dtype %s --threads %s --isa %s", g->name, options[1],
                     p->dtype, p->threads, p->isa ? p->isa : "best");
            children[i] = start_runner(g->directory, outs[i], options);
        }
        for (int i = 0; i < n; i++)
            wait_for(children[i], whats[i], outs[i]);
        for (int i = 0; i < n; i++) {
            double share = compare(&all.cases[first + i], outs[i], whats[i], strcmp(p->dtype, "bf16") == 0);
            worst = share > worst ? share : worst;
        }
    }
    print_message("span %s, %s, %s threads, isa %s: at most %.2f of the tolerance\n", p->span, p->dtype, p->threads,
                  p->isa ? p->isa : "best", worst);
}

/* ---- cases -------------------------------------------------------------------------------------------------------- */

static const char *const SPANS[] = {"1", "7", "block", "0"};

static void each_span_in_float32(const char *isa, const char *threads)
{
    open_cases();
    for (size_t s = 0; s < sizeof SPANS / sizeof *SPANS; s++)
        run_cases(&(plan){.span = SPANS[s], .dtype = "f32", .isa = isa, .threads = threads});
    close_cases();
}

static void spans_of_every_size_in_float32(void **state)
{
    (void)state;
    each_span_in_float32(NULL, "1");
}

static void gradients_made_again_in_float32(void **state)
{
    (void)state;
    open_cases();
    for (size_t s = 0; s < sizeof SPANS / sizeof *SPANS; s++)
        for (int recompute = 1; recompute <= 2; recompute++)
            run_cases(&(plan){.span = SPANS[s],
                              .dtype = "f32",
                              .threads = "1",
                              .recompute = recompute == 1 ? "layer" : "span"});
    close_cases();
}

static void two_threads_in_float32(void **state)
{
    (void)state;
    each_span_in_float32(NULL, "2");
}

static void every_level_of_kernels_in_float32(void **state)
{
    (void)state;
    open_cases();
    fam_cpu_isa best = fam_cpu_best_isa();
    for (int isa = 0; isa < (int)best; isa++) /* the best one has its own case */
        for (size_t s = 1; s < sizeof SPANS / sizeof *SPANS; s += 2)
            run_cases(&(plan){.span = SPANS[s], .dtype = "f32", .isa = fam_cpu_isa_name((fam_cpu_isa)isa), .threads = "1"});
    close_cases();
}

static void bf16_is_as_good_as_the_reference_in_bf16(void **state)
{
    (void)state;
    open_cases();
    for (size_t s = 0; s < sizeof SPANS / sizeof *SPANS; s++)
        run_cases(&(plan){.span = SPANS[s], .dtype = "bf16", .threads = "1"});
    run_cases(&(plan){.span = "0", .dtype = "bf16", .isa = "portable", .threads = "2"});
    close_cases();
}

/* Outside checks take expected.safetensors away. */
static void a_case_without_its_answers_runs(void **state)
{
    (void)state;
    run_directory copy;
    open_cases();
    run_directory_make(&copy);
    const golden *g = &all.cases[0];
    const char *names[] = {"case.json", "config.json", "model.safetensors"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[1200];
        size_t size;
        snprintf(path, sizeof path, "%s/%s", g->directory, names[i]);
        uint8_t *data = run_read(path, &size);
        run_write(run_path(&copy, names[i]), data, size);
        free(data);
    }
    char out[200];
    snprintf(out, sizeof out, "%s/out.safetensors", copy.path);
    wait_for(start_runner(copy.path, out, (const char *const[]){"--dtype", "f32", NULL}), "copy", out);
    compare(g, out, "copy", false);
    run_directory_remove(&copy);
    close_cases();
}

static void a_wrong_case_is_an_error(void **state)
{
    (void)state;
    int result = 0;
    run_directory_make(&scratch);
    char out[200];
    snprintf(out, sizeof out, "%s/out.safetensors", scratch.path);
    pid_t child = start_runner(scratch.path, out, (const char *const[]){NULL});
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result));
    assert_int_equal(WEXITSTATUS(result), 5);
    child = start_runner(scratch.path, out, (const char *const[]){"--span", "x", NULL});
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_int_equal(WEXITSTATUS(result), 2);
    run_directory_remove(&scratch);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(spans_of_every_size_in_float32),
    cmocka_unit_test(gradients_made_again_in_float32),
    cmocka_unit_test(two_threads_in_float32),
    cmocka_unit_test(every_level_of_kernels_in_float32),
    cmocka_unit_test(bf16_is_as_good_as_the_reference_in_bf16),
    cmocka_unit_test(a_case_without_its_answers_runs),
    cmocka_unit_test(a_wrong_case_is_an_error),
};
SUITE_MAIN(tests)
