/*
 * Checkpoints of a training run: the whole sequence, what is refused, and what becomes of those that are damaged. Failing
 * system calls and kills are in test_snapshot_faults.
 */
#include "snapshot_fixture.h"

#include <errno.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* ---- the sequence -------------------------------------------------------------------------------------------------- */

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
        expect_names(&f, step == 100 ? "step_00000100" : NULL);
    }
    expect_names(&f, "step_00000400 step_00000500");
    ok(save(&f, 600, 5, error));
    ok(save(&f, 700, 3, error));
    expect_names(&f, "step_00000500 step_00000600 step_00000700");
    ok(save(&f, 800, -7, error)); /* two are kept, whoever asks for less */
    expect_names(&f, "step_00000700 step_00000800");
    fixture_close(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_run_writes_finds_and_rotates_checkpoints),
};
SUITE_MAIN(tests)
