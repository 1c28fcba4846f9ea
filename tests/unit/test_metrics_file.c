/*
 * The metrics file: lines are whole, and a resumed run goes on behind its checkpoint's step. A full disk and failing
 * system calls are in test_snapshot_faults, which has the fault injection.
 */
#include "snapshot_fixture.h"

#include <signal.h>
#include <sys/wait.h>

#include "train/metrics_file.h"

static void expect_text(fixture *f, const char *text)
{
    uint8_t *data;
    size_t size;
    ok(fam_file_read(&data, &size, &f->memory, scratch_path(f->path, "metrics.jsonl"), 1 << 24, error));
    assert_int_equal(size, strlen(text));
    assert_memory_equal(data, text, size);
    fam_free(&f->memory, data);
}

static void append(fam_metrics_file *file, const char *line)
{
    ok(fam_metrics_file_append(file, line, strlen(line), error));
}

static void lines_are_appended_and_cut_at_the_step(void **state)
{
    (void)state;
    fixture f;
    fam_metrics_file *file;
    fixture_open(&f);
    ok(fam_metrics_file_open(&file, f.run, -1, error));
    expect_text(&f, "");
    append(file, "{\"step\": 1, \"loss\": \"0x1.8p+1\"}");
    append(file, "{\"step\": 2}");
    refused(fam_metrics_file_append(file, "{\n}", 3, error), FAM_STATUS_INVALID_ARGUMENT, "newline");
    append(file, "{\"step\": 3}");
    ok(fam_metrics_file_sync(file, error));
    expect_text(&f, "{\"step\": 1, \"loss\": \"0x1.8p+1\"}\n{\"step\": 2}\n{\"step\": 3}\n");
    fam_metrics_file_close(file);
    ok(fam_metrics_file_open(&file, f.run, 2, error));
    expect_text(&f, "{\"step\": 1, \"loss\": \"0x1.8p+1\"}\n{\"step\": 2}\n");
    append(file, "{\"step\": 3, \"again\": true}");
    fam_metrics_file_close(file);
    ok(fam_metrics_file_open(&file, f.run, 100, error)); /* nothing is of a later step */
    expect_text(&f, "{\"step\": 1, \"loss\": \"0x1.8p+1\"}\n{\"step\": 2}\n{\"step\": 3, \"again\": true}\n");
    fam_metrics_file_close(file);
    ok(fam_metrics_file_open(&file, f.run, 0, error));
    expect_text(&f, "");
    fam_metrics_file_close(file);
    fam_metrics_file_close(NULL);
    fixture_close(&f);
}

static void what_is_torn_or_of_later_steps_goes(void **state)
{
    (void)state;
    static const struct {
        const char *before;
        int64_t step;
        const char *after;
    } cases[] = {
        {"{\"step\":1}\n{\"step\":2}\n{\"st", 2, "{\"step\":1}\n{\"step\":2}\n"},
        {"{\"step\":1}\n{\"step\":2}", 2, "{\"step\":1}\n"}, /* it may be "step":2 of 23 */
        {"{\"step\":1}\n{\"step\":2}\n\n", 2, "{\"step\":1}\n{\"step\":2}\n"},
        {"{\"step\":1}\n{\"step\":2}\nnull\n[]\n\"step\"\n5\n", 2, "{\"step\":1}\n{\"step\":2}\n"},
        {"{\"step\":1}\n{\"note\":7}\n{\"step\":2}\n{\"note\":8}\n{\"step\":3}\n", 2,
         "{\"step\":1}\n{\"note\":7}\n{\"step\":2}\n"},
        {"{\"step\":1}\nrot\xff\n{\"step\":2}\n{\"step\":2,\"step\":1}\n", 2, "{\"step\":1}\nrot\xff\n{\"step\":2}\n"},
        {"{\"step\":1}\n{\"step\":-2}\n{\"step\":2.0}\n{\"step\":\"2\"}\n{\"step\":99999999999999999999}\n", 2,
         "{\"step\":1}\n"},
        {"{\"step\":1}\r\n{\"step\":2}\r\n{\"step\":3}\r\n", 2, "{\"step\":1}\r\n{\"step\":2}\r\n"},
        {"{\"step\":0}\n{\"step\":1}\n", 0, "{\"step\":0}\n"},
        {"{\"step\":0}\n{\"step\":1}\n", -1, ""},
        {"{\"step\":5}\n{\"step\":6}\n", 4, ""},
        {"no line", 4, ""},
        {"\n", 4, ""},
        {"\n\n\n", 4, ""},
        {"{\"step\":9223372036854775807}\n", INT64_MAX, "{\"step\":9223372036854775807}\n"},
    };
    fixture f;
    fam_metrics_file *file;
    fixture_open(&f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        scratch_write_text(f.path, "metrics.jsonl", cases[i].before);
        ok(fam_metrics_file_open(&file, f.run, cases[i].step, error));
        expect_text(&f, cases[i].after);
        fam_metrics_file_close(file);
    }
    /* what a crash of the machine may leave: blocks of zeros */
    static const char zeros[5000] = "{\"step\":1}\n{\"step\":2}\n";
    scratch_write(f.path, "metrics.jsonl", zeros, sizeof zeros);
    ok(fam_metrics_file_open(&file, f.run, 2, error));
    expect_text(&f, "{\"step\":1}\n{\"step\":2}\n");
    fam_metrics_file_close(file);
    fixture_close(&f);
}

