"""transformers in float64: it computes norms and angles in float32 whatever the model's type, here both are in
float64. Use attn_implementation="sdpa": the eager one computes its softmax in float32."""

import math

import torch


def inverse_frequencies(config):
    """The inverse frequencies of RoPE in float64: default, and `llama3` by transformers' own formula."""
    rope, dim = config.rope_parameters, config.head_dim
    inverse = 1.0 / rope["rope_theta"] ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    if rope["rope_type"] == "default":
        return inverse
    assert rope["rope_type"] == "llama3", rope
    factor, low, high = rope["factor"], rope["low_freq_factor"], rope["high_freq_factor"]
    length, wavelength = rope["original_max_position_embeddings"], 2 * math.pi / inverse
    smooth = (length / wavelength - low) / (high - low)
    between = (1 - smooth) * inverse / factor + smooth * inverse
    return torch.where(
        wavelength < length / high, inverse, torch.where(wavelength > length / low, inverse / factor, between)
    )


def in_float64(model):
    from transformers.models.llama.modeling_llama import LlamaRMSNorm, LlamaRotaryEmbedding

    model = model.double().eval()
    for module in model.modules():
        if isinstance(module, LlamaRMSNorm):
            module.forward = lambda x, m=module: torch.nn.functional.rms_norm(
                x, x.shape[-1:], m.weight, m.variance_epsilon
            )
        if isinstance(module, LlamaRotaryEmbedding):

            def rotary(x, position_ids, m=module):
                angles = position_ids[..., None].double() * inverse_frequencies(m.config)
                angles = torch.cat((angles, angles), dim=-1)
                return angles.cos(), angles.sin()

            module.forward = rotary
    return model


@torch.no_grad()
def logits(model, tokens):
    """tokens: list of ids -> [T, V]"""
    return model(torch.tensor([tokens]), use_cache=False).logits[0]
