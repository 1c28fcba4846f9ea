/*
 * Checkpoints of a training run: the whole sequence, what is refused, and what becomes of those that are damaged.
 * Failing system calls and kills are in test_snapshot_faults.
 */
#include "snapshot_fixture.h"

#include <errno.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* ---- the sequence ------------------------------------------------------------------------------------------------ */

static void a_run_writes_finds_and_rotates_checkpoints(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f);
    assert_string_equal(fam_run_folder_path(f.run), f.path);
    expect_found(&f, -1, 0, NULL);
    for (int64_t step = 100; step <= 500; step += 100) {
        ok(save(&f, step, 2, error));
        expect_found(&f, step, 0, NULL);
    }
    expect_names(&f, "step_00000400 step_00000500");
    ok(save(&f, 600, 5, error));
    ok(save(&f, 700, 3, error));
    expect_names(&f, "step_00000500 step_00000600 step_00000700");
    ok(save(&f, 800, -7, error)); /* two are kept, whoever asks for less */
    expect_names(&f, "step_00000700 step_00000800");
    fixture_reopen(&f);
    expect_found(&f, 800, 0, NULL);
    fixture_close(&f);
}

/* Names sort by number where they would not sort by bytes, and every step that there is has a name. */
static void steps_are_ordered_as_numbers(void **state)
{
    (void)state;
    static const int64_t steps[] = {0, 1, 99999999, 100000000, 999999999, 1000000000, INT64_MAX - 1, INT64_MAX};
    fixture f;
    fixture_open(&f);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        ok(save(&f, steps[i], 3, error));
        expect_found(&f, steps[i], 0, NULL);
    }
    expect_names(&f, "step_1000000000 step_9223372036854775806 step_9223372036854775807");
    fixture_close(&f);
}

static void a_writer_is_begun_once_and_leaves_nothing_when_aborted(void **state)
{
    (void)state;
    fixture f;
    fam_snapshot_writer *writer, *other;
    fixture_open(&f);
    ok(save(&f, 100, 2, error));
    refused(fam_snapshot_begin(&writer, f.run, -1, 0, error), FAM_STATUS_INVALID_ARGUMENT, "-1");
    refused(fam_snapshot_begin(&writer, f.run, INT64_MIN, 0, error), FAM_STATUS_INVALID_ARGUMENT, "step");
    ok(fam_snapshot_begin(&writer, f.run, 200, 0, error));
    refused(fam_snapshot_begin(&other, f.run, 300, 0, error), FAM_STATUS_INVALID_ARGUMENT, "one at a time");
    assert_string_equal(fam_snapshot_folder(writer), in_checkpoints(&f, "step_00000200.tmp"));
    assert_int_equal(write_files(fam_snapshot_folder(writer), 200), 0);
    expect_found(&f, 100, 1, "step_00000200.tmp: being written");
    fam_snapshot_abort(writer);
    fam_snapshot_abort(NULL);
    expect_names(&f, "step_00000100");
    ok(fam_snapshot_begin(&writer, f.run, 200, 0, error)); /* a checkpoint of nothing is one */
    ok(fam_snapshot_commit(writer, 2, error));
    ok(fam_snapshot_check(in_checkpoints(&f, "step_00000200"), &f.memory, error));
    fixture_close(&f);
}

/* C11: asked before anything is written. */
static void the_free_space_is_checked_first(void **state)
{
    (void)state;
    fixture f;
    fam_snapshot_writer *writer;
    fixture_open(&f);
    refused(fam_snapshot_begin(&writer, f.run, 1, UINT64_MAX - 1, error), FAM_STATUS_IO, "free space: found ");
    expect_names(&f, "");
    ok(save(&f, 1, 2, error));
    fixture_close(&f);
}

/* A run that resumed from before a damaged checkpoint writes it anew; later ones are of a past that is gone. */
static void a_damaged_past_is_replaced_and_left_behind(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f);
    for (int64_t step = 100; step <= 400; step += 100)
        ok(save(&f, step, 9, error));
    assert_int_equal(truncate(in_checkpoints(&f, "step_00000400/model.safetensors"), 7), 0);
    assert_int_equal(unlink(in_checkpoints(&f, "step_00000300/MANIFEST")), 0);
    expect_found(&f, 200, 2, "step_00000300/MANIFEST: cannot open");
    ok(save(&f, 250, 3, error));
    expect_names(&f, "step_00000100 step_00000200 step_00000250");
    ok(save(&f, 300, 9, error));
    assert_int_equal(truncate(in_checkpoints(&f, "step_00000300/state.json"), 0), 0);
    expect_found(&f, 250, 1, "step_00000300/state.json: size: found 0 bytes, need 17");
    ok(save(&f, 300, 9, error));
    expect_found(&f, 300, 0, NULL);
    expect_names(&f, "step_00000100 step_00000200 step_00000250 step_00000300");
    fixture_close(&f);
}

