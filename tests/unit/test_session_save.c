/*
 * Writing session files when the disk, the system or a second process gets in the way: the file is the old one or the new
 * one, whole, never a mixture, and nothing is left beside it.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/random.h"
#include "run.h"

/* Two sessions that differ in all sections. */
typedef struct fixture {
    run_directory directory;
    run_case golden;
    fam_engine *engine;
    fam_session *a, *b, *reader;
    run_picture picture_a, picture_b;
    char path[256];
} fixture;

enum { POSITION_A = 40, POSITION_B = 90, NOTE_A = 5, NOTE_B = 700000 };

static void fixture_open(fixture *f)
{
    uint8_t *note = malloc(NOTE_B);
    run_directory_make(&f->directory);
    snprintf(f->path, sizeof f->path, "%s/a.session", f->directory.path);
    run_case_open(&f->golden, "fam_rms_init_m3");
    f->engine = run_engine(&f->golden, NULL);
    f->a = run_session(f->engine, &f->golden, 64);
    f->b = run_session(f->engine, &f->golden, 64);
    f->reader = run_session(f->engine, &f->golden, 64);
    run_feed(f->a, f->golden.tokens, 0, POSITION_A, 20);
    run_feed(f->b, f->golden.tokens, 0, POSITION_B, 20);
    memset(note, 0xb5, NOTE_B);
    run_ok(fam_session_set_note(f->a, "small", NOTE_A, error));
    run_ok(fam_session_set_note(f->b, note, NOTE_B, error));
    run_take_picture(&f->picture_a, f->engine, f->a);
    run_take_picture(&f->picture_b, f->engine, f->b);
    free(note);
}

static void fixture_close(fixture *f)
{
    run_picture_free(&f->picture_a);
    run_picture_free(&f->picture_b);
    fam_session_free(f->a);
    fam_session_free(f->b);
    fam_session_free(f->reader);
    fam_engine_free(f->engine);
    run_case_close(&f->golden);
    run_directory_remove(&f->directory);
}

/* The file must be all of a or all of b. Returns which: 'a' or 'b'. */
static int which(fixture *f)
{
    size_t size = 0;
    run_picture now;
    run_ok(fam_session_restore(f->reader, f->path, error));
    bool is_a = fam_session_position(f->reader) == POSITION_A;
    const uint8_t *note = fam_session_note(f->reader, &size);
    assert_int_equal(fam_session_position(f->reader), is_a ? POSITION_A : POSITION_B);
    assert_int_equal(size, is_a ? NOTE_A : NOTE_B);
    assert_int_equal(note[size - 1], is_a ? 'l' : 0xb5);
    run_take_picture(&now, f->engine, f->reader);
    run_assert_same(&now, is_a ? &f->picture_a : &f->picture_b);
    run_picture_free(&now);
    return is_a ? 'a' : 'b';
}

static int files_in(const char *path)
{
    DIR *dir = opendir(path);
    int count = 0;
    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir));)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

/* ---- where it cannot be written ------------------------------------------------------------------------------------ */

static void only_plain_files_are_replaced(void **state)
{
    (void)state;
    fixture f;
    char other[160];
    fixture_open(&f);
    snprintf(other, sizeof other, "%s/other", f.directory.path);
    run_write(other, "precious", 8);
    assert_int_equal(symlink(other, f.path), 0);
    run_refused(fam_session_save(f.a, f.path, error), FAM_STATUS_IO, "symbolic link");
    unlink(f.path);
    assert_int_equal(mkfifo(f.path, 0600), 0);
    run_refused(fam_session_save(f.a, f.path, error), FAM_STATUS_IO, "special file");
    unlink(f.path);
    assert_int_equal(mkdir(f.path, 0700), 0);
    run_refused(fam_session_save(f.a, f.path, error), FAM_STATUS_IO, "directory");
    rmdir(f.path);
    run_refused(fam_session_save(f.a, "/dev/full", error), FAM_STATUS_IO, "/dev/full");
    run_refused(fam_session_save(f.a, "/dev/null", error), FAM_STATUS_IO, "/dev/null");
    snprintf(f.path, sizeof f.path, "%s/none/a.session", f.directory.path);
    fam_error error = {0};
    fam_status status = fam_session_save(f.a, f.path, &error);
    assert_true(status == FAM_STATUS_IO || status == FAM_STATUS_NOT_FOUND);
    assert_non_null(strstr(error.message, "none/a.session"));
    assert_int_equal(files_in(f.directory.path), 1);
    size_t size;
    uint8_t *data = run_read(other, &size);
    assert_int_equal(size, 8);
    assert_memory_equal(data, "precious", 8);
    free(data);
    fixture_close(&f);
}

