"""tests/fixtures/smollm2: what transformers makes of SmolLM2-135M-Instruct (the Q4_1 GGUF file), and the reference
of its memory.

    prompts.json            for each prompt: `text`, `special` (its special tokens are recognised), `ids`;
                            `continuation`: 32 ids chosen greedily (fewer when the end token came, which is then the
                            last), `continuation_text` (without the end token), `margins`: how far the best logit is
                            above the second at each step; `float32_error`: the largest error of transformers' own
                            float32 logits of the last position
    logits-N.safetensors    of prompt N, the last position: `ids` I32 [576] and `values` F32: the 64 largest, then
                            512 fixed others
    score.json              `text`, `ids`, and `nll`, the mean over tokens 1 … T-1, in mode full; `modes`: the same
                            in other modes (`options`: fam settings; `adapter`: whether the memory is loaded)
    score.safetensors       `nll` F32 [T-1] of mode full, one per predicted token
    passkey.json            the document passkey-4000 with the memory, mode fam, and with the adapter in mode bswa:
                            `file`, `tokens`, `ids_hash` (XXH64, seed 0, of the ids as little-endian int32),
                            `continuation` of 8 ids, `text`, `margins`

Weights are dequantised by the `gguf` package. prompts and score are transformers in float64; the reference (fam_ref.py)
computes `modes` in float64 and passkey.json in float32.
"""

import gguf
import numpy as np
import torch
import xxhash
from transformers import LlamaConfig, LlamaForCausalLM

import common
import hf

common.need_reference()
import fam_ref  # noqa: E402
import gguf_tokenizer  # noqa: E402

OUT = common.FIXTURES / "smollm2"
PROMPTS = [  # text, and whether its special tokens are recognised
    ("The capital of France is Paris. The capital of Italy is Rome. The capital of Japan is", False),
    (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\n"
        "Explain in two sentences why the sky is blue.<|im_end|>\n<|im_start|>assistant\n",
        True,
    ),
    (
        'def fibonacci(n):\n    """Return the first n Fibonacci numbers, 0 and 1 being the first two."""\n'
        "    numbers = [0, 1]\n"
        "    for i in range(2, n):\n",
        False,
    ),
]
MODES = [
    dict(mode="full"),
    dict(mode="swa", window=64),
    dict(mode="bswa", block_size=64),
    dict(mode="bswa", block_size=64, memory_segments=2),
]
FAM_MODES = [
    dict(),
    dict(memory_segments=1),
    dict(block_size=96),
    dict(block_size=96, state_norm="none", fam_positions="float"),
    dict(mode="bswa"),
]


def load_transformers(path):
    """LlamaForCausalLM in float32 with the tensors of the GGUF file."""
    shape, _, tensors = fam_ref.read_gguf(path)
    model = LlamaForCausalLM(
        LlamaConfig(
            **{
                **shape,
                "rope_theta": None,
                "rope_parameters": dict(rope_type="default", rope_theta=shape["rope_theta"]),
            },
            max_position_embeddings=8192,
            attn_implementation="sdpa",
        )
    ).eval()
    result = model.load_state_dict(tensors, strict=False)
    assert not result.unexpected_keys and set(result.missing_keys) <= {"lm_head.weight"}, result
    model.tie_weights()
    return model


@torch.no_grad()
def greedy(model, ids, end, count=32):
    """-> ids chosen, margins"""
    chosen, margins, cache, feed = [], [], None, ids
    while len(chosen) < count and (not chosen or chosen[-1] != end):
        output = model(torch.tensor([feed]), past_key_values=cache, use_cache=True)
        best = output.logits[0, -1].topk(2)
        chosen.append(int(best.indices[0]))
        margins.append(round(float(best.values[0] - best.values[1]), 4))
        cache, feed = output.past_key_values, chosen[-1:]
    return chosen, margins


def encode(tokenizer, text, special=False):
    tokenizer.encode_special_tokens = not special
    return tokenizer.encode(text, add_special_tokens=False).ids


