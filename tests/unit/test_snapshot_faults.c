/*
 * Checkpoints while system calls fail and processes are killed: whatever happens, the newest good checkpoint is the old
 * or the new one, whole, and the next open finds a clean folder. Promises P4 and P5.
 */
#include "snapshot_fixture.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "faults.h"
#include "train/metrics_file.h"

static const struct {
    const char *name;
    faults_kind kind;
    int code;
} KINDS[] = {{"EIO", FAULTS_ERROR, EIO},
             {"ENOSPC", FAULTS_ERROR, ENOSPC},
             {"EINTR", FAULTS_ERROR, EINTR},
             {"EIO after the call", FAULTS_LATE_ERROR, EIO},
             {"short counts", FAULTS_SHORT, 0},
             {"EIO for good", FAULTS_FOR_GOOD, EIO},
             {"ENOSPC for good", FAULTS_FOR_GOOD, ENOSPC}};
enum { KIND_COUNT = sizeof KINDS / sizeof *KINDS };

static int open_descriptors(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        return 0;
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static bool has_name(const fixture *f, const char *part)
{
    return strstr(names_in_checkpoints(f), part) != NULL;
}

/* The step of the newest whole checkpoint, whose files are compared. All that have a checkpoint's name must be whole.
 * */
static int64_t newest(fixture *f)
{
    fam_snapshot found;
    char names[4096];
    snprintf(names, sizeof names, "%s", names_in_checkpoints(f));
    for (char *name = strtok(names, " "); name; name = strtok(NULL, " "))
        if (strncmp(name, "step_", 5) == 0 && !strchr(name, '.'))
            ok(fam_snapshot_check(in_checkpoints(f, name), &f->memory, error));
    ok(fam_snapshot_find(&found, &f->memory, f->path, NULL, NULL, error));
    int64_t step = found.folder ? found.step : -1;
    fam_free(&f->memory, found.folder);
    expect_whole(f, step);
    return step;
}

/* ---- failing calls ----------------------------------------------------------------------------------------------- */

static void save_with_fault(fixture *f, int kind, long at, int64_t *step, long *calls)
{
    fam_error error = {0};
    int descriptors = open_descriptors();
    int64_t old = *step, next = *step + 100;
    faults_arm(KINDS[kind].kind, at, KINDS[kind].code, NULL);
    fam_status status = save(f, next, 2, &error);
    *calls = faults_disarm();
    int64_t found = newest(f);
    if (status == FAM_OK ? found != next
                         : (found != old && found != next) || status != FAM_STATUS_IO || !*error.message)
        fail_msg("%s in call %ld (%s): found status %d \"%s\" and step %lld, need %lld or %lld", KINDS[kind].name, at,
                 faults_hit(), status, error.message, (long long)found, (long long)old, (long long)next);
    if (KINDS[kind].kind == FAULTS_SHORT && status != FAM_OK && strcmp(error.message, "caller: cannot write") != 0)
        fail_msg("call %ld (%s) fell short: found \"%s\", need success", at, faults_hit(), error.message);
    if (KINDS[kind].kind == FAULTS_ERROR && has_name(f, ".tmp"))
        fail_msg("%s in call %ld (%s): found %s", KINDS[kind].name, at, faults_hit(), names_in_checkpoints(f));
    if (open_descriptors() != descriptors)
        fail_msg("%s in call %ld (%s): found a descriptor left open", KINDS[kind].name, at, faults_hit());
    *step = found;
}

static void any_system_call_of_a_save_may_fail(void **state)
{
    (void)state;
    fixture f;
    int64_t step = 200;
    fixture_open(&f);
    ok(save(&f, 100, 2, error));
    ok(save(&f, 200, 2, error));
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        long calls = 0, at = 1;
        for (; calls >= at - 1; at++) {
            save_with_fault(&f, kind, at, &step, &calls);
            if (strlen(names_in_checkpoints(&f)) == strlen("step_00000100 step_00000200"))
                continue;
            if (at % 2 == 0) /* what is left over is in nobody's way, and the next open or commit clears it away */
                fixture_reopen(&f);
            ok(save(&f, step += 100, 2, error));
            if (KINDS[kind].kind != FAULTS_FOR_GOOD || at % 2 == 0)
                assert_false(has_name(&f, ".tmp") || has_name(&f, ".trash"));
        }
        print_message("%s: %ld calls\n", KINDS[kind].name, calls);
        assert_true(calls > 100 && at == calls + 2);
        fixture_reopen(&f);
        assert_false(has_name(&f, ".tmp") || has_name(&f, ".trash"));
        ok(save(&f, step += 100, 2, error));
        expect_found(&f, step, 0, NULL);
    }
    fixture_close(&f);
}