/* ---- C14: the lock ----------------------------------------------------------------------------------------------- */

static void two_trainers_cannot_share_a_folder(void **state)
{
    (void)state;
    fixture f;
    fam_run_folder *other = NULL;
    char words[64], text[400] = "", path[700];
    fixture_open(&f);
    snprintf(words, sizeof words, "in use by process %ld on ", (long)getpid());
    refused(fam_run_folder_open(&other, &f.memory, f.path, error), FAM_STATUS_MISMATCH, words);
    assert_null(other);
    pid_t child = fork();
    if (child == 0) {
        fam_error error = {0};
        _exit(fam_run_folder_open(&other, &f.memory, f.path, &error) != FAM_STATUS_MISMATCH ||
              !strstr(error.message, words));
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    ok(save(&f, 100, 2, error)); /* the refused one disturbed nothing */
    fam_run_folder_close(f.run);
    snprintf(path, sizeof path, "%s/lock", f.path);
    int fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, text, sizeof text), 0); /* nobody's name is left in it */
    close(fd);
    ok(fam_run_folder_open(&f.run, &f.memory, f.path, error));
    fixture_close(&f);
}

/* Whoever died holding the lock holds it no more, whatever is written in it. */
static void the_lock_of_a_dead_process_is_taken_over(void **state)
{
    (void)state;
    fixture f;
    int ready[2], status;
    char byte, words[64], path[700];
    fixture_open(&f);
    fam_run_folder_close(f.run);
    f.run = NULL;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        fam_run_folder *run;
        if (fam_run_folder_open(&run, &f.memory, f.path, NULL) == FAM_OK && write(ready[1], "y", 1) == 1)
            pause();
        _exit(1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    snprintf(words, sizeof words, "process %ld on", (long)child);
    refused(fam_run_folder_open(&f.run, &f.memory, f.path, error), FAM_STATUS_MISMATCH, words);
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    ok(fam_run_folder_open(&f.run, &f.memory, f.path, error));
    /* what is in the file is only for the message, and need not make sense */
    static const char *const texts[] = {
        "", "1", "x y\n", "-5 host\n", "99999999999999999999999 \n", "1 \x1b[31m\xff\n"};
    snprintf(path, sizeof path, "%s/lock", f.path);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        fam_run_folder *other;
        fam_error said = {0};
        scratch_write_text(f.path, "lock", texts[i]);
        assert_int_equal(fam_run_folder_open(&other, &f.memory, f.path, &said), FAM_STATUS_MISMATCH);
        assert_non_null(strstr(said.message, "in use by"));
    }
    assert_int_equal(unlink(path), 0);
    fixture_reopen(&f);
    close(ready[0]);
    close(ready[1]);
    fixture_close(&f);
}

/* ---- what is in the way ------------------------------------------------------------------------------------------ */

