"""What the generators share: where things lie, and how answers are written."""

import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The copy in the repository; without it ../shared/reference.
REFERENCE = next(
    (
        place
        for place in (ROOT / "tests" / "oracle" / "reference", ROOT.parent / "shared" / "reference")
        if (place / "fam_ref.py").exists()
    ),
    None,
)
FIXTURES = ROOT / "tests" / "fixtures"
BUILD = ROOT / "build"
SMOLLM2 = Path(os.environ.get("SMOLLM2_GGUF", BUILD / "downloads" / "SmolLM2-135M-Instruct.Q4_1.gguf"))

os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def skip(reason):
    """Say loudly that a generator did nothing, and leave: the answers in the repository stay as they are."""
    print(f"\n*** SKIPPED {Path(sys.argv[0]).name}: {reason}\n", file=sys.stderr)
    sys.exit(0)


def need_reference():
    """Make fam_ref, make_golden and gguf_tokenizer importable."""
    if not REFERENCE:
        skip("the reference is neither in tests/oracle/reference nor in ../shared/reference")
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(REFERENCE))


def need_smollm2():
    if not SMOLLM2.exists():
        skip("no SmolLM2: run tests/oracle/make.sh, or set SMOLLM2_GGUF=FILE")
    return SMOLLM2


def said(path):
    """Print what was written."""
    path = Path(path)
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    print(f"{sum(file.stat().st_size for file in files) / 1024:9.1f} KiB  {path.relative_to(ROOT)}")


def write_json(path, value):
    """One line for each entry of the top level: compact, and still readable in a diff."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    dump = lambda v: json.dumps(v, ensure_ascii=True, separators=(",", ":"))
    if isinstance(value, dict):
        text = "{\n" + ",\n".join(f"{dump(k)}:{dump(v)}" for k, v in value.items()) + "\n}\n"
    else:
        text = "[\n" + ",\n".join(dump(v) for v in value) + "\n]\n"
    path.write_text(text, encoding="ascii")
    said(path)


def write_tensors(path, tensors):
    """numpy arrays by name -> one safetensors file."""
    import numpy as np
    from safetensors.numpy import save_file

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, path)
    said(path)


def bf16_errors(suite):
    """{case: {group: error}} of the reference in bfloat16 (weights, activations, state; angles stay in float64).

    An error is max |got - expected| / max |expected|, the largest of a group, as in the field float32_error of
    case.json.
    """
    import make_golden
    import torch

    torch.set_num_threads(1)
    errors = {}
    for case in sorted(path for path in suite.iterdir() if path.is_dir()):
        want, got, error = make_golden.run_case(case), make_golden.run_case(case, torch.bfloat16), {}
        for name in want:
            group = make_golden.group(name)
            error[group] = max(error.get(group, 0.0), make_golden.relative_error(got[name], want[name]))
        errors[case.name] = {group: float(f"{value:.2e}") for group, value in error.items()}
    return errors