/* A checkpoint of the same step is there: the two change places, or, where the file system cannot do that, the old one
 * goes first. */
static void a_checkpoint_is_replaced_while_calls_fail(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f);
    ok(save(&f, 100, 2, error));
    ok(save(&f, 200, 2, error));
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        long calls = 0, at = 1;
        for (; calls >= at - 1; at++) {
            fam_error error = {0};
            faults_arm(KINDS[kind].kind, at, KINDS[kind].code, NULL);
            fam_status status = save(&f, 200, 2, &error);
            calls = faults_disarm();
            if (newest(&f) != 200 || (status != FAM_OK && status != FAM_STATUS_IO))
                fail_msg("%s in call %ld (%s): found status %d \"%s\"", KINDS[kind].name, at, faults_hit(), status,
                         error.message);
        }
    }
    faults_arm(FAULTS_ERROR, 1, EINVAL, "renameat2");
    ok(save(&f, 200, 2, error));
    assert_int_equal(faults_disarm(), 1);
    expect_names(&f, "step_00000100 step_00000200");
    expect_found(&f, 200, 0, NULL);
    fixture_close(&f);
}

/* What cannot be read is an error; it never makes an older checkpoint the newest. */
static void any_system_call_of_opening_and_finding_may_fail(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f);
    ok(save(&f, 100, 2, error));
    ok(save(&f, 200, 2, error));
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        long calls = 0, at = 1;
        for (; calls >= at - 1; at++) {
            fam_error said = {0};
            fam_snapshot found = {0};
            fam_run_folder_close(f.run);
            f.run = NULL;
            assert_int_equal(mkdir(in_checkpoints(&f, "step_00000300.tmp"), 0777), 0);
            assert_int_equal(mkdir(in_checkpoints(&f, "step_00000300.tmp/inner"), 0777), 0);
            assert_int_equal(mkdir(in_checkpoints(&f, ".trash-1"), 0777), 0);
            int descriptors = open_descriptors();
            faults_arm(KINDS[kind].kind, at, KINDS[kind].code, NULL);
            fam_status status = fam_run_folder_open(&f.run, &f.memory, f.path, &said);
            if (status == FAM_OK)
                status = fam_snapshot_find(&found, &f.memory, f.path, NULL, NULL, &said);
            if (status == FAM_OK)
                status = fam_snapshot_check(found.folder, &f.memory, &said);
            calls = faults_disarm();
            if (status == FAM_OK ? found.step != 200 : status != FAM_STATUS_IO || !*said.message)
                fail_msg("%s in call %ld (%s): found status %d \"%s\", step %lld", KINDS[kind].name, at, faults_hit(),
                         status, said.message, (long long)found.step);
            if (KINDS[kind].kind == FAULTS_SHORT && status != FAM_OK)
                fail_msg("call %ld (%s) fell short: found \"%s\"", at, faults_hit(), said.message);
            fam_free(&f.memory, found.folder);
            fam_run_folder_close(f.run);
            f.run = NULL;
            assert_int_equal(open_descriptors(), descriptors);
            ok(fam_run_folder_open(&f.run, &f.memory, f.path, error));
            expect_names(&f, "step_00000100 step_00000200");
            expect_found(&f, 200, 0, NULL);
        }
        print_message("%s: %ld calls\n", KINDS[kind].name, calls);
        assert_true(calls > 100 && at == calls + 2);
    }
    fixture_close(&f);
}

