"""tests/golden: the golden cases of the reference (seed 1), and the error that the reference makes in bfloat16.

tests/oracle/reference/README.md says what is in a case. Two fields of case.json, float32_error and the tolerance made
from it, are measured and differ a little from machine to machine: where all else is as it was, the case.json in the
repository stays. bf16_error.json is {case: {group: error}} for the groups logits, hidden, states, loss and grad:
common.bf16_errors.
"""

import json
import shutil

import common

common.need_reference()
import make_golden  # noqa: E402

MEASURED = ("float32_error", "tolerance")


def unmeasured(path):
    return {key: value for key, value in json.loads(path.read_text()).items() if key not in MEASURED}


def keep(case, copy):
    """Whether the case.json at hand says the same as the new one."""
    return copy.exists() and unmeasured(case) == unmeasured(copy)


target, source = common.ROOT / "tests" / "golden", common.BUILD / "golden-1"
target.mkdir(exist_ok=True)
shutil.rmtree(source, ignore_errors=True)
make_golden.main(1, source)
for case in sorted(path for path in source.iterdir() if path.is_dir()):
    if keep(case / "case.json", target / case.name / "case.json"):
        shutil.copyfile(target / case.name / "case.json", case / "case.json")
    shutil.rmtree(target / case.name, ignore_errors=True)
    shutil.copytree(case, target / case.name)
common.said(target)
common.write_json(target / "bf16_error.json", common.bf16_errors(source))
