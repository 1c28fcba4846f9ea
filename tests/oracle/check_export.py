"""Opens what fam writes with the programs that it is written for: PEFT, transformers, tokenizers, gguf, llama.cpp.

    python tests/oracle/check_export.py            with build/fam; one line a check, and the counts at the end

Unlike the generators here it needs a built fam and compares with it now. `make test` runs it where the packages of
requirements.txt are at hand. llama.cpp is asked where FAM_LLAMA=PROGRAM names a built llama_greedy.c; SmolLM2 where it
was downloaded.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import traceback

import common
import numpy as np
import peft
import torch
import transformers
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

FAM = common.BUILD / "fam"
TINY = common.FIXTURES / "tiny_llama"
LLAMA = os.environ.get("FAM_LLAMA")
MEMORY = next((p for p in (common.ROOT / "models" / "smollm2-memory",) if p.exists()), None)
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LINES = [
    "Call me  12 Ishmael <|im_end|>\n\n",
    "a  1\t\u00e4\u4e2d\U0001f600 don't 3.14159",
    "  def f(x):\n        return x\n",
]

passed = failed = skipped = 0


class Skip(Exception):
    pass


def fam(*arguments, **more):
    result = subprocess.run([FAM, *map(str, arguments)], capture_output=True, **more)
    if result.returncode:
        raise AssertionError(f"fam {' '.join(map(str, arguments))}: {result.returncode}: {result.stderr.decode()}")
    return result.stdout.decode()


def nll(model, ids, *options):
    """What fam says of the ids in float32."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(ids, file)
        file.flush()
        return json.loads(fam("score", model, "--ids-file", file.name, "--dtype", "f32", "--json", *options))["nll"]


@torch.no_grad()
def torch_nll(model, ids):
    x = torch.tensor([ids])
    logits = model(x).logits[0, :-1].double()
    return torch.nn.functional.cross_entropy(logits, x[0, 1:]).item()


def near(got, want, tolerance, what):
    assert abs(got - want) <= tolerance, f"{what}: found {got}, need {want} within {tolerance}"


def tiny(dtype=torch.float32):
    return LlamaForCausalLM.from_pretrained(TINY / "gqa_tied_f32", dtype=dtype)


def tokens():
    return json.loads((TINY / "gqa_tied_f32.tokens.json").read_text())


# ---- PEFT ----


def peft_adapter(folder, seed, dtype=torch.float32, **settings):
    """PEFT saves an adapter with drawn numbers; returns the merged model."""
    model = peft.get_peft_model(tiny(), peft.LoraConfig(task_type="CAUSAL_LM", **settings))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            if ".lora_" in name:
                weight.copy_((torch.randn(weight.shape, generator=generator) * 0.2).to(dtype).float())
    model.save_pretrained(folder)
    return model.merge_and_unload()


def what_peft_saves_is_read_and_merged(folder):
    rows = [
        dict(r=4, lora_alpha=8, target_modules=PROJECTIONS),
        dict(r=3, lora_alpha=4, use_rslora=True, target_modules=["q_proj", "v_proj"]),
        dict(r=2, lora_alpha=1, target_modules="all-linear", init_lora_weights="gaussian"),
        dict(r=5, lora_alpha=7, target_modules=r".*\.(gate|up)_proj", lora_dropout=0.1),
    ]
    ids = tokens()
    for number, row in enumerate(rows):
        adapter = folder / f"adapter{number}"
        model = peft_adapter(adapter, number, **row).eval()
        near(nll(TINY / "gqa_tied_f32", ids, "--adapter", adapter), torch_nll(model, ids), 2e-5, f"{row} apart")
        out = folder / f"merged{number}"
        fam("export", TINY / "gqa_tied_f32", "--adapter", adapter, "--out", out)
        want, got = model.state_dict(), load_file(out / "model.safetensors")
        assert set(got) == set(want) - {"lm_head.weight"}, set(got) ^ set(want)
        for name, tensor in got.items():
            error = np.abs(tensor - want[name].numpy()).max() / np.abs(tensor).max()
            assert error <= 2e-7, f"{row}: {name}: off by {error}"


def what_fam_writes_loads_in_peft(folder):
    written = common.FIXTURES / "peft" / "written"  # test_adapter_write asserts that these are fam's bytes
    ids = tokens()
    model = peft.PeftModel.from_pretrained(tiny(), written).eval()
    near(nll(TINY / "gqa_tied_f32", ids, "--adapter", written), torch_nll(model, ids), 2e-5, "fam's adapter in PEFT")
    model.save_pretrained(folder / "again")
    near(nll(TINY / "gqa_tied_f32", ids, "--adapter", folder / "again"), torch_nll(model, ids), 2e-5, "and saved again")


