#!/usr/bin/env python3
"""scripts/bench_train.py: tokens per second of a training step, ours beside PyTorch's (target 6).
Start it by `make bench-train`.

    bench_train.py [all|lora ...]       shapes of SHAPES; both when none is named
    FAM_TORCH_FAM=FILE                  the peer's script (default ../shared/peers/torch_fam.py)
    FAM_TORCH_PYTHON=python3            a Python that has torch; without it, or the script, only our own figures follow
    BENCH_REPS=5                        samples of each figure, the programs taking turns; the median counts
    BENCH_THREADS=2                     threads on both sides, all cores when left out

Every sample is a process of its own, of several steps after a warm-up, and is the median of its steps. A step is
forward, backward and AdamW of all trained weights. The peer computes products in bfloat16 with float32 masters; ours is
measured in both arithmetic types, as what is faster depends on the processor. Only the Python standard library.
"""
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "bench"
REPS = max(1, int(os.environ.get("BENCH_REPS", "5")))
THREADS = int(os.environ.get("BENCH_THREADS", str(os.cpu_count() or 1)))
PEER = pathlib.Path(os.environ.get("FAM_TORCH_FAM", ROOT.parent / "shared" / "peers" / "torch_fam.py"))
PYTHON = os.environ.get("FAM_TORCH_PYTHON", "python3")
NEED = 1.0  # of the peer's tokens per second

# The same words for both programs.
SHAPES = {
    "all": ("all weights of 7M parameters, 4 x 8 blocks of 256, F 16",
            dict(layers=8, hidden=256, heads=4, kv_heads=4, ff=768, vocab=512, block=256, fam=16, blocks=8, batch=4)),
    "lora": ("LoRA of rank 16 and the prompt of SmolLM2-135M's shape, 1 x 4 blocks of 256, F 64",
             dict(layers=30, hidden=576, heads=9, kv_heads=3, ff=1536, vocab=49152, block=256, fam=64, blocks=4,
                  batch=1, lora=16)),
}


def note(text):
    print(f"bench-train: {text}", file=sys.stderr, flush=True)


def last_json(command, **environment):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          env={**os.environ, **environment})
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(str(c) for c in command)}: exit {done.returncode}: {done.stderr.strip()[-400:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def options(shape):
    return [word for name, value in shape.items() for word in (f"--{name.replace('_', '-')}", value)]


def ours(shape, dtype):
    return last_json([ROOT / "build" / "bench" / "bench_training", *options(shape), "--dtype", dtype, "--threads",
                      THREADS, "--steps", 5, "--warmup", 1, "--json", 1])


def peers(shape):
    return last_json([PYTHON, PEER, "--device", "cpu", *options(shape), "--steps", 5, "--warmup", 1],
                     OMP_NUM_THREADS=str(THREADS))


def why_no_peer():
    if not PEER.exists():
        return f"{PEER} is not there"
    found = subprocess.run([PYTHON, "-c", "import torch"], capture_output=True, text=True)
    return None if found.returncode == 0 else f"{PYTHON} has no torch (FAM_TORCH_PYTHON names another)"


def spread(values):
    return f"{statistics.median(values):,.0f} ({min(values):,.0f}-{max(values):,.0f})"


def measure(name, with_peer):
    what, shape = SHAPES[name]
    programs = {"f32": lambda: ours(shape, "f32"), "bf16": lambda: ours(shape, "bf16")}
    if with_peer:
        programs["peer"] = lambda: peers(shape)
    samples = {key: [] for key in programs}
    for turn in range(REPS):
        for key, program in programs.items():
            answer = program()
            samples[key].append(answer["tokens_per_second"])
            note(f"{name} {turn + 1}/{REPS} {key}: {answer['tokens_per_second']:,.0f} tok/s, loss {answer['loss']}")
    rows = []
    for key in ("f32", "bf16"):
        ratio = statistics.median(samples[key]) / statistics.median(samples["peer"]) if with_peer else None
        rows.append(["6", f"{what}, ours in {key}", "tok/s", spread(samples[key]),
                     spread(samples["peer"]) if with_peer else "-", f"{ratio:.2f}" if with_peer else "-", f"{NEED:g}",
                     ("ok" if ratio >= NEED else "short") if with_peer else ""])
    return rows


def main():
    names = sys.argv[1:] or list(SHAPES)
    for name in names:
        if name not in SHAPES:
            sys.exit(f"bench-train: {name}: found no such shape, need one of {', '.join(SHAPES)}")
    reason = why_no_peer()
    if reason:
        note(f"SKIPPED: the peer: {reason}; only our own figures follow")
    head = ["target", "what", "unit", "ours", "peer", "ratio", "need", ""]
    rows = [head] + [row for name in names for row in measure(name, reason is None)]
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "training.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    print(f"\nMedian (lowest-highest) of {REPS} samples, {THREADS} threads. The same in build/bench/training.tsv")


main()
