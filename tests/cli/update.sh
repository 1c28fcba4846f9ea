#!/bin/sh
# Writes tests/cli/snapshots, docs/COMMANDS.md, docs/fam.1 and cli/completion.bash anew from the program in build/ (or
# the folder given). Look at the difference before committing it.
set -e
cd "$(dirname "$0")/../.."
FAM_UPDATE_SNAPSHOTS=1 "${1:-build}/tests/test_cli_usage" \
    help_is_as_in_the_snapshots files_made_from_the_option_table_are_up_to_date mistakes_are_answered_as_in_the_snapshot
FAM_UPDATE_SNAPSHOTS=1 "${1:-build}/tests/test_cli_eval" tables_are_as_in_the_snapshots