static int mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return (int)(st.st_mode & 07777);
}

/* A session holds what was read: nobody else can open a new file, whatever the umask allows. Whoever opened an old one to
 * others, or closed it, is not overruled; not even by a save that fails. */
static void new_files_are_private_and_old_ones_keep_their_mode(void **state)
{
    (void)state;
    static const mode_t masks[] = {0, 022, 077}, modes[] = {0640, 0644, 0660, 0600, 0400};
    fixture f;
    fixture_open(&f);
    for (size_t m = 0; m < sizeof masks / sizeof *masks; m++) {
        umask(masks[m]);
        run_ok(fam_session_save(f.a, f.path, error));
        assert_int_equal(mode_of(f.path), 0600);
        for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
            assert_int_equal(chmod(f.path, modes[i]), 0);
            run_ok(fam_session_save(f.b, f.path, error));
            assert_int_equal(mode_of(f.path), modes[i]);
            assert_int_equal(which(&f), 'b');
        }
        unlink(f.path);
    }
    assert_int_equal(files_in(f.directory.path), 0);
    fixture_close(&f);
}

/* The file size limit fails a write at any byte: the first part of it is short, the next an error (EFBIG). */
static void a_write_that_fails_keeps_the_old_file(void **state)
{
    (void)state;
    fixture f;
    struct rlimit old, limit;
    size_t full;
    fixture_open(&f);
    run_ok(fam_session_save(f.b, f.path, error));
    free(run_read(f.path, &full));
    run_ok(fam_session_save(f.a, f.path, error));
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    fam_random random;
    fam_random_seed(&random, 1);
    for (int round = 0; round < 60; round++) {
        size_t most = round < 20   ? (size_t)round * 16
                      : round < 30 ? full - (size_t)(round - 19)
                                   : fam_random_next(&random) % full;
        limit = (struct rlimit){.rlim_cur = most, .rlim_max = old.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        fam_error error = {0};
        fam_status status = fam_session_save(f.b, f.path, &error);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_int_equal(status, FAM_STATUS_IO);
        assert_non_null(strstr(error.message, "cannot write"));
        assert_int_equal(files_in(f.directory.path), 1);
        assert_int_equal(which(&f), 'a');
    }
    run_ok(fam_session_save(f.b, f.path, error));
    assert_int_equal(which(&f), 'b');
    fixture_close(&f);
}

static void a_full_disk_keeps_the_old_file(void **state)
{
    (void)state;
    fixture f;
    char place[128];
    fixture_open(&f);
    snprintf(place, sizeof place, "%s/disk", f.directory.path);
    assert_int_equal(mkdir(place, 0700), 0);
    if (mount("tmpfs", place, "tmpfs", 0, "size=256k") != 0) {
        print_message("no tmpfs can be mounted here: %s\n", strerror(errno));
        rmdir(place);
        fixture_close(&f);
        skip();
    }
    snprintf(f.path, sizeof f.path, "%s/a.session", place);
    fam_error error = {0};
    fam_status first = fam_session_save(f.a, f.path, &error), second = fam_session_save(f.b, f.path, &error);
    int files = files_in(place), found = which(&f);
    umount(place);
    rmdir(place);
    assert_int_equal(first, FAM_OK);
    assert_int_equal(second, FAM_STATUS_IO);
    assert_non_null(strstr(error.message, strerror(ENOSPC)));
    assert_int_equal(files, 1);
    assert_int_equal(found, 'a');
    fixture_close(&f);
}

static void nothing(int number)
{
    (void)number;
}

static void interrupted_system_calls_are_taken_up_again(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f);
    struct sigaction action = {.sa_handler = nothing}; /* no SA_RESTART */
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct itimerspec often = {.it_interval = {.tv_nsec = 97000}, .it_value = {.tv_nsec = 97000}}, never = {{0}, {0}};
    timer_t timer;
    sigaction(SIGUSR1, &action, NULL);
    assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    for (int round = 0; round < 30; round++) {
        timer_settime(timer, 0, &often, NULL);
        fam_error error = {0};
        fam_status status = fam_session_save(round % 2 ? f.a : f.b, f.path, &error);
        timer_settime(timer, 0, &never, NULL);
        if (status != FAM_OK)
            fail_msg("%s", error.message);
        assert_int_equal(which(&f), round % 2 ? 'a' : 'b');
    }
    timer_delete(timer);
    fixture_close(&f);
}