static void any_system_call_of_a_new_folder_may_fail(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f);
    fam_run_folder_close(f.run);
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        long calls = 0, at = 1;
        for (; calls >= at - 1; at++) {
            fam_error said = {0};
            char path[700];
            snprintf(path, sizeof path, "%s/new-%d-%ld/a/b", f.parent, kind, at);
            int descriptors = open_descriptors();
            f.run = NULL;
            faults_arm(KINDS[kind].kind, at, KINDS[kind].code, NULL);
            fam_status status = fam_run_folder_open(&f.run, &f.memory, path, &said);
            calls = faults_disarm();
            assert_true(status == FAM_OK ? f.run != NULL : !f.run && status == FAM_STATUS_IO);
            fam_run_folder_close(f.run);
            assert_int_equal(open_descriptors(), descriptors);
            assert_int_equal(f.memory.bytes, 0);
            ok(fam_run_folder_open(&f.run, &f.memory, path, error));
            fam_run_folder_close(f.run);
        }
    }
    f.run = NULL;
    fixture_close(&f);
}

/* ---- kills ------------------------------------------------------------------------------------------------------- */

/* Runs `work` in a process of its own that is killed at a call. Returns whether it was (false: it ended before). */
static bool killed_at(fixture *f, void (*work)(fixture *f, int64_t step), int64_t step, faults_kind kind, long at)
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        faults_arm(kind, at, 0, NULL);
        work(f, step);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void open_and_save(fixture *f, int64_t step)
{
    fam_run_folder *run;
    if (fam_run_folder_open(&run, &f->memory, f->path, NULL) != FAM_OK || save_in(run, step, 2, NULL) != FAM_OK)
        _exit(1);
}

static void open_only(fixture *f, int64_t step)
{
    fam_run_folder *run;
    (void)step;
    if (fam_run_folder_open(&run, &f->memory, f->path, NULL) != FAM_OK)
        _exit(1);
}

static void a_kill_at_any_call_of_a_save_leaves_the_old_or_the_new(void **state)
{
    (void)state;
    fixture f;
    int64_t step = 200;
    long points = 0;
    fixture_open(&f);
    ok(save(&f, 100, 2, error));
    ok(save(&f, 200, 2, error));
    fam_run_folder_close(f.run);
    f.run = NULL;
    for (int replaced = 0; replaced < 2; replaced++) /* the step is new, or there already */
        for (int after = 0; after < 2; after++)
            for (long at = 1;; at++, points++) {
                int64_t next = step + (replaced ? 0 : 100);
                if (!killed_at(&f, open_and_save, next, after ? FAULTS_KILL_AFTER : FAULTS_KILL_BEFORE, at)) {
                    step = next;
                    break;
                }
                int64_t found = newest(&f);
                assert_true(found == step || found == next);
                step = found;
            }
    print_message("%ld kills\n", points);
    assert_true(points > 400);
    fixture_reopen(&f);
    ok(save(&f, step += 100, 2, error));
    expect_found(&f, step, 0, NULL);
    assert_false(has_name(&f, ".tmp") || has_name(&f, ".trash"));
    fixture_close(&f);
}

static void a_killed_deletion_is_finished_by_the_next_open(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f);
    ok(save(&f, 100, 2, error));
    ok(save(&f, 200, 2, error));
    fam_run_folder_close(f.run);
    f.run = NULL;
    for (int after = 0; after < 2; after++)
        for (long at = 1;; at++) {
            assert_int_equal(mkdir(in_checkpoints(&f, ".trash-step_00000050-0"), 0777), 0);
            assert_int_equal(write_files(in_checkpoints(&f, ".trash-step_00000050-0"), 50), 0);
            assert_int_equal(mkdir(in_checkpoints(&f, "step_00000300.tmp"), 0777), 0);
            assert_int_equal(write_files(in_checkpoints(&f, "step_00000300.tmp"), 300), 0);
            bool killed = killed_at(&f, open_only, 0, after ? FAULTS_KILL_AFTER : FAULTS_KILL_BEFORE, at);
            assert_int_equal(newest(&f), 200);
            fixture_reopen(&f);
            expect_names(&f, "step_00000100 step_00000200");
            fam_run_folder_close(f.run);
            f.run = NULL;
            if (!killed)
                break;
            assert_true(at < 200);
        }
    fixture_close(&f);
}