def write_prompts(model, tokenizer, end):
    entries, vocabulary = [], model.config.vocab_size
    others = np.random.default_rng(1).permutation(vocabulary)
    all_ids = [encode(tokenizer, text, special) for text, special in PROMPTS]
    in_float32 = [(hf.logits(model, ids)[-1], greedy(model, ids, end)) for ids in all_ids]
    hf.in_float64(model)
    for number, ((text, special), ids, (logits32, (chosen32, _))) in enumerate(zip(PROMPTS, all_ids, in_float32)):
        logits = hf.logits(model, ids)[-1]
        chosen, margins = greedy(model, ids, end)
        assert chosen == chosen32, (chosen, chosen32)
        top = logits.topk(64).indices.numpy()
        kept = np.concatenate([top, others[~np.isin(others, top)][:512]]).astype(np.int32)
        common.write_tensors(
            OUT / f"logits-{number}.safetensors", {"ids": kept, "values": logits.float().numpy()[kept]}
        )
        entries.append(
            {
                "text": text,
                "special": special,
                "ids": ids,
                "continuation": chosen,
                "continuation_text": tokenizer.decode([i for i in chosen if i != end], skip_special_tokens=False),
                "margins": margins,
                "float32_error": float(f"{(logits - logits32).abs().max():.1e}"),
            }
        )
        print(repr(entries[-1]["continuation_text"]), "margin", min(margins), "float32", entries[-1]["float32_error"])
    common.write_json(OUT / "prompts.json", entries)


def each_nll(logits, ids):
    return torch.nn.functional.cross_entropy(logits[:-1].double(), torch.tensor(ids)[1:], reduction="none")


@torch.no_grad()
def write_score(model, tokenizer, path, adapter):
    text = (common.ROOT / "tests" / "oracle" / "genesis-1.txt").read_text()
    ids = encode(tokenizer, text)
    nll = each_nll(hf.logits(model, ids), ids)
    modes = []
    for use_adapter, settings in ((False, MODES), (True, FAM_MODES)) if adapter else ((False, MODES),):
        for options in settings:
            reference = fam_ref.load(path, adapter if use_adapter else None, **options)
            value = each_nll(reference.forward(torch.tensor(ids)).logits, ids).mean().item()
            modes.append({"adapter": use_adapter, "options": options, "nll": value})
            print(modes[-1])
            del reference
    assert abs(modes[0]["nll"] - nll.mean().item()) < 1e-9
    common.write_json(OUT / "score.json", {"text": text, "ids": ids, "nll": nll.mean().item(), "modes": modes})
    common.write_tensors(OUT / "score.safetensors", {"nll": nll.float().numpy()})


@torch.no_grad()
def write_passkey(tokenizer, path, adapter):
    file = next(adapter.glob("passkey-4000-*.txt"))
    ids = encode(tokenizer, file.read_bytes().decode())
    result = {
        "file": file.name,
        "tokens": len(ids),
        "ids_hash": xxhash.xxh64(np.array(ids, dtype="<i4").tobytes(), seed=0).hexdigest(),
    }
    for mode in ("fam", "bswa"):
        session = fam_ref.Session(fam_ref.load(path, adapter, dtype=torch.float32, mode=mode))
        for first in range(0, len(ids), 256):
            logits = session.feed(torch.tensor(ids[first : first + 256]))
        chosen, margins = [], []
        for _ in range(8):
            best = logits[-1].topk(2)
            chosen.append(int(best.indices[0]))
            margins.append(round(float(best.values[0] - best.values[1]), 4))
            logits = session.feed(torch.tensor(chosen[-1:]))
        result[mode] = {
            "continuation": chosen,
            "text": tokenizer.decode(chosen, skip_special_tokens=False),
            "margins": margins,
        }
        print(mode, result[mode])
        del session
    common.write_json(OUT / "passkey.json", result)


def main():
    torch.set_num_threads(2)
    path = common.need_smollm2()
    adapter = next(
        (
            place
            for place in (common.ROOT / "models" / "smollm2-memory", common.ROOT.parent / "shared" / "smollm2-memory")
            if (place / "adapter_config.json").exists()
        ),
        None,
    )
    tokenizer = gguf_tokenizer.load(path)
    end = gguf.GGUFReader(path).fields["tokenizer.ggml.eos_token_id"].contents()
    model = load_transformers(path)
    write_prompts(model, tokenizer, end)
    write_score(model, tokenizer, path, adapter)
    del model
    if adapter:
        write_passkey(tokenizer, path, adapter)
    else:
        print("*** SKIPPED passkey.json: no smollm2-memory")


if __name__ == "__main__":
    main()
