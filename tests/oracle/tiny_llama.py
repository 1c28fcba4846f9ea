"""tests/fixtures/tiny_llama: small random Llama models as transformers, gguf and peft write them, with their logits.

    NAME/            a directory that LlamaForCausalLM.save_pretrained wrote (gguf-NAME.gguf: a file
                     that the gguf package wrote)
    NAME.tokens.json, NAME.expected.safetensors      for each: the ids [T], and `logits` [T, V]

All answers are transformers in float64 on the stored weights (of a GGUF file: on the dequantised ones), rounded to
float32.

    gqa_tied_f32        grouped heads, tied embeddings
    mqa_untied_bf16     one key/value head; stored in bfloat16
    llama3_rope         rope scaling `llama3` (8, 1, 4, 64) as transformers 5 writes it: key rope_parameters
    llama3_rope_old     the same kind of scaling as Llama 3.1's own files have it: keys rope_theta, rope_scaling,
                        torch_dtype
    sharded_head_dim    several shards with their index; heads x head_dim is not hidden_size
    mha_untied_f16      as many key/value heads as heads; stored in float16
    gguf-TYPE           gqa_tied_f32 as a GGUF file: Q and K permuted as llama.cpp's converter does, matrices of that
                        type, norms in F32, and a byte-level BPE vocabulary of 101 tokens (printable ASCII, blank,
                        newline, four merges)
    gguf-mixed          as SmolLM2 comes: embeddings Q8_0, other matrices Q4_1
    gguf-llama3_rope    llama3_rope as a GGUF file: the factors are the tensor rope_freqs.weight
    gguf-untied_mqa     mqa_untied_bf16 as a GGUF file in BF16, with an output matrix
    lora, rslora        PEFT adapters of gqa_tied_f32 (r 4, alpha 8, all seven projections; q, v and down with rsLoRA,
                        r 3, alpha 4). LORA.expected has `logits`, and `logits_half` at scale 0.5; lora_rslora.expected has
                        both applied (`logits`; `logits_scaled` at 0.5 and 2)
"""

import json
import shutil

import gguf
import numpy as np
import peft
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import common
import hf

OUT = common.FIXTURES / "tiny_llama"
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LLAMA3 = dict(
    rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64
)
SHAPE = dict(
    vocab_size=101,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=512,
    rms_norm_eps=1e-5,
    bos_token_id=0,
    eos_token_id=0,
)


def random_model(seed, **settings):
    """Weights that give sharp attention and logits of order 1: transformers' own start is nearly flat."""
    config = LlamaConfig(**{**SHAPE, **settings}, attn_implementation="sdpa")
    model, rng = LlamaForCausalLM(config), np.random.default_rng(seed)
    gain = {"q_proj": 1.5, "k_proj": 1.5, "gate_proj": 1.5, "o_proj": 1.2, "lm_head": 1.5}
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 1:
                value = rng.uniform(0.6, 1.4, weight.shape)
            elif "embed_tokens" in name:
                value = rng.normal(0, 0.3 if config.tie_word_embeddings else 0.7, weight.shape)
            else:
                value = rng.normal(0, gain.get(name.split(".")[-2], 1.0) / weight.shape[1] ** 0.5, weight.shape)
            weight.copy_(torch.from_numpy(value))
    return model


def answer(name, model, seed, length=40, **more):
    """Tokens for the model and the logits that they give, in float64."""
    tokens = np.random.default_rng([seed, 1]).integers(0, model.config.vocab_size, length).tolist()
    plain = hf.logits(model.float().eval(), tokens)
    exact = hf.logits(hf.in_float64(model), tokens)
    assert (plain - exact).abs().max() < 2e-4 and exact.std() > 0.3, (name, (plain - exact).abs().max(), exact.std())
    common.write_json(OUT / f"{name}.tokens.json", tokens)
    return tokens, exact


def write_answer(name, **tensors):
    common.write_tensors(
        OUT / f"{name}.expected.safetensors", {key: value.float().numpy() for key, value in tensors.items()}
    )


