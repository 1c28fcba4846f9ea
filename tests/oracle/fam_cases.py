"""Golden cases of another seed, for checks on this machine: python tests/oracle/fam_cases.py SEED

Writes build/golden-SEED in the format of tests/golden, with its bf16_error.json. Nothing of it is kept in the
repository.
"""

import sys

import common

common.need_reference()
if len(sys.argv) != 2 or not sys.argv[1].isdecimal():
    sys.exit(__doc__)
import make_golden  # noqa: E402

suite = common.BUILD / f"golden-{sys.argv[1]}"
make_golden.main(int(sys.argv[1]), suite)
common.write_json(suite / "bf16_error.json", common.bf16_errors(suite))
