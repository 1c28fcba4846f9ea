/*
 * fam train, killed (SIGKILL) again and again and given the same command each time, must end with the losses, norms and
 * weights of a run that nobody killed, to the bit: promise P7, with P5 through the program. Kills come at random
 * moments and while a checkpoint is being written; the number of threads changes from life to life.
 *
 * FAM_TRAIN_KILLS: how many kills each case takes (50 if it is not set).
 */
#define SUITE_TIMEOUT 600
#include "run.h"

#include <ftw.h>
#include <sys/inotify.h>
#include <time.h>

#include "base/random.h"

enum { KILLS = 50, SAVING_OF = 3 /* every third kill waits for a checkpoint to begin */ };

/* Where lives end. */
typedef struct tally {
    int kills, saving; /* while a step_N.tmp was there */
    int runs;          /* that came to their end */
} tally;

/* Checkpoints of a millisecond each, so not on a disk where that can be helped. */
static int make_place(void **state)
{
    snprintf(run_folder, sizeof run_folder, "/dev/shm/fam-kills-XXXXXX");
    return mkdtemp(run_folder) ? 0 : run_folder_make(state);
}

static run_plan plan_of(const char *recipe, const char *out, const char *threads)
{
    return (run_plan){.arguments = {"train", recipe, "--out", out, "--no-report", "--threads", threads}};
}

/* ---- the files of two runs --------------------------------------------------------------------------------------- */

static const char *first_root, *second_root;

static int compare_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    char other[4096];
    size_t a, b;
    (void)walk;
    if (type != FTW_F)
        return 0;
    snprintf(other, sizeof other, "%s%s", second_root, path + strlen(first_root));
    char *one = run_slurp(path, &a), *two = run_slurp(other, &b);
    if (a != (size_t)st->st_size || a != b || memcmp(one, two, a) != 0)
        fail_msg("%s and %s differ", path, other);
    free(one);
    free(two);
    return 0;
}

/* Every file below the first is below the second, the same to the byte. */
static void expect_same_files(const char *first, const char *second)
{
    first_root = first;
    second_root = second;
    assert_int_equal(nftw(first, compare_one, 16, FTW_PHYS), 0);
}

/* The lines of a metrics file without the time that steps took; an array. */
static json_t *metrics_of(const char *out)
{
    char path[600];
    json_t *lines = json_array();
    snprintf(path, sizeof path, "%s/metrics.jsonl", out);
    char *text = run_slurp(path, NULL);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        json_t *object = run_json(line);
        if (!json_is_string(json_object_get(object, "loss_hex")) || json_object_del(object, "seconds") != 0)
            fail_msg("found \"%.300s\", need a line of metrics", line);
        json_array_append_new(lines, object);
    }
    free(text);
    return lines;
}

static void expect_same_run(const char *whole, const char *killed, int64_t steps)
{
    char a[600], b[600];
    json_t *need = metrics_of(whole), *found = metrics_of(killed);
    assert_int_equal(json_array_size(need), steps);
    for (size_t i = 0; i < json_array_size(need); i++)
        if (!json_equal(json_array_get(need, i), json_array_get(found, i)))
            fail_msg("step %zu: found %s, need %s", i + 1, json_dumps(json_array_get(found, i), JSON_COMPACT),
                     json_dumps(json_array_get(need, i), JSON_COMPACT));
    assert_int_equal(json_array_size(found), steps);
    json_decref(need);
    json_decref(found);
    snprintf(a, sizeof a, "%s/result", whole);
    snprintf(b, sizeof b, "%s/result", killed);
    expect_same_files(a, b);
    expect_same_files(b, a);
    /* moments, states and the place in the data, too */
    snprintf(a, sizeof a, "%s/checkpoints/step_%08lld", whole, (long long)steps);
    snprintf(b, sizeof b, "%s/checkpoints/step_%08lld", killed, (long long)steps);
    expect_same_files(a, b);
}

/* ---- killing ----------------------------------------------------------------------------------------------------- */

