"""tests/fixtures/dequant: blocks of every quantised type, and what the `gguf` package makes of them.

TYPE.safetensors has `bytes` (U8: whole blocks, one after the other) and `values` (F32: the dequantised numbers, to
be met bit by bit). The quants are random bytes; the float16 scales and minima go through the extremes (zeros of both
signs, the smallest and largest denormals, the smallest normal, the largest number, negative ones) and then random.
F16 and BF16 go through the extremes and every 17th finite bit pattern. No infinity and no NaN.
"""

import gguf
import numpy as np

import common

EXTREME = np.array(
    [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x83FF, 0x0400, 0x8400, 0x7BFF, 0xFBFF, 0x3C00, 0xBC00], dtype=np.uint16
)
SCALES = {  # byte offsets of the float16 numbers in a block
    "Q8_0": [0],
    "Q4_0": [0],
    "Q5_0": [0],
    "Q4_1": [0, 2],
    "Q5_1": [0, 2],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
}


def random_half(rng, count):
    """Finite float16 bit patterns: sign and exponent uniform."""
    return (rng.integers(0, 2, count) << 15 | rng.integers(0, 31, count) << 10 | rng.integers(0, 1024, count)).astype(
        np.uint16
    )


def blocks(rng, name):
    kind = gguf.GGMLQuantizationType[name]
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    count = 320 if elements == 32 else 48
    data = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for row in (0, 1, 2, 3):
        data[row] = (0x00, 0xFF, 0x0F, 0xF0)[row]
    for number, offset in enumerate(SCALES[name]):
        half = random_half(rng, count)
        pairs = np.arange(min(count // 2, len(EXTREME) ** len(SCALES[name])))
        half[: len(pairs)] = EXTREME[pairs // len(EXTREME) ** number % len(EXTREME)]
        half[-8:] = np.float16(rng.uniform(0.001, 0.01, 8)).view(np.uint16)  # as in a real model
        data[:, offset : offset + 2] = half[:, None].view(np.uint8).reshape(count, 2)
    return kind, data


def patterns(name):
    infinity = {"F16": 0x7C00, "BF16": 0x7F80}[name]
    bits = np.arange(0, 1 << 16, 17, dtype=np.uint32)
    bits = bits[bits & infinity != infinity]
    edge = np.array(
        [0x0001, 0x8001, 0x007F, 0x0080, 0x03FF, 0x0400, 0x8000, infinity - 1, 0x8000 | infinity - 1], dtype=np.uint32
    )
    return gguf.GGMLQuantizationType[name], np.concatenate([edge, bits]).astype(np.uint16)[None].view(np.uint8)


def main():
    rng = np.random.default_rng(1)
    for name in ("F16", "BF16", *SCALES):
        kind, data = patterns(name) if name in ("F16", "BF16") else blocks(rng, name)
        with np.errstate(all="ignore"):
            values = gguf.quants.dequantize(data.view(np.float16) if name == "F16" else data, kind)
        assert values.dtype == np.float32 and np.isfinite(values).all(), name
        common.write_tensors(
            common.FIXTURES / "dequant" / f"{name}.safetensors",
            {"bytes": data.reshape(-1), "values": values.reshape(-1)},
        )


if __name__ == "__main__":
    main()