static void links_are_never_followed(void **state)
{
    (void)state;
    fixture f;
    char outside[600], inside[1300];
    fam_snapshot_writer *writer;
    fam_snapshot found;
    fixture_open(&f);
    snprintf(outside, sizeof outside, "%s/outside", f.parent);
    assert_int_equal(mkdir(outside, 0777), 0);
    scratch_write_text(outside, "precious", "precious");
    /* left by a kill, or planted: links go, what they lead to stays */
    assert_int_equal(symlink(outside, in_checkpoints(&f, "step_00000100.tmp")), 0);
    assert_int_equal(symlink(outside, in_checkpoints(&f, ".trash-x")), 0);
    assert_int_equal(mkdir(in_checkpoints(&f, ".trash-y"), 0777), 0);
    assert_int_equal(symlink(outside, in_checkpoints(&f, ".trash-y/link")), 0);
    fixture_reopen(&f);
    expect_names(&f, "");
    assert_int_equal(access(scratch_path(outside, "precious"), F_OK), 0);
    /* a caller that writes a link */
    ok(fam_snapshot_begin(&writer, f.run, 100, 0, error));
    snprintf(inside, sizeof inside, "%s/link", fam_snapshot_folder(writer));
    assert_int_equal(symlink(outside, inside), 0);
    refused(fam_snapshot_commit(writer, 2, error), FAM_STATUS_INVALID_ARGUMENT, "symbolic link");
    expect_names(&f, "");
    ok(save(&f, 100, 2, error));
    ok(save(&f, 200, 2, error));
    /* a checkpoint with a link in place of a file, a folder, MANIFEST, or itself */
    assert_int_equal(rename(in_checkpoints(&f, "step_00000200/adapter"), scratch_path(outside, "adapter")), 0);
    assert_int_equal(symlink(scratch_path(outside, "adapter"), in_checkpoints(&f, "step_00000200/adapter")), 0);
    expect_found(&f, 100, 1, "step_00000200/adapter: found a file or a link, need a folder");
    ok(save(&f, 200, 2, error));
    assert_int_equal(rename(in_checkpoints(&f, "step_00000200/state.json"), scratch_path(outside, "state")), 0);
    assert_int_equal(symlink(scratch_path(outside, "state"), in_checkpoints(&f, "step_00000200/state.json")), 0);
    expect_found(&f, 100, 1, "step_00000200/state.json: found a symbolic link");
    ok(save(&f, 200, 2, error));
    assert_int_equal(rename(in_checkpoints(&f, "step_00000200/MANIFEST"), scratch_path(outside, "manifest")), 0);
    assert_int_equal(symlink(scratch_path(outside, "manifest"), in_checkpoints(&f, "step_00000200/MANIFEST")), 0);
    expect_found(&f, 100, 1, "step_00000200/MANIFEST: found a symbolic link");
    ok(save(&f, 200, 2, error));
    assert_int_equal(rename(in_checkpoints(&f, "step_00000200"), scratch_path(outside, "step")), 0);
    assert_int_equal(symlink(scratch_path(outside, "step"), in_checkpoints(&f, "step_00000200")), 0);
    expect_found(&f, 100, 1, "step_00000200: found a file or a link");
    ok(fam_snapshot_check(in_checkpoints(&f, "step_00000200"), &f.memory, error)); /* one that the caller names */
    ok(save(&f, 200, 2, error)); /* replaces the link, not what it leads to */
    expect_found(&f, 200, 0, NULL);
    ok(fam_snapshot_check(scratch_path(outside, "step"), &f.memory, error));
    /* the folder of all checkpoints, and the lock */
    fam_run_folder_close(f.run);
    f.run = NULL;
    snprintf(inside, sizeof inside, "%s/checkpoints", f.path);
    assert_int_equal(rename(inside, scratch_path(outside, "checkpoints")), 0);
    assert_int_equal(symlink(scratch_path(outside, "checkpoints"), inside), 0);
    refused(fam_run_folder_open(&f.run, &f.memory, f.path, error), FAM_STATUS_BAD_FORMAT,
            "checkpoints: found a file or a link");
    refused(fam_snapshot_find(&found, &f.memory, f.path, NULL, NULL, error), FAM_STATUS_BAD_FORMAT, "checkpoints");
    unlink(inside);
    snprintf(inside, sizeof inside, "%s/lock", f.path);
    unlink(inside);
    assert_int_equal(symlink(scratch_path(outside, "precious"), inside), 0);
    refused(fam_run_folder_open(&f.run, &f.memory, f.path, error), FAM_STATUS_IO, "lock: found a symbolic link");
    unlink(inside);
    assert_int_equal(mkfifo(inside, 0666), 0);
    refused(fam_run_folder_open(&f.run, &f.memory, f.path, error), FAM_STATUS_IO, "lock: found a special file");
    unlink(inside);
    /* the run's folder may be a link: the user chose it */
    snprintf(inside, sizeof inside, "%s/link", f.parent);
    assert_int_equal(symlink(f.path, inside), 0);
    ok(fam_run_folder_open(&f.run, &f.memory, inside, error));
    fixture_close(&f);
}