def save_directory(name, seed, dtype=torch.float32, old_config=None, length=40, shard="1GB", **settings):
    model = random_model(seed, **settings).to(dtype)
    model.save_pretrained(OUT / name, max_shard_size=shard)
    if old_config:
        path = OUT / name / "config.json"
        config = json.loads(path.read_text())
        config.pop("rope_parameters"), config.pop("dtype", None)
        path.write_text(json.dumps({**config, **old_config}, indent=2, sort_keys=True) + "\n")
    model = LlamaForCausalLM.from_pretrained(OUT / name, dtype=torch.float32, attn_implementation="sdpa")
    common.said(OUT / name)
    write_answer(name, logits=answer(name, model, seed, length)[1])


# ---- GGUF ------------------------------------------------------------------------------------------------------------

GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
KINDS = gguf.GGMLQuantizationType


def permute(weight, heads):
    """LlamaModel.permute of llama.cpp's convert_hf_to_gguf.py"""
    return weight.reshape(heads, 2, len(weight) // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def unpermute(weight, heads):
    return weight.reshape(heads, len(weight) // heads // 2, 2, -1).swapaxes(1, 2).reshape(weight.shape)


def tiny_vocabulary():
    """101 tokens of byte-level BPE: <|endoftext|>, printable ASCII, the blank (Ġ), the newline (Ċ), four merges."""
    merges = [("t", "h"), ("Ġ", "th"), ("i", "n"), ("Ġth", "e")]
    return ["<|endoftext|>", *map(chr, range(0x21, 0x7F)), "Ġ", "Ċ", *("".join(pair) for pair in merges)], merges


def save_gguf(name, source, kind_of, seed, length=40):
    """The model of a directory as a GGUF file. kind_of(GGUF name of a matrix) is its type; norms are F32."""
    model = LlamaForCausalLM.from_pretrained(OUT / source, dtype=torch.float32, attn_implementation="sdpa")
    config, path = model.config, OUT / f"{name}.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_vocab_size(config.vocab_size)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    tokens, merges = tiny_vocabulary()
    assert len(tokens) == config.vocab_size
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3] + [1] * (len(tokens) - 1))
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(False)
    if (
        config.rope_parameters["rope_type"] == "llama3"
    ):  # what the converter writes: divisors of the inverse frequencies
        scaled = hf.inverse_frequencies(config)
        plain = config.rope_parameters["rope_theta"] ** (-torch.arange(len(scaled), dtype=torch.float64) / len(scaled))
        writer.add_tensor("rope_freqs.weight", (plain / scaled).float().numpy())
    state, stored = model.state_dict(), {}
    for key, weight in state.items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        prefix, short = "", key.removesuffix(".weight")
        if short.startswith("model.layers."):
            _, _, number, short = short.split(".", 3)
            prefix = f"blk.{number}."
        short, data = GGUF_NAMES[short], weight.numpy()
        heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(short)
        if heads:
            data = permute(data, heads)
        kind = KINDS.F32 if data.ndim == 1 else kind_of(short)
        data = gguf.quants.quantize(np.ascontiguousarray(data), kind)
        writer.add_tensor(prefix + short + ".weight", data, raw_dtype=kind)
        data = gguf.quants.dequantize(data, kind)
        stored[key] = torch.from_numpy((unpermute(data, heads) if heads else data).copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    common.said(path)
    if config.tie_word_embeddings:
        stored["lm_head.weight"] = stored["model.embed_tokens.weight"]
    model.load_state_dict(stored)
    write_answer(name, logits=answer(name, model, seed, length)[1])


# ---- PEFT ------------------------------------------------------------------------------------------------------------


def base():
    return LlamaForCausalLM.from_pretrained(OUT / "gqa_tied_f32", dtype=torch.float32, attn_implementation="sdpa")


def with_adapters(tokens, scales):
    """The logits with the adapters of `scales` {name: factor} merged one after the other, by peft, in float64."""
    model = base().double()
    for name, factor in scales.items():
        wrapped = peft.PeftModel.from_pretrained(model, OUT / name, torch_dtype=torch.float64).double()
        for module in wrapped.modules():
            if isinstance(module, peft.tuners.lora.LoraLayer):
                module.scaling["default"] *= factor
        model = wrapped.merge_and_unload()
    return hf.logits(hf.in_float64(model), tokens)


def save_adapter(name, seed, **settings):
    model = peft.get_peft_model(base(), peft.LoraConfig(task_type="CAUSAL_LM", **settings))
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for key, weight in sorted(model.named_parameters()):
            if ".lora_" in key:
                size = weight.shape[1] ** -0.5 if "lora_A" in key else 0.2
                weight.copy_(torch.from_numpy(rng.normal(0, size, weight.shape)))
    model.peft_config["default"].base_model_name_or_path = "gqa_tied_f32"
    model.save_pretrained(OUT / name)
    (OUT / name / "README.md").unlink()
    path = OUT / name / "adapter_config.json"
    config = json.loads(path.read_text())
    config["target_modules"] = sorted(config["target_modules"], key=PROJECTIONS.index)  # peft writes a set
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    common.said(OUT / name)


def main():
    torch.set_num_threads(1)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    theta = lambda value: dict(rope_theta=value, rope_type="default")
    save_directory("gqa_tied_f32", 1, tie_word_embeddings=True, rope_parameters=theta(10000.0))
    save_directory("mqa_untied_bf16", 2, torch.bfloat16, num_key_value_heads=1, rope_parameters=theta(100000.0))
    save_directory("llama3_rope", 3, length=150, rope_parameters=dict(rope_theta=10000.0, **LLAMA3))
    save_directory(
        "llama3_rope_old",
        4,
        length=150,
        rope_parameters=dict(rope_theta=500.0, **LLAMA3),
        head_dim=16,
        old_config=dict(rope_theta=500.0, rope_scaling=LLAMA3, torch_dtype="float32"),
    )
    save_directory(
        "sharded_head_dim",
        5,
        shard="24KB",
        hidden_size=48,
        num_attention_heads=6,
        num_key_value_heads=3,
        head_dim=12,
        num_hidden_layers=3,
        intermediate_size=40,
        rope_parameters=theta(10000.0),
    )
    save_directory(
        "mha_untied_f16", 6, torch.float16, num_key_value_heads=4, rms_norm_eps=1e-6, rope_parameters=theta(10000.0)
    )
    for name in ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1"):
        save_gguf(f"gguf-{name}", "gqa_tied_f32", lambda _, name=name: KINDS[name], 1)
    save_gguf("gguf-mixed", "gqa_tied_f32", lambda name: KINDS.Q8_0 if name == "token_embd" else KINDS.Q4_1, 1)
    save_gguf("gguf-llama3_rope", "llama3_rope", lambda _: KINDS.F16, 3, length=150)
    save_gguf("gguf-untied_mqa", "mqa_untied_bf16", lambda _: KINDS.BF16, 2)
    save_adapter("lora", 7, r=4, lora_alpha=8, target_modules=PROJECTIONS)
    save_adapter("rslora", 8, r=3, lora_alpha=4, use_rslora=True, target_modules=["q_proj", "v_proj", "down_proj"])
    tokens = json.loads((OUT / "gqa_tied_f32.tokens.json").read_text())
    for name in ("lora", "rslora"):
        wrapped = hf.in_float64(
            peft.PeftModel.from_pretrained(base(), OUT / name)
        )  # apart, not merged: the same numbers
        logits = with_adapters(tokens, {name: 1.0})
        assert (hf.logits(wrapped, tokens) - logits).abs().max() < 1e-5, name
        write_answer(name, logits=logits, logits_half=with_adapters(tokens, {name: 0.5}))
    write_answer(
        "lora_rslora",
        logits=with_adapters(tokens, {"lora": 1.0, "rslora": 1.0}),
        logits_scaled=with_adapters(tokens, {"lora": 0.5, "rslora": 2.0}),
    )
    common.said(OUT)


if __name__ == "__main__":
    main()
