#!/usr/bin/env python3
"""scripts/bench.py: the measurements behind docs/PERFORMANCE.md. Start it by scripts/bench.sh.

Every sample is a process of its own (but in target 3); ours and the peer's alternate; a figure is the median of the
samples with the lowest and the highest beside it. Only the Python standard library, and only what the programs print is read: nothing is timed here but
whole processes (target 10).
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
FAM = ROOT / "build" / "fam"
OUT = ROOT / "build" / "bench"
MEMORY = ROOT / "models" / "smollm2-memory"
FULL = os.environ.get("BENCH_FULL", "0") == "1"
REPS = max(1, int(os.environ.get("BENCH_REPS", "5")))
THREADS = int(os.environ.get("BENCH_THREADS", str(os.cpu_count() or 1)))
TYPES = ["bf16", "q8_0", "q4_0", "q4_1"]
FAM_1024 = ["--adapter", str(MEMORY), "--block-size", "1024", "--memory-segments", "0"]


class Sample:
    """The samples of one figure."""

    def __init__(self, values):
        self.values = sorted(values)

    @property
    def median(self):
        return statistics.median(self.values)

    def __str__(self):
        return f"{number(self.median)} ({number(self.values[0])}-{number(self.values[-1])})"


def number(x):
    return f"{x:,.0f}" if abs(x) >= 100 else f"{x:.1f}" if abs(x) >= 10 else f"{x:.3f}"


def note(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def run(command, **keywords):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, stdin=subprocess.DEVNULL, **keywords)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(str(c) for c in command)}: exit {done.returncode}: {done.stderr.strip()[-400:]}")
    return done.stdout


class Bench:
    def __init__(self, model, peers):
        self.model = pathlib.Path(model)
        self.peers = pathlib.Path(peers) if peers else None
        self.rows = []

    # ---- one sample of each program ----

    def ours(self, model, options, prompt_tokens=None, depth=None):
        """Tokens per second of fam: of reading prompt_tokens, or of decoding 64 at a depth."""
        what = (["--prompt-tokens", prompt_tokens, "--depths", 0, "--decode-tokens", 1] if prompt_tokens else
                ["--prompt-tokens", 1, "--depths", depth, "--decode-tokens", 64])
        repetitions = 3 if (prompt_tokens or depth) <= 512 else 1
        answer = json.loads(run([FAM, "bench", model, "--json", "--threads", THREADS, "--repetitions", repetitions, *what,
                                 *options]))
        return answer["prefill" if prompt_tokens else "decode"][0]["tok_s"]

    def peer(self, model, prompt_tokens=0, decode_tokens=0):
        command = [self.peers / "bin" / "llama-bench", "-m", model, "-p", prompt_tokens, "-n", decode_tokens, "-t", THREADS,
                   "-r", 3 if prompt_tokens <= 512 else 1, "-fa", "on", "-o", "jsonl"]
        lines = run(command, env={**os.environ, "OMP_NUM_THREADS": str(THREADS)}).splitlines()
        return statistics.median(json.loads([line for line in lines if line.startswith("{")][-1])["samples_ts"])

    def peer_at_depth(self, model, depth):
        """Decoding with so many tokens in the cache: the better of flash attention off and on, as neither always wins."""
        best = 0
        for flash in (0, 1):
            command = [self.peers / "bin" / "depth", model, depth, THREADS, flash, 16, 0, 1]
            lines = run(command, env={**os.environ, "OMP_NUM_THREADS": str(THREADS)}).splitlines()
            best = max(best, float(dict(line.split("\t")[:2] for line in lines)[f"decode_d{depth}"]))
        return best

    def bandwidth(self):
        return float(run([self.peers / "bin" / "membw", 1024, 5]).split("\t")[1]) * 1e9

    def file(self, kind):
        """The model with weights of this type: the peer's requantised ones, or only Q4_1 without the peer."""
        if kind == "q4_1":
            return self.model
        path = self.peers / "models" / f"smollm2-{kind}.gguf" if self.peers else None
        return path if path and path.exists() else None

    @staticmethod
    def alternate(*programs):
        """REPS samples of each, taking turns."""
        values = [[] for _ in programs]
        for _ in range(REPS):
            for slot, program in zip(values, programs):
                slot.append(program())
        return [Sample(v) for v in values]

    def row(self, target, what, unit, ours, peer=None, ratio=None, want=None, more_is_better=True):
        """ratio: ours against the peer unless given; want: what the ratio must reach (or stay under)."""
        if ratio is None and peer is not None:
            ratio = ours.median / peer.median if more_is_better else peer.median / ours.median
        verdict = ""
        if want is not None and ratio is not None:
            verdict = "ok" if (ratio >= want if more_is_better else ratio <= want) else "short"
        self.rows.append([str(target), what, unit, str(ours), str(peer) if peer else "-",
                          f"{ratio:.2f}" if ratio is not None else "-", f"{want:g}" if want is not None else "-", verdict])
        note("  ".join(self.rows[-1]))

    # ---- the targets ----

    def target_1(self):
        """Prefill in mode full on both sides; bswa and fam beside."""
        best_peer = {}
        for kind in TYPES:
            model = self.file(kind)
            if not model:
                continue
            for tokens in (512, 4096) if kind in ("bf16", "q4_1") else (512,):
                programs = [lambda: self.ours(model, ["--mode", "full"], prompt_tokens=tokens)]
                if self.peers:
                    programs.append(lambda: self.peer(model, prompt_tokens=tokens))
                ours, *peer = self.alternate(*programs)
                if peer and (tokens not in best_peer or peer[0].median > best_peer[tokens][1].median):
                    best_peer[tokens] = (kind, peer[0])
                self.row(1, f"prefill {tokens}, full, {kind}", "tok/s", ours, peer[0] if peer else None)
        for tokens, (kind, peer) in best_peer.items():
            ours, = self.alternate(lambda: self.ours(self.file(kind), ["--mode", "full"], prompt_tokens=tokens))
            self.row(1, f"prefill {tokens}, full, the peer's best type ({kind})", "tok/s", ours, peer, want=1.0)
        for mode in ("bswa", "fam"):
            ours, = self.alternate(lambda: self.ours(self.model, [*FAM_1024, "--mode", mode], prompt_tokens=4096))
            self.row(1, f"prefill 4096, {mode}, adapter, block 1024, q4_1", "tok/s", ours)

    def target_2(self):
        """Decode at equal visible keys, and its share of the bandwidth roof."""
        for kind in TYPES:
            model = self.file(kind)
            if not model:
                continue
            programs = [lambda: self.ours(model, ["--mode", "full"], depth=0)]
            if self.peers:
                programs += [lambda: self.peer(model, decode_tokens=64), self.bandwidth]
            ours, *rest = self.alternate(*programs)
            self.row(2, f"decode 64, empty window, full, {kind}", "tok/s", ours, rest[0] if rest else None, want=1.0)
            if rest:
                share = ours.median * os.path.getsize(model) / rest[1].median
                self.row(2, f"weights read, {kind}: ours against the read bandwidth", "GB/s",
                         Sample([v * os.path.getsize(model) / 1e9 for v in ours.values]),
                         Sample([b / 1e9 for b in rest[1].values]),
                         ratio=share, want=0.85 if kind == "bf16" else None)
        programs = [lambda: self.ours(self.model, ["--mode", "full"], depth=4096)]
        if self.peers:
            programs.append(lambda: self.peer_at_depth(self.model, 4096))
        ours, *peer = self.alternate(*programs)
        self.row(2, "decode at 4,096 visible keys, full, q4_1", "tok/s", ours, peer[0] if peer else None, want=1.0)

    def target_3(self):
        """Decode speed must not depend on what was read."""
        answer = json.loads(run([FAM, "bench", self.model, "--json", "--threads", THREADS, "--adapter", MEMORY,
                                 "--prompt-tokens", 1, "--depths", "4096,65536", "--decode-tokens", 64, "--repetitions", REPS]))
        near, far = (Sample([d["min"], d["tok_s"], d["max"]]) for d in answer["decode"])
        peer = [None, None]
        if self.peers:
            peer = [Sample([self.peer_at_depth(self.model, depth) for _ in range(REPS if FULL or depth < 10000 else 1)])
                    for depth in (4096, 65536)]
        self.row(3, "decode at 4,096 tokens read, fam, q4_1", "tok/s", near, peer[0])
        self.row(3, "decode at 65,536 tokens read, fam, q4_1", "tok/s", far, peer[1])
        self.row(3, "time a token, 65,536 against 4,096", "tok/s", far, None, ratio=near.median / far.median, want=1.05,
                 more_is_better=False)

    def target_4(self):
        """Peak memory does not depend on what was read."""
        long = 1_000_000 if FULL else 100_000
        peaks = []
        for tokens in (10_000, long):
            text = self.text(tokens)
            answer = json.loads(run([FAM, "score", self.model, "--adapter", MEMORY, "--threads", THREADS, "--json",
                                     "--file", text]))
            peaks.append(answer["peak_bytes"] / 2**20)
            self.row(4, f"peak memory after {answer['tokens']:,} tokens, fam", "MiB", Sample([peaks[-1]]))
        self.row(4, f"peak memory, {long:,} against 10,000 tokens", "MiB", Sample([peaks[1]]), None,
                 ratio=peaks[1] / peaks[0], want=1.01, more_is_better=False)

    def target_5(self):
        """What the memory costs over block sliding window attention."""
        def speed(mode, **what):
            return lambda: self.ours(self.model, [*FAM_1024, "--mode", mode], **what)
        for name, what in (("read 8,192", {"prompt_tokens": 8192}), ("decode at 4,096", {"depth": 4096})):
            with_memory, without = self.alternate(speed("fam", **what), speed("bswa", **what))
            self.row(5, f"{name}, bswa, block 1024", "tok/s", without)
            self.row(5, f"{name}, time a token, fam against bswa", "tok/s", with_memory, None,
                     ratio=without.median / with_memory.median, want=1.12, more_is_better=False)

    def target_10(self):
        """From the start of the process to its first token."""
        def start():
            begin = time.monotonic()
            run([FAM, "generate", self.model, "--prompt", "Hello", "--max-tokens", 1, "--threads", THREADS])
            return time.monotonic() - begin
        start()
        ours = Sample([start() for _ in range(max(REPS, 9))])
        self.row(10, "process start to first token, q4_1, warm", "s", ours, None, ratio=ours.median, want=0.5,
                 more_is_better=False)

    def target_11(self):
        """Beside one busy neighbour on a core."""
        def beside(measure):
            child = os.fork()
            if child == 0:
                os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
                while True:
                    pass
            try:
                time.sleep(0.2)
                return measure()
            finally:
                os.kill(child, 9)
                os.waitpid(child, 0)
        kinds = {"prefill 512": lambda: self.ours(self.model, ["--mode", "full"], prompt_tokens=512),
                 "decode 64": lambda: self.ours(self.model, ["--mode", "full"], depth=0)}
        if self.peers:
            kinds["decode 64 of the peer"] = lambda: self.peer(self.model, decode_tokens=64)
        for name, measure in kinds.items():
            quiet, disturbed = self.alternate(measure, lambda m=measure: beside(m))
            self.row(11, f"{name}, q4_1, undisturbed", "tok/s", quiet)
            self.row(11, f"{name}, beside a busy neighbour, against undisturbed", "tok/s", disturbed, None,
                     ratio=disturbed.median / quiet.median, want=None if "peer" in name else 0.45)

    # ---- what they need ----

    def text(self, tokens):
        """A text of about so many tokens: the King James Bible, from its beginning again when it ends."""
        path = OUT / f"text-{tokens}.txt"
        size = tokens * 37 // 10
        data = run(["bible", "-f", "gen1:1-rev22:21"])
        path.write_text((data * (size // len(data) + 1))[:size])
        return path

    def report(self):
        OUT.mkdir(parents=True, exist_ok=True)
        head = ["target", "what", "unit", "ours", "peer", "ratio", "need", ""]
        (OUT / "results.tsv").write_text("".join("\t".join(r) + "\n" for r in [head] + self.rows))
        lines = ["| " + " | ".join(r) + " |" for r in [head, ["---"] * len(head)] + self.rows]
        (OUT / "results.md").write_text("\n".join(lines) + "\n")
        widths = [max(len(r[i]) for r in [head] + self.rows) for i in range(len(head))]
        for r in [head] + self.rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(r, widths)).rstrip())
        print(f"\nMedian (lowest-highest) of {REPS} samples, {THREADS} threads. The same in {OUT.relative_to(ROOT)}/results.tsv")


def cpu():
    fields = dict(line.split(":", 1) for line in open("/proc/cpuinfo").read().split("\n\n")[0].splitlines() if ":" in line)
    fields = {k.strip(): v.strip() for k, v in fields.items()}
    return f"{fields.get('model name', '?')} family {fields.get('cpu family', '?')}"


def stolen():
    ticks = [int(x) for x in open("/proc/stat").readline().split()[1:9]]
    return ticks[7], sum(ticks)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--peers", default="")
    parser.add_argument("targets", nargs="*")
    arguments = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    bench = Bench(arguments.model, arguments.peers)
    print(f"processor   {cpu()}, {THREADS} threads")
    print(f"load before {os.getloadavg()[0]:.2f}")
    if bench.peers:
        print(f"peer        {(bench.peers / 'VERSION').read_text().strip()}")
    steal, total = stolen()
    failures = 0
    for target in arguments.targets or ["1", "2", "3", "4", "5", "10", "11"]:
        note(f"target {target}: {getattr(bench, 'target_' + target).__doc__}")
        try:
            getattr(bench, f"target_{target}")()
        except (RuntimeError, OSError, ValueError, KeyError, IndexError) as reason:
            failures += 1
            note(f"target {target} was not measured: {reason}")
    steal, total = stolen()[0] - steal, stolen()[1] - total
    print(f"load after  {os.getloadavg()[0]:.2f}, stolen by other machines {100 * steal / max(total, 1):.1f} %\n")
    bench.report()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
