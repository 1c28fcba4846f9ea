r"""tests/fixtures/tokenizer: ids that the `tokenizers` package gives to the lines of tests/support/line_draw.c.

The tokenizer of SmolLM2 is built from its GGUF file by reference/gguf_tokenizer.py. Texts are encoded without
added special tokens, and with encode_special_tokens = True, so that the text of special tokens is text. Bytes that
have no token vanish, and what stood on both sides of them may then merge.

    smollm2.json            100,000 lines with the tokenizer in the GGUF file of SmolLM2
    reduced/NAME.json       2,000 lines with reduced/NAME/tokenizer.json: the first 2,000 tokens of SmolLM2 and the
                            merges among them
        digits              pre-tokenizer Digits, ByteLevel, as SmolLM2's own; merges as pairs
        gpt2                pre-tokenizer ByteLevel with its regex; merges as strings, as older files have them
        split_gpt2          pre-tokenizer Split by GPT-2's regex, ByteLevel without regex
        split_llama3        pre-tokenizer Split by Llama 3's regex, ByteLevel without regex; ignore_merges, with a
                            tenth of the merges left out so that it matters; a post-processor that puts
                            <|begin_of_text|> in front
    reduced/PRE.gguf        smollm, gpt2: a tiny random model with the reduced vocabulary and tokenizer.ggml.pre
                            `smollm` or `gpt-2`: the same ids as digits.json and gpt2.json
    classes.json            what `tokenizers` takes for \p{L} (`letter`), \p{N} (`number`), \s (`white_space`) and in
                            Digits (`digit`): ranges of code points, first and last, over all of Unicode (without
                            surrogates)
    special.json            texts with the ids as text (`ids`) and with special tokens recognised (`special`), for
                            SmolLM2

NAME.json: `seed` and `lines` of the draw; `text_hash` and `ids_hash` with one entry for every `group` lines: XXH64
(seed 0) over, for each line, the number of bytes as a little-endian int32 and the bytes, or the number of ids and
the ids, each as a little-endian int32; `ids`: the ids of the first lines in full. `with_special` (split_llama3): the
first ten lines with what the post-processor adds.
"""

import ctypes
import json
import random
import shutil
import subprocess

import gguf
import numpy as np
import xxhash
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

import common

common.need_reference()
import gguf_tokenizer  # noqa: E402

OUT = common.FIXTURES / "tokenizer"
SEED, GROUP, REDUCED = 1, 100, 2000
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)


def draw_lines(count):
    """The lines of line_draw.c, from its own code."""
    source, library = common.ROOT / "tests" / "support" / "line_draw.c", common.BUILD / "oracle" / "line_draw.so"
    library.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cc", "-std=c11", "-O1", "-shared", "-fPIC", source, "-o", library], check=True)
    draw = ctypes.CDLL(str(library)).line_draw
    draw.argtypes = [
        ctypes.c_uint64,
        ctypes.c_uint64,
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.POINTER(ctypes.c_size_t),
    ]
    out, length, lines = ctypes.create_string_buffer(4096), ctypes.c_size_t(), []
    for number in range(count):
        assert draw(SEED, number, out, len(out), ctypes.byref(length)) == 0
        lines.append(out.raw[: length.value])
    return lines


def encode(tokenizer, texts, special=False):
    return [encoding.ids for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=special)]


def hashes(items):
    """items: (count, bytes) for each line"""
    result = []
    for first in range(0, len(items), GROUP):
        state = xxhash.xxh64(seed=0)
        for count, data in items[first : first + GROUP]:
            state.update(np.int32(count).astype("<i4").tobytes())
            state.update(data)
        result.append(state.hexdigest())
    return result


def write_answers(path, tokenizer, lines, full, **more):
    texts = [line.decode("utf-8") for line in lines]
    ids = encode(tokenizer, texts)
    common.write_json(
        path,
        {
            "seed": SEED,
            "lines": len(lines),
            "group": GROUP,
            "text_hash": hashes([(len(line), line) for line in lines]),
            "ids_hash": hashes([(len(line), np.array(line, dtype="<i4").tobytes()) for line in ids]),
            "ids": ids[:full],
            **more,
        },
    )
    same = sum(tokenizer.decode(line, skip_special_tokens=False) == text for line, text in zip(ids, texts))
    print(f"           {sum(map(len, lines))} bytes, {sum(map(len, ids))} ids; {same} of {len(lines)} lines come back")
    return ids


def reduced_vocabulary(field):
    tokens = field["tokens"][:REDUCED]
    known = set(tokens)
    merges = [tuple(merge.split(" ", 1)) for merge in field["merges"]]
    return tokens, [pair for pair in merges if pair[0] in known and pair[1] in known and "".join(pair) in known]


def reduced_tokenizer(tokens, merges, pre_tokenizer, **settings):
    tokenizer = Tokenizer(
        models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=merges, **settings)
    )
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True) for token in tokens if token.startswith("<") and len(token) > 4]
    )
    return tokenizer


def split(regex):
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(regex), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False),
        ]
    )


def save(tokenizer, name, merges_as_strings=False):
    """Writes tokenizer.json, and gives back what `tokenizers` reads from it."""
    path = OUT / "reduced" / name / "tokenizer.json"
    path.parent.mkdir(parents=True)
    value = json.loads(tokenizer.to_str())
    if merges_as_strings:
        value["model"]["merges"] = [" ".join(pair) for pair in value["model"]["merges"]]
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    common.said(path)
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True
    return tokenizer