/* ---- others at the same file --------------------------------------------------------------------------------------- */

static pid_t start_saving(fixture *f, fam_session *first, fam_session *second, int rounds)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child != 0)
        return child;
    for (int i = 0; i < rounds || rounds < 0; i++)
        if (fam_session_save(i % 2 ? first : second, f->path, NULL) != FAM_OK)
            _exit(1);
    _exit(0);
}

/* M15 */
static void two_writers_and_a_reader_see_whole_files(void **state)
{
    (void)state;
    fixture f;
    int status;
    fixture_open(&f);
    run_ok(fam_session_save(f.a, f.path, error));
    pid_t writers[2] = {start_saving(&f, f.a, f.b, 40), start_saving(&f, f.b, f.a, 40)};
    int running = 2, seen = 0;
    while (running > 0) {
        which(&f);
        seen++;
        while (running > 0 && waitpid(-1, &status, WNOHANG) > 0) {
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
            running--;
        }
    }
    assert_true(seen > 1 && writers[0] != writers[1]);
    assert_int_equal(files_in(f.directory.path), 1);
    fixture_close(&f);
}

/* M17 */
static void a_killed_writer_leaves_the_old_or_the_new(void **state)
{
    (void)state;
    fixture f;
    fam_random random;
    int found[2] = {0};
    fam_random_seed(&random, (uint64_t)getpid());
    fixture_open(&f);
    run_ok(fam_session_save(f.a, f.path, error));
    for (int round = 0; round < 60; round++) {
        int status;
        pid_t child = start_saving(&f, f.a, f.b, -1);
        usleep((useconds_t)(fam_random_next(&random) % 12000));
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        found[which(&f) - 'a']++;
    }
    print_message("%d times the one, %d times the other; %d files left over\n", found[0], found[1],
                  files_in(f.directory.path) - 1);
    run_ok(fam_session_save(f.b, f.path, error)); /* what was left over is in nobody's way */
    assert_int_equal(which(&f), 'b');
    fixture_close(&f);
}

/* What a killed process left under the name that this one would use is stepped over, a link too. */
static void leftovers_of_a_killed_writer_are_stepped_over(void **state)
{
    (void)state;
    fixture f;
    char name[320], other[160];
    fixture_open(&f);
    snprintf(other, sizeof other, "%s/other", f.directory.path);
    run_write(other, "precious", 8);
    snprintf(name, sizeof name, "%s.tmp.%ld.0", f.path, (long)getpid());
    run_write(name, "left", 4);
    snprintf(name, sizeof name, "%s.tmp.%ld.1", f.path, (long)getpid());
    assert_int_equal(symlink(other, name), 0);
    run_ok(fam_session_save(f.a, f.path, error));
    assert_int_equal(which(&f), 'a');
    size_t size;
    uint8_t *data = run_read(other, &size);
    assert_int_equal(size, 8);
    assert_memory_equal(data, "precious", 8);
    free(data);
    fixture_close(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(only_plain_files_are_replaced),
    cmocka_unit_test(new_files_are_private_and_old_ones_keep_their_mode),
    cmocka_unit_test(a_write_that_fails_keeps_the_old_file),
    cmocka_unit_test(a_full_disk_keeps_the_old_file),
    cmocka_unit_test(interrupted_system_calls_are_taken_up_again),
    cmocka_unit_test(two_writers_and_a_reader_see_whole_files),
    cmocka_unit_test(a_killed_writer_leaves_the_old_or_the_new),
    cmocka_unit_test(leftovers_of_a_killed_writer_are_stepped_over),
};
SUITE_MAIN(tests)