/* Without blocking. */
static void special_files_are_refused(void **state)
{
    (void)state;
    fixture f;
    char inside[1300];
    fam_snapshot_writer *writer;
    fixture_open(&f);
    ok(save(&f, 100, 2, error));
    ok(save(&f, 200, 2, error));
    ok(fam_snapshot_begin(&writer, f.run, 300, 0, error));
    snprintf(inside, sizeof inside, "%s/fifo", fam_snapshot_folder(writer));
    assert_int_equal(mkfifo(inside, 0666), 0);
    refused(fam_snapshot_commit(writer, 2, error), FAM_STATUS_INVALID_ARGUMENT, "special file");
    unlink(in_checkpoints(&f, "step_00000200/empty"));
    assert_int_equal(mkfifo(in_checkpoints(&f, "step_00000200/empty"), 0666), 0);
    expect_found(&f, 100, 1, "step_00000200/empty: found a special file, need a file of 0 bytes");
    unlink(in_checkpoints(&f, "step_00000200/empty"));
    assert_int_equal(mkdir(in_checkpoints(&f, "step_00000200/empty"), 0777), 0);
    expect_found(&f, 100, 1, "step_00000200/empty: found a folder");
    unlink(in_checkpoints(&f, "step_00000200/MANIFEST"));
    assert_int_equal(mkfifo(in_checkpoints(&f, "step_00000200/MANIFEST"), 0666), 0);
    expect_found(&f, 100, 1, "MANIFEST: found a special file");
    refused(fam_snapshot_check(in_checkpoints(&f, "step_00000200"), &f.memory, error), FAM_STATUS_BAD_FORMAT,
            "MANIFEST");
    refused(fam_snapshot_check(in_checkpoints(&f, "none"), &f.memory, error), FAM_STATUS_NOT_FOUND, "none");
    refused(fam_snapshot_check(in_checkpoints(&f, "step_00000100/state.json"), &f.memory, error), FAM_STATUS_IO,
            "a folder");
    assert_int_equal(mkfifo(in_checkpoints(&f, "step_00000300"), 0666), 0);
    expect_found(&f, 100, 2, "step_00000300: found a file or a link");
    ok(save(&f, 300, 2, error));
    expect_found(&f, 300, 0, NULL);
    fixture_close(&f);
}

static void what_cannot_be_a_checkpoint_is_not_committed(void **state)
{
    (void)state;
    static const struct {
        const char *name, *words;
    } cases[] = {
        {"MANIFEST", "MANIFEST itself"}, {"a\xff", "not UTF-8"}, {"1/2/3/4/5/6/7/8/f", "nested more than 8 deep"}};
    fixture f;
    fam_snapshot_writer *writer;
    fixture_open(&f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[1400];
        ok(fam_snapshot_begin(&writer, f.run, 100, 0, error));
        snprintf(path, sizeof path, "%s/%s", fam_snapshot_folder(writer), cases[i].name);
        for (char *at = path + strlen(fam_snapshot_folder(writer)) + 1; (at = strchr(at, '/')); *at++ = '/') {
            *at = '\0';
            assert_int_equal(mkdir(path, 0777), 0);
        }
        close(open(path, O_WRONLY | O_CREAT, 0666));
        refused(fam_snapshot_commit(writer, 2, error), FAM_STATUS_INVALID_ARGUMENT, cases[i].words);
        expect_names(&f, "");
    }
    ok(fam_snapshot_begin(&writer, f.run, 100, 0, error));
    for (int i = 0; i <= FAM_MANIFEST_FILES_MAX; i++) {
        char path[1400];
        snprintf(path, sizeof path, "%s/%d", fam_snapshot_folder(writer), i);
        close(open(path, O_WRONLY | O_CREAT, 0666));
    }
    refused(fam_snapshot_commit(writer, 2, error), FAM_STATUS_INVALID_ARGUMENT, "more than 4096 files");
    expect_names(&f, "");
    fixture_close(&f);
}

