"""fixtures/peft: what PEFT makes of an adapter that fam wrote.

written/ is from fam itself (FAM_UPDATE_FIXTURES=1 build/tests/test_adapter_write peft_has_loaded_these_very_bytes), for
tiny_llama/gqa_tied_f32. PEFT loads it here; written.expected.safetensors has the `logits` [T, V] that it gives on
tiny_llama/gqa_tied_f32.tokens.json, in float64 and rounded once.
"""

import json

import common
import hf
import peft
import torch
from transformers import LlamaForCausalLM

TINY = common.FIXTURES / "tiny_llama"
OUT = common.FIXTURES / "peft"


def main():
    torch.set_num_threads(1)
    if not (OUT / "written" / "adapter_config.json").exists():
        common.skip("fam has not written fixtures/peft/written")
    base = LlamaForCausalLM.from_pretrained(TINY / "gqa_tied_f32", dtype=torch.float32, attn_implementation="sdpa")
    model = peft.PeftModel.from_pretrained(base, OUT / "written")
    loaded = [name for name, _ in model.named_parameters() if ".lora_" in name]
    assert len(loaded) == 24, len(loaded)
    tokens = json.loads((TINY / "gqa_tied_f32.tokens.json").read_text())
    logits = hf.logits(hf.in_float64(model), tokens)
    with model.disable_adapter():
        plain = hf.logits(model, tokens)
    assert (logits - plain).abs().max() > 0.1  # the adapter does something
    common.write_tensors(OUT / "written.expected.safetensors", {"logits": logits.float().numpy()})


if __name__ == "__main__":
    main()
