#!/bin/sh
# Writes tests/cli/snapshots, docs/COMMANDS.md, docs/fam.1, cli/completion.bash and the reference in docs/RECIPES.md anew
# from what is in build/ (or the folder given). Look at the difference before committing it.
set -e
cd "$(dirname "$0")/../.."
FAM_UPDATE_SNAPSHOTS=1 "${1:-build}/tests/test_cli_usage" \
    help_is_as_in_the_snapshots files_made_from_the_option_table_are_up_to_date mistakes_are_answered_as_in_the_snapshot
FAM_UPDATE_SNAPSHOTS=1 "${1:-build}/tests/test_recipes" the_reference_of_keys_is_up_to_date
FAM_UPDATE_SNAPSHOTS=1 "${1:-build}/tests/test_cli_eval" tables_are_as_in_the_snapshots