static void random_kills_lose_no_finished_checkpoint(void **state)
{
    (void)state;
    enum { ROUNDS = 250 };
    fixture f;
    fam_random random;
    int during = 0;
    fam_random_seed(&random, (uint64_t)getpid());
    fixture_open(&f);
    fam_run_folder_close(f.run);
    f.run = NULL;
    int64_t *finished = mmap(NULL, sizeof *finished, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(finished != MAP_FAILED);
    *finished = -1;
    for (int round = 0; round < ROUNDS; round++) {
        int status;
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            fam_run_folder *run;
            if (fam_run_folder_open(&run, &f.memory, f.path, NULL) != FAM_OK)
                _exit(1);
            for (int64_t step = *finished + 1;; step++) {
                if (save_in(run, step, 2, NULL) != FAM_OK)
                    _exit(2);
                *finished = step;
            }
        }
        usleep((useconds_t)(fam_random_next(&random) % 12000));
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        during += has_name(&f, ".tmp") || has_name(&f, ".trash");
        int64_t found = newest(&f);
        if (found < *finished || found > *finished + 1)
            fail_msg("round %d: found step %lld, need %lld or one more", round, (long long)found, (long long)*finished);
        *finished = found;
    }
    print_message("%d kills, %d of them while a checkpoint was being written or deleted; the last is step %lld\n",
                  ROUNDS, during, (long long)*finished);
    assert_true(*finished > 0 && during > 0);
    munmap(finished, sizeof *finished);
    fixture_close(&f);
}