static void only_a_regular_file_is_opened(void **state)
{
    (void)state;
    fixture f;
    fam_metrics_file *file = NULL;
    fixture_open(&f);
    const char *path = scratch_path(f.path, "metrics.jsonl");
    scratch_write_text(f.parent, "precious", "precious");
    assert_int_equal(symlink(scratch_path(f.parent, "precious"), path), 0);
    refused(fam_metrics_file_open(&file, f.run, 0, error), FAM_STATUS_IO, "metrics.jsonl: found a symbolic link");
    unlink(path);
    assert_int_equal(mkfifo(path, 0666), 0);
    refused(fam_metrics_file_open(&file, f.run, 0, error), FAM_STATUS_IO, "metrics.jsonl: found a special file");
    unlink(path);
    assert_int_equal(mkdir(path, 0777), 0);
    refused(fam_metrics_file_open(&file, f.run, 0, error), FAM_STATUS_IO, "metrics.jsonl: ");
    assert_null(file);
    rmdir(path);
    for (size_t at = 1; at < 20; at++) {
        fam_error said = {0};
        f.memory.fail_at = f.memory.allocations + at;
        fam_status status = fam_metrics_file_open(&file, f.run, 0, &said);
        f.memory.fail_at = 0;
        assert_int_equal(status, at <= 2 ? FAM_STATUS_OUT_OF_MEMORY : FAM_OK);
        if (status == FAM_OK)
            fam_metrics_file_close(file);
    }
    fixture_close(&f);
}

/* However a run is killed, every line but the last is whole, and the next run goes on from there. */
static void kills_tear_no_line(void **state)
{
    (void)state;
    fixture f;
    fam_random random;
    fam_random_seed(&random, (uint64_t)getpid());
    fixture_open(&f);
    int64_t step = 0, lines = 0;
    scratch_write_text(f.path, "metrics.jsonl", "");
    for (int round = 0; round < 100; round++) {
        int status;
        fam_metrics_file *file;
        pid_t child = fork();
        if (child == 0) {
            if (fam_metrics_file_open(&file, f.run, step, NULL) != FAM_OK)
                _exit(1);
            for (int64_t next = step + 1;; next++) {
                char line[100];
                int length =
                    snprintf(line, sizeof line, "{\"step\":%lld,\"loss\":\"%a\"}", (long long)next, (double)next / 7);
                if (fam_metrics_file_append(file, line, (size_t)length, NULL) != FAM_OK)
                    _exit(2);
            }
        }
        usleep((useconds_t)(500 + fam_random_next(&random) % 2000));
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
        assert_true(WIFSIGNALED(status));
        uint8_t *data;
        size_t size;
        ok(fam_file_read(&data, &size, &f.memory, scratch_path(f.path, "metrics.jsonl"), 1 << 28, error));
        int64_t last = 0;
        for (char *line = (char *)data, *end; (end = strchr(line, '\n')); line = end + 1) {
            long long number;
            double loss;
            assert_int_equal(sscanf(line, "{\"step\":%lld,\"loss\":\"%la\"}", &number, &loss), 2);
            assert_int_equal(number, last + 1);
            assert_true(loss == (double)number / 7);
            last = number;
        }
        fam_free(&f.memory, data);
        lines += last - step;
        step = last > 2 ? (int64_t)((uint64_t)last - fam_random_next(&random) % 3) : last; /* a checkpoint is older */
        if (step > 2000)
            step = 0;
        ok(fam_metrics_file_open(&file, f.run, step, error));
        fam_metrics_file_close(file);
    }
    print_message("%lld lines\n", (long long)lines);
    assert_true(lines > 0);
    fixture_close(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(lines_are_appended_and_cut_at_the_step),
    cmocka_unit_test(what_is_torn_or_of_later_steps_goes),
    cmocka_unit_test(only_a_regular_file_is_opened),
    cmocka_unit_test(kills_tear_no_line),
};
SUITE_MAIN(tests)