static void folders_that_cannot_be_written_are_refused(void **state)
{
    (void)state;
    fixture f;
    fam_run_folder *run = NULL;
    fam_snapshot found;
    char path[900];
    fixture_open(&f);
    ok(save(&f, 100, 2, error));
    scratch_write_text(f.parent, "file", "");
    snprintf(path, sizeof path, "%s/file", f.parent);
    refused(fam_run_folder_open(&run, &f.memory, path, error), FAM_STATUS_IO, "found a file, need a folder");
    refused(fam_snapshot_find(&found, &f.memory, path, NULL, NULL, error), FAM_STATUS_IO,
            "found a file, need a folder");
    refused(fam_run_folder_open(&run, &f.memory, "", error), FAM_STATUS_INVALID_ARGUMENT, "empty path");
    snprintf(path, sizeof path, "%s/file/run", f.parent);
    fam_error said = {0};
    assert_int_not_equal(fam_run_folder_open(&run, &f.memory, path, &said), FAM_OK);
    snprintf(path, sizeof path, "%s/none/run", f.parent);
    ok(fam_snapshot_find(&found, &f.memory, path, NULL, NULL, error)); /* a run that has not begun */
    assert_null(found.folder);
    assert_int_equal(access(path, F_OK), -1);
    char *name = malloc(5000);
    memset(name, 'x', 4999);
    name[4999] = '\0';
    assert_int_equal(fam_run_folder_open(&run, &f.memory, name, &said), FAM_STATUS_IO);
    free(name);
    fam_run_folder_close(f.run);
    f.run = NULL;
    assert_null(run);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) { /* root may write everywhere */
        snprintf(path, sizeof path, "%s/checkpoints", f.path);
        if (chmod(path, 0555) != 0 || chmod(f.path, 0555) != 0 || chmod(f.parent, 0755) != 0 ||
            (getuid() == 0 && setuid(65534) != 0))
            _exit(10);
        if (fam_run_folder_open(&run, &f.memory, f.path, &said) != FAM_STATUS_IO ||
            !strstr(said.message, strerror(EACCES)))
            _exit(11);
        if (fam_snapshot_find(&found, &f.memory, f.path, NULL, NULL, &said) != FAM_OK || found.step != 100)
            _exit(12); /* reading needs no lock */
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    snprintf(path, sizeof path, "%s/checkpoints", f.path);
    assert_true(chmod(f.path, 0755) == 0 && chmod(path, 0755) == 0);
    fixture_close(&f);
}

/* ---- C9: names --------------------------------------------------------------------------------------------------- */

static void only_the_exact_name_of_a_step_is_one(void **state)
{
    (void)state;
    static const char *const wrong[] = {"step_",
                                        "step_1",
                                        "step_0000200",
                                        "step_000000200",
                                        "step_-0000200",
                                        "step_+0000200",
                                        "step_ 0000200",
                                        "step_00000200 ",
                                        "step_0000020x",
                                        "step_9223372036854775808",
                                        "step_18446744073709551616",
                                        "step_99999999999999999999999999",
                                        "step_00000200.old",
                                        "step_00000200.tmp2",
                                        "step_0x000200"};
    static const char *const others[] = {"notes", "Step_00000300", "steps", ".hidden", "xstep_00000300"};
    fixture f;
    fixture_open(&f);
    ok(save(&f, 100, 2, error));
    int count = 0;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char command[1500];
        snprintf(command, sizeof command, "cp -r '%s' '%s'", in_checkpoints(&f, "step_00000100"),
                 in_checkpoints(&f, wrong[i]));
        assert_int_equal(system(command), 0);
        snprintf(command, sizeof command, "%s: not the name of a step", wrong[i]);
        expect_found(&f, 100, ++count, command);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_int_equal(mkdir(in_checkpoints(&f, others[i]), 0777), 0);
    expect_found(&f, 100, count, NULL);
    fixture_reopen(&f); /* what is not ours stays */
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_int_equal(rmdir(in_checkpoints(&f, others[i])), 0);
    /* a checkpoint under another step's name */
    assert_int_equal(rename(in_checkpoints(&f, "step_00000100"), in_checkpoints(&f, "step_00000700")), 0);
    expect_found(&f, -1, count + 1, "step: found 100, need 700");
    fixture_close(&f);
}

/* ---- P6: damage -------------------------------------------------------------------------------------------------- */

static uint8_t *read_whole(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    uint8_t *data = malloc(200000);
    *size = fread(data, 1, 200000, file);
    fclose(file);
    return data;
}

static void write_whole(const char *path, const uint8_t *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    fclose(file);
}

static void flip(const char *path, size_t at, int bit)
{
    uint8_t byte;
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
    byte ^= (uint8_t)(1 << bit);
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    close(fd);
}