def save_gguf(name, pre, tokens, merges):
    """A model of one layer around the vocabulary, so that the file opens as any other."""
    path, rng = OUT / "reduced" / f"{name}.gguf", np.random.default_rng(SEED)
    kind, hidden, heads, inner = gguf.GGMLQuantizationType.Q4_0, 32, 2, 32
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_context_length(512)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(inner)
    writer.add_block_count(1)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_vocab_size(len(tokens))
    writer.add_rope_dimension_count(hidden // heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token.startswith("<") and len(token) > 4 else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    for tensor, shape in {
        "token_embd": (len(tokens), hidden),
        "blk.0.attn_q": (hidden, hidden),
        "blk.0.attn_k": (hidden, hidden),
        "blk.0.attn_v": (hidden, hidden),
        "blk.0.attn_output": (hidden, hidden),
        "blk.0.ffn_gate": (inner, hidden),
        "blk.0.ffn_up": (inner, hidden),
        "blk.0.ffn_down": (hidden, inner),
    }.items():
        data = rng.normal(0, 0.2, shape).astype(np.float32)
        writer.add_tensor(tensor + ".weight", gguf.quants.quantize(data, kind), raw_dtype=kind)
    for tensor in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(tensor + ".weight", np.ones(hidden, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    common.said(path)


def write_classes():
    """Its Unicode is newer than that of many regular expression libraries, and U+180E is a blank to some."""
    isolated = {
        name: pre_tokenizers.Split(Regex(regex), behavior="isolated")
        for name, regex in (("letter", r"\p{L}"), ("number", r"\p{N}"), ("white_space", r"\s"))
    }
    isolated["digit"] = pre_tokenizers.Digits(individual_digits=True)
    valid = [code for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF]
    result = {}
    for name, pre_tokenizer in isolated.items():
        neutral, ranges = "!", []  # in none of the classes: a member among them stands alone in its piece
        for first in range(0, len(valid), 4096):
            codes = valid[first : first + 4096]
            text = neutral + neutral.join(map(chr, codes)) + neutral
            for piece, (begin, end) in pre_tokenizer.pre_tokenize_str(text):
                if begin % 2 and end == begin + 1:
                    code = ord(piece)
                    if ranges and ranges[-1][1] == code - 1:
                        ranges[-1][1] = code
                    else:
                        ranges.append([code, code])
        result[name] = ranges
        print(
            f"           {name}: {sum(last - first + 1 for first, last in ranges)} code points in {len(ranges)} ranges"
        )
    assert result["white_space"][:3] == [[9, 13], [32, 32], [0x85, 0x85]] and [0x30, 0x39] in result["digit"]
    common.write_json(OUT / "classes.json", result)


def write_special(tokenizer):
    texts = [
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
        "a<|endoftext|>b",
        "<|endoftext|><|endoftext|>",
        " <|im_end|> ",
        "<repo_name>x<file_sep>y<filename>z",
        "<repo_name><reponame>",
        "<|im_start|",
        "<<|im_start|>>",
        "<|im_start|>1 23<|im_end|>4",
        "nothing special",
        "",
        "é<|im_end|>é",
        "<|im_end|>\n\n  <|im_end|>",
        "<jupyter_start><jupyter_text><jupyter_code>",
        "<|IM_START|>",
    ]
    entries = []
    for text in texts:
        tokenizer.encode_special_tokens = True
        plain = tokenizer.encode(text, add_special_tokens=False).ids
        tokenizer.encode_special_tokens = False
        entries.append({"text": text, "ids": plain, "special": tokenizer.encode(text, add_special_tokens=False).ids})
    common.write_json(OUT / "special.json", entries)


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    model = common.need_smollm2()
    lines = draw_lines(100_000)
    tokenizer = gguf_tokenizer.load(model)
    tokenizer.encode_special_tokens = True
    write_answers(OUT / "smollm2.json", tokenizer, lines, full=300)
    write_special(tokenizer)
    write_classes()

    reader = gguf.GGUFReader(model)
    field = {name: reader.fields["tokenizer.ggml." + name].contents() for name in ("tokens", "merges")}
    tokens, merges = reduced_vocabulary(field)
    few = lines[:2000]
    digits = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    answers = {}
    for name, pre_tokenizer in (("digits", digits), ("gpt2", level), ("split_gpt2", split(GPT2))):
        saved = save(reduced_tokenizer(tokens, merges, pre_tokenizer), name, merges_as_strings=name == "gpt2")
        answers[name] = write_answers(OUT / "reduced" / f"{name}.json", saved, few, full=100)
    assert answers["gpt2"] == answers["split_gpt2"] != answers["digits"]
    save_gguf("smollm", "smollm", tokens, merges)
    save_gguf("gpt2", "gpt-2", tokens, merges)

    draw = random.Random(SEED)
    fewer = [pair for pair in merges if draw.random() >= 0.1]
    begin = "<|begin_of_text|>"
    for ignore in (False, True):
        llama3 = reduced_tokenizer(tokens + [begin], fewer, split(LLAMA3), ignore_merges=ignore)
        llama3.post_processor = processors.Sequence(
            [
                processors.ByteLevel(trim_offsets=False),
                processors.TemplateProcessing(
                    single=f"{begin} $A", pair=f"{begin} $A {begin} $B:1", special_tokens=[(begin, len(tokens))]
                ),
            ]
        )
        if not ignore:
            llama3.encode_special_tokens = True
            without = encode(llama3, [line.decode() for line in few])
    saved = save(llama3, "split_llama3")
    ids = write_answers(
        OUT / "reduced" / "split_llama3.json",
        saved,
        few,
        full=100,
        with_special=encode(saved, [line.decode() for line in few[:10]], special=True),
    )
    assert ids != without
    common.said(OUT)


if __name__ == "__main__":
    main()
