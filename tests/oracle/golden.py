"""tests/golden: the golden cases of the reference (seed 1), and the error that the reference makes in bfloat16.

The cases are copied as they are, so that the project stands alone; the reference's README.md says what is in them.
bf16_error.json is {case: {group: error}} for the groups logits, hidden, states and loss: common.bf16_errors.
"""

import shutil

import common

common.need_reference()
target, source = common.ROOT / "tests" / "golden", common.REFERENCE / "golden"
target.mkdir(exist_ok=True)
for case in sorted(path for path in source.iterdir() if path.is_dir()):
    shutil.rmtree(target / case.name, ignore_errors=True)
    for file in sorted(path for path in case.rglob("*") if path.is_file()):
        copy = target / case.name / file.relative_to(case)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
common.said(target)
common.write_json(target / "bf16_error.json", common.bf16_errors(source))