static void every_bit_of_a_manifest_is_guarded(void **state)
{
    (void)state;
    fixture f;
    size_t size;
    fixture_open(&f);
    ok(save(&f, 200, 2, error));
    char *path = strdup(in_checkpoints(&f, "step_00000200/MANIFEST")),
         *folder = strdup(in_checkpoints(&f, "step_00000200"));
    uint8_t *data = read_whole(path, &size);
    for (size_t at = 0; at < size; at++)
        for (int bit = 0; bit < 8; bit++) {
            flip(path, at, bit);
            refused(fam_snapshot_check(folder, &f.memory, error), FAM_STATUS_BAD_FORMAT,
                    "step_00000200/MANIFEST: checksum");
            flip(path, at, bit);
        }
    for (size_t cut = 0; cut < size; cut++) {
        assert_int_equal(truncate(path, (off_t)cut), 0);
        refused(fam_snapshot_check(folder, &f.memory, error), FAM_STATUS_BAD_FORMAT, "step_00000200/MANIFEST: ");
        write_whole(path, data, size);
    }
    ok(fam_snapshot_check(folder, &f.memory, error));
    data[size] = '\n';
    write_whole(path, data, size + 1);
    refused(fam_snapshot_check(folder, &f.memory, error), FAM_STATUS_BAD_FORMAT, "checksum");
    free(path);
    free(folder);
    free(data);
    fixture_close(&f);
}

static void damage_to_a_file_is_found_and_the_file_named(void **state)
{
    (void)state;
    enum { FLIPS = 1000 };
    fixture f;
    fam_random random;
    fam_random_seed(&random, 3);
    fixture_open(&f);
    ok(save(&f, 100, 2, error));
    ok(save(&f, 200, 2, error));
    for (int i = 0; i < FILE_COUNT; i++) {
        char path[1400], words[200];
        snprintf(path, sizeof path, "%s/%s", in_checkpoints(&f, "step_00000200"), FILES[i].path);
        snprintf(words, sizeof words, "step_00000200/%s: checksum: found ", FILES[i].path);
        for (int round = 0; FILES[i].bytes > 0 && round < FLIPS; round++) {
            size_t at = round == 0 ? 0 : round == 1 ? FILES[i].bytes - 1 : fam_random_next(&random) % FILES[i].bytes;
            int bit = (int)(fam_random_next(&random) % 8);
            flip(path, at, bit);
            refused(fam_snapshot_check(in_checkpoints(&f, "step_00000200"), &f.memory, error), FAM_STATUS_BAD_FORMAT,
                    words);
            if (round < 3)
                expect_found(&f, 100, 1, words);
            flip(path, at, bit);
        }
        snprintf(words, sizeof words, "step_00000200/%s: size: found ", FILES[i].path);
        size_t size, step = FILES[i].bytes / 37 + 1;
        uint8_t *data = read_whole(path, &size);
        for (size_t cut = 0; cut < size; cut += step) {
            assert_int_equal(truncate(path, (off_t)cut), 0);
            refused(fam_snapshot_check(in_checkpoints(&f, "step_00000200"), &f.memory, error), FAM_STATUS_BAD_FORMAT,
                    words);
            write_whole(path, data, size);
        }
        assert_int_equal(truncate(path, (off_t)size + 1), 0);
        expect_found(&f, 100, 1, words);
        assert_int_equal(unlink(path), 0); /* C2, C4 */
        snprintf(words, sizeof words, "step_00000200/%s: found nothing, need a file of %zu bytes", FILES[i].path, size);
        expect_found(&f, 100, 1, words);
        write_whole(path, data, size);
        expect_found(&f, 200, 0, NULL);
        free(data);
    }
    fixture_close(&f);
}

/* P12: a whole MANIFEST of a newer version is no damage, and the run does not go on from before it. */
static void a_newer_version_is_named_and_stops_the_search(void **state)
{
    (void)state;
    fixture f;
    fam_snapshot found;
    size_t size;
    fixture_open(&f);
    ok(save(&f, 100, 2, error));
    ok(save(&f, 200, 2, error));
    const char *path = in_checkpoints(&f, "step_00000200/MANIFEST");
    uint8_t *data = read_whole(path, &size);
    char *version = strstr((char *)data, "\"version\": 1");
    assert_non_null(version);
    version[strlen("\"version\": ")] = '2';
    manifest_sign((char *)data, size);
    write_whole(path, data, size);
    refused(fam_snapshot_check(in_checkpoints(&f, "step_00000200"), &f.memory, error), FAM_STATUS_UNSUPPORTED,
            "MANIFEST: version: found 2, need at most 1 (a newer fam wrote it)");
    refused(fam_snapshot_find(&found, &f.memory, f.path, NULL, NULL, error), FAM_STATUS_UNSUPPORTED,
            "version: found 2");
    assert_null(found.folder);
    free(data);
    fixture_close(&f);
}