# ---- transformers ----


def exports_open_in_transformers(folder):
    for name in ("gqa_tied_f32", "mqa_untied_bf16", "llama3_rope", "llama3_rope_old", "gguf-Q4_1.gguf",
                 "gguf-llama3_rope.gguf", "gguf-untied_mqa.gguf"):
        out = folder / name.removesuffix(".gguf")
        fam("export", TINY / name, "--out", out, "--type", "f32")
        ids = tokens()
        model, info = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32, output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"], info
        near(nll(TINY / name, ids), torch_nll(model.eval(), ids), 2e-5, name)


def fam_settings_do_not_disturb_transformers(folder):
    base = common.ROOT / "tests" / "golden" / "fam_lora_train"
    out = folder / "fam"
    fam("export", base, "--adapter", base / "adapter", "--out", out)
    model, info = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32, output_loading_info=True)
    assert not info["missing_keys"] and set(info["unexpected_keys"]) <= {"fam.prompt"}, info
    ids = json.loads((base / "case.json").read_text())["tokens"]
    near(nll(out, ids, "--mode", "full"), torch_nll(model.eval(), ids), 2e-5, "mode full")


# ---- gguf ----


def unpermuted(rows, heads):
    """llama.cpp's order of Q and K rows to Hugging Face's."""
    return rows.reshape(heads, -1, 2, rows.shape[-1]).swapaxes(1, 2).reshape(rows.shape)


def exports_open_in_gguf(folder):
    names = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
             "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
             "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
    for name, kind in (("gqa_tied_f32", "f32"), ("sharded_head_dim", "f16"), ("llama3_rope", "bf16")):
        out = folder / f"{name}.gguf"
        fam("export", TINY / name, "--out", out, "--type", kind)
        config = json.loads((TINY / name / "config.json").read_text())
        want = {key: value.float().numpy() for key, value in
                LlamaForCausalLM.from_pretrained(TINY / name, dtype=torch.float32).state_dict().items()}
        reader = GGUFReader(out)
        seen = set()
        for tensor in reader.tensors:
            if tensor.name == "rope_freqs.weight":
                continue
            parts = tensor.name.split(".")
            hf = (f"model.layers.{parts[1]}.{names[parts[2]]}.weight" if parts[0] == "blk" else
                  {"token_embd": "model.embed_tokens.weight", "output_norm": "model.norm.weight",
                   "output": "lm_head.weight"}[parts[0]])
            values = dequantize(tensor.data, tensor.tensor_type).reshape(want[hf].shape)
            if parts[-2] in ("attn_q", "attn_k"):
                heads = "num_attention_heads" if parts[-2] == "attn_q" else "num_key_value_heads"
                values = unpermuted(values, config[heads])
            limit = {"f32": 0, "f16": 2 ** -11, "bf16": 2 ** -8}[kind]
            assert np.all(np.abs(values - want[hf]) <= limit * np.abs(want[hf]) + 1e-7 * (kind == "f16")), tensor.name
            seen.add(hf)
        assert seen >= set(want) - {"lm_head.weight"}, set(want) - seen
        assert reader.fields["general.architecture"].contents() == "llama"
        if name == "llama3_rope":
            factors = lambda file: next(t.data for t in file.tensors if t.name == "rope_freqs.weight")
            new, old = factors(reader), factors(GGUFReader(TINY / "gguf-llama3_rope.gguf"))
            assert np.allclose(new, old, rtol=1e-6), (new, old)


# ---- SmolLM2 ----


def smollm2():
    if not common.SMOLLM2.exists():
        raise Skip("no SmolLM2: scripts/get-smollm2.sh")
    return common.SMOLLM2


def smollm2_goes_to_transformers(folder):
    out = folder / "hf"
    options = ["--adapter", MEMORY] if MEMORY else []
    fam("export", smollm2(), *options, "--out", out, "--type", "f32")
    tokenizer = AutoTokenizer.from_pretrained(out)
    for line in LINES:
        for source in (smollm2(), out):
            ids = [int(word) for word in fam("tokenize", source, "--special", "--prompt", line).split()]
            assert tokenizer(line).input_ids == ids, (line, tokenizer(line).input_ids, ids)
        assert tokenizer.decode(tokenizer(line).input_ids, clean_up_tokenization_spaces=False) == line
    hello = [{"role": "user", "content": "Hi"}]
    chat = tokenizer.apply_chat_template(hello, tokenize=False, add_generation_prompt=True)
    assert chat.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"), chat
    model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    ids = tokenizer("The sea was calm, and the ship lay still under the stars; nobody spoke for a long time.").input_ids
    near(nll(out, ids, "--mode", "full"), torch_nll(model, ids), 1e-4, "SmolLM2")


