/*
 * Base room: directories that appear at once, and what is refused at their place.
 */
#include "base/directory.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "scratch.h"
#include "suite.h"

static fam_error error;
static fam_memory memory;

static int files_in(const char *directory)
{
    int count = 0;
    DIR *dir = opendir(directory);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    if (dir)
        closedir(dir);
    return count;
}

static void a_new_directory_appears_whole(void **state)
{
    (void)state;
    const char *scratch = scratch_make(), *path = scratch_path(scratch, "new");
    fam_new_directory *directory;
    fam_memory_init(&memory);
    assert_int_equal(fam_new_directory_begin(&directory, &memory, path, &error), FAM_OK);
    assert_int_equal(access(path, F_OK), -1);
    scratch_write_text(fam_new_directory_path(directory), "a", "x");
    scratch_write_text(fam_new_directory_path(directory), ".b", "x");
    assert_int_equal(fam_new_directory_commit(directory, &error), FAM_OK);
    assert_int_equal(files_in(path), 2);
    assert_int_equal(files_in(scratch), 1);
    assert_int_equal(memory.bytes, 0);
    scratch_remove(scratch);
}

static void an_abandoned_one_leaves_nothing(void **state)
{
    (void)state;
    const char *scratch = scratch_make();
    fam_new_directory *directory;
    fam_memory_init(&memory);
    assert_int_equal(fam_new_directory_begin(&directory, &memory, scratch_path(scratch, "new"), &error), FAM_OK);
    scratch_write_text(fam_new_directory_path(directory), "a", "x");
    fam_new_directory_abort(directory);
    fam_new_directory_abort(NULL);
    assert_int_equal(files_in(scratch), 0);
    assert_int_equal(memory.bytes, 0);
    scratch_remove(scratch);
}

static void what_came_in_between_is_not_replaced(void **state)
{
    (void)state;
    const char *scratch = scratch_make(), *path = scratch_path(scratch, "new");
    for (int kind = 0; kind < 3; kind++) {
        fam_new_directory *directory;
        fam_memory_init(&memory);
        assert_int_equal(fam_new_directory_begin(&directory, &memory, path, &error), FAM_OK);
        scratch_write_text(fam_new_directory_path(directory), "a", "x");
        if (kind == 0)
            scratch_write_text(scratch, "new", "theirs");
        else if (kind == 1)
            mkdir(path, 0777); /* an empty one, which rename would replace */
        else
            assert_int_equal(symlink("nowhere", path), 0);
        assert_int_equal(fam_new_directory_commit(directory, &error), FAM_STATUS_IO);
        assert_non_null(strstr(error.message, "new: found something there already"));
        assert_int_equal(files_in(scratch), 1);
        assert_int_equal(fam_new_directory_begin(&directory, &memory, path, &error), FAM_STATUS_IO);
        assert_int_equal(memory.bytes, 0);
        remove(path);
    }
    scratch_remove(scratch);
}

static void directories_are_made_and_files_removed(void **state)
{
    (void)state;
    const char *scratch = scratch_make();
    assert_int_equal(fam_directory_make(scratch_path(scratch, "a"), &error), FAM_OK);
    assert_int_equal(fam_directory_make(scratch_path(scratch, "a"), &error), FAM_OK);
    assert_int_equal(fam_directory_make(scratch_path(scratch, "b/c"), &error), FAM_STATUS_NOT_FOUND);
    scratch_write_text(scratch, "file", "x");
    assert_int_equal(fam_directory_make(scratch_path(scratch, "file"), &error), FAM_STATUS_IO);
    assert_int_equal(fam_file_remove(scratch_path(scratch, "a"), &error), FAM_STATUS_IO);
    assert_int_equal(symlink(scratch_path(scratch, "file"), scratch_path(scratch, "link")), 0);
    assert_int_equal(fam_file_remove(scratch_path(scratch, "link"), &error), FAM_STATUS_IO);
    assert_int_equal(fam_file_remove(scratch_path(scratch, "file"), &error), FAM_OK);
    assert_int_equal(fam_file_remove(scratch_path(scratch, "file"), &error), FAM_OK);
    assert_int_equal(files_in(scratch), 2);
    scratch_remove(scratch);
}

static void paths_are_compared_and_trimmed(void **state)
{
    (void)state;
    const char *scratch = scratch_make();
    static const char *const rows[][2] = {{"a/b//", "a/b"}, {"a", "a"}, {"/", "/"}, {"///", "/"}, {"", ""}};
    uint64_t space = 0;
    fam_memory_init(&memory);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *trimmed = fam_path_trim(&memory, rows[i][0]);
        assert_string_equal(trimmed, rows[i][1]);
        fam_free(&memory, trimmed);
    }
    scratch_write_text(scratch, "x", "x");
    assert_int_equal(symlink("x", scratch_path(scratch, "y")), 0);
    assert_true(fam_path_same(scratch_path(scratch, "x"), scratch_path(scratch, "y")));
    assert_false(fam_path_same(scratch_path(scratch, "x"), scratch));
    assert_false(fam_path_same(scratch_path(scratch, "z"), scratch_path(scratch, "z")));
    assert_int_equal(fam_path_free_space(scratch_path(scratch, "new"), &memory, &space, &error), FAM_OK);
    assert_true(space > 0);
    assert_int_equal(fam_path_free_space(scratch_path(scratch, "no/new"), &memory, &space, &error),
                     FAM_STATUS_NOT_FOUND);
    assert_int_equal(memory.bytes, 0);
    scratch_remove(scratch);
}

static void every_failing_allocation_is_an_error(void **state)
{
    (void)state;
    const char *scratch = scratch_make();
    fam_status status = FAM_STATUS_FAILED;
    size_t fail = 0;
    while (status != FAM_OK) {
        fam_new_directory *directory = NULL;
        fam_memory_init(&memory);
        memory.fail_at = ++fail;
        status = fam_new_directory_begin(&directory, &memory, scratch_path(scratch, "new"), &error);
        if (status != FAM_OK)
            assert_int_equal(status, FAM_STATUS_OUT_OF_MEMORY);
        fam_new_directory_abort(directory);
        assert_int_equal(files_in(scratch), 0);
        assert_int_equal(memory.bytes, 0);
    }
    assert_int_equal(fail, 5);
    scratch_remove(scratch);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_new_directory_appears_whole),        cmocka_unit_test(an_abandoned_one_leaves_nothing),
    cmocka_unit_test(what_came_in_between_is_not_replaced), cmocka_unit_test(directories_are_made_and_files_removed),
    cmocka_unit_test(paths_are_compared_and_trimmed),       cmocka_unit_test(every_failing_allocation_is_an_error),
};
SUITE_MAIN(tests)