static void the_checkpoint_of_version_1_stays_readable(void **state)
{
    (void)state;
    fam_memory memory;
    fam_snapshot found;
    notice_list notices = {0};
    fam_memory_init(&memory);
    ok(fam_snapshot_find(&found, &memory, suite_path("tests/fixtures/snapshot/v1"), take_notice, &notices, error));
    assert_int_equal(found.step, 1200);
    assert_int_equal(notices.count, 0);
    fam_free(&memory, found.folder);
    assert_int_equal(memory.bytes, 0);
}

/* ---- C11: full disks, P3: short memory --------------------------------------------------------------------------- */

/* The file size limit fails a write at any byte. */
static void a_write_that_fails_keeps_the_old_checkpoint(void **state)
{
    (void)state;
    fixture f;
    struct rlimit old;
    fixture_open(&f);
    ok(save(&f, 100, 2, error));
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    for (int round = 0; round < 40; round++) {
        /* the first rounds cut a file of the caller, the others MANIFEST */
        rlim_t most = round < 20 ? (rlim_t)round * 3500 : (rlim_t)(round - 20) * 40;
        struct rlimit limit = {.rlim_cur = most, .rlim_max = old.rlim_max};
        fam_error said = {0};
        fam_snapshot_writer *writer;
        ok(fam_snapshot_begin(&writer, f.run, 200, 0, error));
        if (round >= 20)
            scratch_write(fam_snapshot_folder(writer), "state.json", "0123456789", 10);
        setrlimit(RLIMIT_FSIZE, &limit);
        bool wrote = round >= 20 || write_files(fam_snapshot_folder(writer), 200) == 0;
        fam_status status = wrote ? fam_snapshot_commit(writer, 2, &said) : FAM_STATUS_IO;
        setrlimit(RLIMIT_FSIZE, &old);
        if (!wrote)
            fam_snapshot_abort(writer);
        if (status == FAM_OK) {
            assert_true(most > 200);
            continue;
        }
        assert_int_equal(status, FAM_STATUS_IO);
        if (wrote)
            assert_non_null(strstr(said.message, "MANIFEST: cannot write"));
        expect_names(&f, round < 20 ? "step_00000100" : NULL);
        assert_null(strstr(names_in_checkpoints(&f), ".tmp"));
    }
    ok(save(&f, 300, 2, error));
    expect_found(&f, 300, 0, NULL);
    fixture_close(&f);
}

/* A file of so many bytes, or of as many as there is room for: then false. */
static bool fill(const char *folder, size_t bytes)
{
    static const char block[1000];
    int fd = open(scratch_path(folder, "large"), O_WRONLY | O_CREAT, 0666);
    size_t done = 0;
    for (ssize_t wrote; done < bytes && (wrote = write(fd, block, sizeof block)) > 0;)
        done += (size_t)wrote;
    close(fd);
    return done >= bytes;
}

static void a_full_disk_keeps_the_old_checkpoint(void **state)
{
    (void)state;
    fixture f;
    char disk[400];
    fam_error said = {0};
    fixture_open(&f);
    fam_run_folder_close(f.run);
    f.run = NULL;
    snprintf(disk, sizeof disk, "%.380s/disk", f.parent);
    assert_int_equal(mkdir(disk, 0777), 0);
    if (mount("tmpfs", disk, "tmpfs", 0, "size=400k") != 0) {
        print_message("no tmpfs can be mounted here: %s\n", strerror(errno));
        fixture_close(&f);
        skip();
    }
    snprintf(f.path, sizeof f.path, "%s/run", disk);
    fam_status first = fam_run_folder_open(&f.run, &f.memory, f.path, &said);
    if (first == FAM_OK)
        first = save(&f, 100, 2, &said);
    fam_snapshot_writer *writer = NULL;
    fam_error full = {0}, checked = {0};
    fam_status second = fam_snapshot_begin(&writer, f.run, 200, 0, &full); /* too small a guess */
    bool wrote = second == FAM_OK && fill(fam_snapshot_folder(writer), 300000);
    fam_status sealed = second == FAM_OK ? fam_snapshot_commit(writer, 2, &full) : second; /* no room for MANIFEST */
    fam_status third = fam_snapshot_begin(&writer, f.run, 200, 300000, &checked);
    char names[400];
    snprintf(names, sizeof names, "%s", names_in_checkpoints(&f));
    fam_snapshot found = {0};
    fam_status finding = fam_snapshot_find(&found, &f.memory, f.path, NULL, NULL, NULL);
    fam_status again = save(&f, 300, 2, &said);
    fam_free(&f.memory, found.folder);
    fam_run_folder_close(f.run);
    f.run = NULL;
    umount(disk);
    if (first != FAM_OK || again != FAM_OK)
        fail_msg("%s", said.message);
    assert_false(wrote);
    assert_int_equal(sealed, FAM_STATUS_IO);
    assert_non_null(strstr(full.message, strerror(ENOSPC)));
    assert_int_equal(third, FAM_STATUS_IO);
    assert_non_null(strstr(checked.message, "free space: found "));
    assert_string_equal(names, "step_00000100");
    assert_int_equal(finding, FAM_OK);
    assert_int_equal(found.step, 100);
    fixture_close(&f);
}