def llama_cpp(model, prompt, count):
    result = subprocess.run([LLAMA, model, prompt, str(count)], capture_output=True, text=True)
    if result.returncode:
        raise AssertionError(f"llama.cpp: {result.returncode}: {result.stderr[-1500:]}")
    assert not result.stderr, result.stderr  # its loader warns of tokenizers that it doubts
    return [[int(word) for word in line.split()] for line in result.stdout.splitlines()]


def exports_open_in_llama_cpp(folder):
    if not LLAMA:
        raise Skip("no llama.cpp: FAM_LLAMA=PROGRAM, built from tests/oracle/llama_greedy.c")
    options = ["--adapter", MEMORY] if MEMORY else []
    fam("export", smollm2(), *options, "--out", folder / "hf", "--type", "f32")
    rows = [(smollm2(), "a.gguf", "f32", options), (smollm2(), "b.gguf", "bf16", options),
            (folder / "hf", "c.gguf", "f32", [])]  # from a GGUF file; from a directory made of one
    for source, name, kind, more in rows:
        out = folder / name
        fam("export", source, *more, "--out", out, "--type", kind)
        for prompt in ("The capital of Italy is", "Once upon a time, in 1984,  there was"):
            read, greedy = llama_cpp(out, prompt, 16)
            assert read == [int(word) for word in fam("tokenize", out, "--prompt", prompt).split()], (prompt, read)
            ours = fam("generate", out, "--mode", "full", "--prompt", prompt, "--max-tokens", 16, "--dtype", "f32")
            theirs = fam("tokenize", out, "--decode", "--ids", " ".join(map(str, greedy)))
            assert ours and theirs.startswith(ours), f"{name}: found {theirs!r}, need {ours!r}"
        out.unlink()


@torch.no_grad()
def greedy_error(model, read, chosen):
    """How far below the largest logit the chosen ids are at most: llama.cpp rounds more than transformers does."""
    logits = model(torch.tensor([read + chosen])).logits[0, len(read) - 1 : -1]
    return (logits.max(-1).values - logits.gather(-1, torch.tensor(chosen)[:, None])[:, 0]).max().item()


def each_pre_tokenizer_opens_in_llama_cpp(folder):
    """With a vocabulary that is shorter than the model's, and llama3's scaling of RoPE."""
    if not LLAMA:
        raise Skip("no llama.cpp: FAM_LLAMA=PROGRAM, built from tests/oracle/llama_greedy.c")
    for name in ("split_llama3", "gpt2", "digits"):
        torch.manual_seed(3)
        config = transformers.LlamaConfig(
            vocab_size=2010, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, head_dim=16, max_position_embeddings=4096, initializer_range=0.3,
            rope_parameters=dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0,
                                 high_freq_factor=4.0, original_max_position_embeddings=64),
        )
        model = LlamaForCausalLM(config).eval()
        model.save_pretrained(folder / name)
        shutil.copy(common.FIXTURES / "tokenizer" / "reduced" / name / "tokenizer.json", folder / name)
        out = folder / f"{name}.gguf"
        fam("export", folder / name, "--out", out)
        for line in LINES:
            read, chosen = llama_cpp(out, line, 16)
            for place in (folder / name, out):
                assert read == [int(w) for w in fam("tokenize", place, "--special", "--prompt", line).split()], line
            error = greedy_error(model, read, chosen)
            assert error < 0.01, f"{name}: {line!r}: off by {error}"


def check(test):
    global passed, failed, skipped
    from pathlib import Path

    folder = Path(tempfile.mkdtemp(prefix="fam-export-"))
    try:
        test(folder)
        passed += 1
        print(f"pass {test.__name__}", flush=True)
    except Skip as reason:
        skipped += 1
        print(f"SKIP {test.__name__}: {reason}", flush=True)
    except Exception:
        failed += 1
        print(f"FAIL {test.__name__}", flush=True)
        traceback.print_exc()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main():
    torch.set_num_threads(2)
    transformers.logging.set_verbosity_error()
    for test in (what_peft_saves_is_read_and_merged, what_fam_writes_loads_in_peft, exports_open_in_transformers,
                 fam_settings_do_not_disturb_transformers, exports_open_in_gguf, smollm2_goes_to_transformers,
                 exports_open_in_llama_cpp, each_pre_tokenizer_opens_in_llama_cpp):
        check(test)
    sys.stderr.flush()
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