/* The machine loses power before each call of a save, with what was not synced forgotten in one of many ways. */
static void a_loss_of_power_leaves_the_old_or_the_new(void **state)
{
    (void)state;
    enum { SEEDS = 8 };
    fixture f;
    int64_t step = 200;
    int losses = 0, damaged = 0,
        *done = mmap(NULL, sizeof *done, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(done != MAP_FAILED);
    fixture_open(&f);
    ok(save(&f, 100, 2, error));
    ok(save(&f, 200, 2, error));
    fam_run_folder_close(f.run);
    f.run = NULL;
    for (int replaced = 0; replaced < 2; replaced++)
        for (unsigned seed = 0; seed < SEEDS; seed++) {
            bool struck = true;
            for (long at = 1; struck; at++, losses++) {
                int64_t next = step + (replaced ? 0 : 100);
                int status;
                *done = 0;
                faults_power(f.path, seed * 1000 + (unsigned)at);
                pid_t child = fork();
                if (child == 0) {
                    faults_arm(FAULTS_POWER, at, 0, NULL);
                    open_and_save(&f, next);
                    *done = 1;
                    close(-1); /* the last chance to strike */
                    _exit(0);
                }
                assert_int_equal(waitpid(child, &status, 0), child);
                struck = WIFSIGNALED(status);
                damaged += has_name(&f, ".tmp");
                int64_t found = newest(&f);
                if ((found != step && found != next) || (*done && found != next))
                    fail_msg("power lost before call %ld, way %u: found step %lld among %s, need %lld or %lld", at,
                             seed, (long long)found, names_in_checkpoints(&f), (long long)step, (long long)next);
                step = found;
                fixture_reopen(&f);
                ok(save(&f, step += 100, 2, error)); /* and the run goes on as if nothing had been */
                assert_int_equal(strlen(names_in_checkpoints(&f)), strlen("step_00000100 step_00000200"));
                fam_run_folder_close(f.run);
                f.run = NULL;
            }
        }
    print_message("%d losses of power, %d of them amid a checkpoint\n", losses, damaged);
    assert_true(losses > 1000 && damaged > 100);
    munmap(done, sizeof *done);
    fixture_close(&f);
}

/* ---- the metrics file -------------------------------------------------------------------------------------------- */

static void expect_metrics(fixture *f, const char *text)
{
    uint8_t *data;
    size_t size;
    char path[700];
    snprintf(path, sizeof path, "%s/metrics.jsonl", f->path);
    ok(fam_file_read(&data, &size, &f->memory, path, 1 << 20, error));
    assert_string_equal(data, text);
    fam_free(&f->memory, data);
}

/* A line that cannot be written is lost; the lines before it and after it are whole. */
static void a_full_disk_costs_whole_lines_only(void **state)
{
    (void)state;
    static const char first[] = "{\"step\": 1, \"loss\": 2.5}", second[] = "{\"step\": 2, \"loss\": 2.25}";
    fixture f;
    fam_metrics_file *file;
    fixture_open(&f);
    ok(fam_metrics_file_open(&file, f.run, 0, error));
    ok(fam_metrics_file_append(file, first, strlen(first), error));
    faults_arm(FAULTS_ERROR, 1, ENOSPC, "writev");
    refused(fam_metrics_file_append(file, second, strlen(second), error), FAM_STATUS_IO, strerror(ENOSPC));
    faults_disarm();
    expect_metrics(&f, "{\"step\": 1, \"loss\": 2.5}\n");
    faults_arm(FAULTS_SHORT, 1, 0, "writev");
    refused(fam_metrics_file_append(file, second, strlen(second), error), FAM_STATUS_IO, strerror(ENOSPC));
    faults_disarm();
    expect_metrics(&f, "{\"step\": 1, \"loss\": 2.5}\n");
    faults_arm(FAULTS_SHORT_THEN_ERROR, 1, EIO, NULL); /* half a line, which cannot be taken back */
    refused(fam_metrics_file_append(file, second, strlen(second), error), FAM_STATUS_IO, strerror(ENOSPC));
    faults_disarm();
    expect_metrics(&f, "{\"step\": 1, \"loss\": 2.5}\n{\"step\": 2, ");
    faults_arm(FAULTS_FOR_GOOD, 1, EIO, NULL);
    refused(fam_metrics_file_append(file, second, strlen(second), error), FAM_STATUS_IO, "cannot shorten");
    faults_disarm();
    faults_arm(FAULTS_ERROR, 1, EINTR, "writev");
    ok(fam_metrics_file_append(file, second, strlen(second), error));
    faults_disarm();
    ok(fam_metrics_file_sync(file, error));
    expect_metrics(&f, "{\"step\": 1, \"loss\": 2.5}\n{\"step\": 2, \"loss\": 2.25}\n");
    faults_arm(FAULTS_ERROR, 1, EIO, "fsync");
    refused(fam_metrics_file_sync(file, error), FAM_STATUS_IO, "cannot sync");
    faults_disarm();
    fam_metrics_file_close(file);
    fixture_close(&f);
}

static void any_system_call_of_the_metrics_file_may_fail(void **state)
{
    (void)state;
    static const char text[] = "{\"step\": 1}\n{\"step\": 2}\n",
                      torn[] = "{\"step\": 1}\n{\"step\": 2}\n{\"step\": 3}\n{\"st";
    fixture f;
    fixture_open(&f);
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        long calls = 0, at = 1;
        for (; calls >= at - 1; at++) {
            fam_error said = {0};
            fam_metrics_file *file = NULL;
            int descriptors = open_descriptors();
            scratch_write_text(f.path, "metrics.jsonl", torn);
            faults_arm(KINDS[kind].kind, at, KINDS[kind].code, NULL);
            fam_status status = fam_metrics_file_open(&file, f.run, 2, &said);
            calls = faults_disarm();
            assert_true(status == FAM_OK ? file != NULL : !file && status == FAM_STATUS_IO && *said.message);
            if (status == FAM_OK)
                expect_metrics(&f, text);
            fam_metrics_file_close(file);
            assert_int_equal(open_descriptors(), descriptors);
            ok(fam_metrics_file_open(&file, f.run, 2, error));
            expect_metrics(&f, text);
            fam_metrics_file_close(file);
        }
    }
    fixture_close(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(any_system_call_of_a_save_may_fail),
    cmocka_unit_test(a_checkpoint_is_replaced_while_calls_fail),
    cmocka_unit_test(any_system_call_of_opening_and_finding_may_fail),
    cmocka_unit_test(any_system_call_of_a_new_folder_may_fail),
    cmocka_unit_test(a_kill_at_any_call_of_a_save_leaves_the_old_or_the_new),
    cmocka_unit_test(a_killed_deletion_is_finished_by_the_next_open),
    cmocka_unit_test(random_kills_lose_no_finished_checkpoint),
    cmocka_unit_test(a_loss_of_power_leaves_the_old_or_the_new),
    cmocka_unit_test(a_full_disk_costs_whole_lines_only),
    cmocka_unit_test(any_system_call_of_the_metrics_file_may_fail),
};
SUITE_MAIN(tests)