/* Returns once `count` checkpoints were begun in the run's folder, or the child has ended, or some time has passed. */
static void wait_for_checkpoint(const char *out, pid_t child, int count)
{
    char path[600], events[4096];
    int notify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    snprintf(path, sizeof path, "%s/checkpoints", out);
    bool watched = false;
    for (int waited = 0; count > 0 && waited < 20000; waited++) {
        siginfo_t ended = {0};
        watched = watched || inotify_add_watch(notify, path, IN_CREATE) >= 0; /* it is there once the run has begun */
        struct pollfd ready = {.fd = notify, .events = POLLIN};
        if (poll(&ready, 1, 1) > 0) {
            ssize_t got = read(notify, events, sizeof events);
            for (ssize_t at = 0; at < got;) {
                const struct inotify_event *event = (const struct inotify_event *)(events + at);
                count -= event->len > 0 && strstr(event->name, ".tmp");
                at += (ssize_t)(sizeof *event + event->len);
            }
        }
        if (waitid(P_PID, (id_t)child, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid == child)
            break;
    }
    close(notify);
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static bool is_saving(const char *out)
{
    char command[700];
    snprintf(command, sizeof command, "ls %s/checkpoints 2>/dev/null | grep -q '[.]tmp$'", out);
    return system(command) == 0;
}

/* One life of a run that takes `seconds` if it is left alone. True if it came to its end. */
static bool live(const run_plan *plan, const char *out, double seconds, fam_random *random, tally *t)
{
    run_child child = run_start(plan);
    if (t->kills % SAVING_OF == 0) {
        wait_for_checkpoint(out, child.pid, 1 + (int)(fam_random_next(random) % 4));
        usleep((useconds_t)(fam_random_next(random) % 400));
    } else {
        usleep((useconds_t)(fam_random_uniform(random) * seconds * 1e6 / 4));
    }
    kill(child.pid, SIGKILL);
    run_result result = run_finish(child);
    bool ended = result.code == 0;
    if (!ended && result.code != 1000 + SIGKILL)
        fail_msg("exit code %d: %.600s", result.code, result.err);
    if (strstr(result.err, "checksum") || strstr(result.err, "MANIFEST"))
        fail_msg("a kill damaged a checkpoint: %.600s", result.err);
    run_free(&result);
    t->kills += !ended;
    t->saving += !ended && is_saving(out);
    return ended;
}

static void kill_and_compare(const char *name, const char *recipe_text, int64_t steps)
{
    const char *set = getenv("FAM_TRAIN_KILLS");
    const int kills = set ? atoi(set) : KILLS;
    char recipe[200], whole[200], out[200];
    tally t = {0};
    fam_random random;
    uint64_t seed = (uint64_t)time(NULL);
    fam_random_seed(&random, seed);
    snprintf(recipe, sizeof recipe, "%s", run_write_text("recipe.yaml", recipe_text));
    snprintf(whole, sizeof whole, "%s", run_file("whole"));
    snprintf(out, sizeof out, "%s", run_file("killed"));
    print_message("%s: seed %llu\n", name, (unsigned long long)seed);
    double started = seconds_now();
    run_result result = run_plan_now(plan_of(recipe, whole, "2"));
    double seconds = seconds_now() - started;
    expect_code(result, 0);
    run_free(&result);
    while (t.kills < kills || t.saving < kills / 5) {
        run_plan plan = plan_of(recipe, out, t.kills % 2 ? "1" : "3");
        assert_true(t.kills < 20 * kills); /* else there is no hope for more of those while saving */
        if (!live(&plan, out, seconds, &random, &t))
            continue;
        t.runs++;
        expect_same_run(whole, out, steps);
        char command[300];
        snprintf(command, sizeof command, "rm -rf %s", out);
        assert_int_equal(system(command), 0);
    }
    run_plan plan = plan_of(recipe, out, "2");
    result = run_plan_now(plan);
    expect_code(result, 0);
    run_free(&result);
    expect_same_run(whole, out, steps);
    print_message("%s: %d kills, %d of them while a checkpoint was being written; %d runs of %lld steps to their end\n",
                  name, t.kills, t.saving, t.runs + 1, (long long)steps);
}

/* Lines of words, so that text has an end that the run goes past. */
static void write_text(void)
{
    static const char *const words[] = {"alpha", "beta", "gamma", "delta", "omega"};
    char text[4000] = "";
    size_t length = 0;
    for (unsigned i = 0, seed = 7; length + 20 < sizeof text; i++) {
        seed = seed * 1664525u + 1013904223u;
        length +=
            (size_t)snprintf(text + length, sizeof text - length, "%s%c", words[seed >> 16 & 3], i % 9 ? ' ' : '\n');
    }
    run_write_text("text.txt", text);
}

/* Passes that are accumulated, a curriculum, states handed on at random, noise, held-out data, text that begins anew.
 * */
static void a_model_from_nothing_survives_kills(void **state)
{
    (void)state;
    write_text();
    kill_and_compare("a model from nothing",
                     "model:\n"
                     "  new: {layers: 2, hidden_size: 16, intermediate_size: 32, heads: 2}\n"
                     "fam: {mode: fam, block_size: 16, fam_length: 2, state_norm: rms, fam_positions: zero}\n"
                     "optimizer: {learning_rate: 1e-2, warmup_steps: 20}\n"
                     "train:\n"
                     "  {steps: 150, sequences: 2, accumulate: 3, state_passing_probability: 0.5, state_noise: 0.01,\n"
                     "   random_position_offset: true}\n"
                     "curriculum: {from_blocks: 2, to_blocks: 8, accuracy: 0.05, window: 10}\n"
                     "data:\n"
                     "  - {kind: recall, digits: 1, rest_share: 0.1}\n"
                     "  - {kind: text, path: text.txt, weight: 0.1}\n"
                     "validation: {every: 7, sequences: 3, data: [{kind: recall, digits: 1}]}\n"
                     "output: {every: 2, keep: 2}\n",
                     150);
}

/* An adapter by Adafactor, on documents of JSONL in an order that is drawn. */
static void an_adapter_survives_kills(void **state)
{
    (void)state;
    char lines[6000] = "";
    for (int i = 0; i < 60; i++)
        sprintf(lines + strlen(lines), "{\"prompt\": \"%d and %d?\", \"completion\": \" is %d\"}\n", i, i, 2 * i);
    run_write_text("sums.jsonl", lines);
    const char *base =
        run_write_text("base.yaml", "model:\n"
                                    "  new: {layers: 2, hidden_size: 16, intermediate_size: 24, heads: 2}\n"
                                    "fam: {mode: fam, block_size: 16, fam_length: 3, state_norm: rms}\n"
                                    "train: {steps: 2, sequences: 2, blocks: 3}\n"
                                    "data:\n"
                                    "  - {kind: recall, digits: 1}\n");
    run_result result = run_plan_now(plan_of(base, run_file("base"), "1"));
    expect_code(result, 0);
    run_free(&result);
    kill_and_compare("an adapter",
                     "model: {path: base/result}\n"
                     "fam: {mode: fam, block_size: 16, fam_length: 3, state_norm: rms_init}\n"
                     "adapt: {rank: 2}\n"
                     "optimizer: {kind: adafactor, learning_rate: 1e-3, schedule: constant}\n"
                     "train: {steps: 120, sequences: 2, blocks: 3}\n"
                     "data:\n"
                     "  - {kind: jsonl, path: sums.jsonl, shuffle: true}\n"
                     "output: {every: 3, keep: 2}\n",
                     120);
}

/* The memory of a document handed on over several steps, with text that begins anew in between. */
static void documents_that_are_carried_on_survive_kills(void **state)
{
    (void)state;
    write_text();
    kill_and_compare("documents carried on",
                     "model:\n"
                     "  new: {layers: 1, hidden_size: 16, intermediate_size: 32, heads: 2}\n"
                     "fam: {mode: fam, block_size: 48, fam_length: 2, state_norm: rms}\n"
                     "optimizer: {learning_rate: 1e-2, warmup_steps: 20, clip: 0.1}\n"
                     "train: {steps: 120, sequences: 3, blocks: 5, carry: 3}\n"
                     "data:\n"
                     "  - {kind: text, path: text.txt}\n"
                     "  - {kind: passkey, digits: 1, share: 0.5}\n"
                     "output: {every: 2, keep: 3}\n",
                     120);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(a_model_from_nothing_survives_kills, make_place, run_folder_remove),
    cmocka_unit_test_setup_teardown(an_adapter_survives_kills, make_place, run_folder_remove),
    cmocka_unit_test_setup_teardown(documents_that_are_carried_on_survive_kills, make_place, run_folder_remove),
};
SUITE_MAIN(tests)