static const char *step_path(const fixture *f, int64_t step)
{
    char name[40];
    snprintf(name, sizeof name, "step_%08lld", (long long)step);
    return in_checkpoints(f, name);
}

static void any_allocation_may_fail(void **state)
{
    (void)state;
    fixture f;
    int64_t newest = 100;
    fixture_open(&f);
    ok(save(&f, 100, 2, error));
    fam_run_folder_close(f.run);
    f.run = NULL;
    for (int for_good = 0; for_good < 2; for_good++) {
        size_t at = 1;
        for (;; at++) {
            fam_status status;
            fam_error said = {0};
            fam_snapshot found = {0};
            f.memory.fail_at = f.memory.allocations + at;
            f.memory.fail_for_good = for_good;
            status = fam_run_folder_open(&f.run, &f.memory, f.path, &said);
            if (status == FAM_OK)
                status = fam_snapshot_find(&found, &f.memory, f.path, NULL, NULL, &said);
            if (status == FAM_OK)
                status = save(&f, newest + 100, 2, &said);
            if (status == FAM_OK)
                status = fam_snapshot_check(step_path(&f, newest + 100), &f.memory, &said);
            f.memory.fail_at = 0;
            if (status != FAM_OK && (status != FAM_STATUS_OUT_OF_MEMORY || !strstr(said.message, "out of memory")))
                fail_msg("allocation %zu: found status %d \"%s\"", at, status, said.message);
            fam_free(&f.memory, found.folder);
            fam_run_folder_close(f.run);
            f.run = NULL;
            assert_int_equal(f.memory.bytes, 0);
            ok(fam_snapshot_find(&found, &f.memory, f.path, NULL, NULL, error));
            assert_true(found.step == newest || found.step == newest + 100);
            newest = found.step;
            fam_free(&f.memory, found.folder);
            if (status == FAM_OK)
                break;
            ok(fam_run_folder_open(&f.run, &f.memory, f.path, error)); /* what is left over goes */
            ok(save(&f, newest += 100, 2, error));
            assert_int_equal(strlen(names_in_checkpoints(&f)), strlen("step_00000100 step_00000200"));
            fam_run_folder_close(f.run);
            f.run = NULL;
        }
        print_message("%zu allocations\n", at - 1);
        assert_true(at > 30);
    }
    fixture_close(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_run_writes_finds_and_rotates_checkpoints),
    cmocka_unit_test(steps_are_ordered_as_numbers),
    cmocka_unit_test(a_writer_is_begun_once_and_leaves_nothing_when_aborted),
    cmocka_unit_test(the_free_space_is_checked_first),
    cmocka_unit_test(a_damaged_past_is_replaced_and_left_behind),
    cmocka_unit_test(two_trainers_cannot_share_a_folder),
    cmocka_unit_test(the_lock_of_a_dead_process_is_taken_over),
    cmocka_unit_test(links_are_never_followed),
    cmocka_unit_test(special_files_are_refused),
    cmocka_unit_test(what_cannot_be_a_checkpoint_is_not_committed),
    cmocka_unit_test(folders_that_cannot_be_written_are_refused),
    cmocka_unit_test(only_the_exact_name_of_a_step_is_one),
    cmocka_unit_test(every_bit_of_a_manifest_is_guarded),
    cmocka_unit_test(damage_to_a_file_is_found_and_the_file_named),
    cmocka_unit_test(a_newer_version_is_named_and_stops_the_search),
    cmocka_unit_test(the_checkpoint_of_version_1_stays_readable),
    cmocka_unit_test(a_write_that_fails_keeps_the_old_checkpoint),
    cmocka_unit_test(a_full_disk_keeps_the_old_checkpoint),
    cmocka_unit_test(any_allocation_may_fail),
};
SUITE_MAIN(tests)
