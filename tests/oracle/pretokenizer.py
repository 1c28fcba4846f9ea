"""tests/fixtures/pretokenizer: how the `tokenizers` package splits texts.

splits.json, by many a pre_tokenizer: `texts`; `cases`: a list of {pre_tokenizer: as in tokenizer.json, words: for each text a list of words}. Where a pattern
asks for more than letters and numbers, the last text is left out: it has characters that are new in Unicode.

added.json, by added tokens that overlap: `tokenizer`, a tokenizer.json; `cases`: a list of {text, ids, special}, where
the text of special tokens is text in `ids`, and parsed in `special`.
"""

import json
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence, Split

import common

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|"
    r"\s+(?!\S)|\s+"
)
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BEHAVIORS = ["isolated", "removed", "contiguous", "merged_with_previous", "merged_with_next"]
TEXTS = [
    "", " ", "a", "ab", "  ", "   a   b  ", "the-final--countdown", "--a--", "How are you doing?", "abababab", "ab ab",
    "It's we'LL  I'd 'tis''s", "1 22 333 4444 55555x6", "x1y22z", "½³Ⅷ٣४ 一二", "tab\tnew\nline\r\n\r\n  end \n",
    "\n\n  \n x", "naïve café cafe\u0301 ﬁ ǅ İı", "привет мир", "世界你好 日本語のカタカナ ひらがな 한국어", "😀👩‍💻 🇩🇪1️⃣",
    "a\u00a0b\u2003c\u3000d\u180ee\u200bf\u0085g", "\u0000\u0001\u001c\u007f", "don'ſ 'S K'\u212a",
    "def f(x):\n    return x ** 2  # comment\n\n\n", "https://example.org/?a=1&b=2", "....!!!???", "a. b! c? (d) [e] {f}",
]  # fmt: skip
NEW = ["\U000105c0\U00010d40\U0001e4d0 \U00011de0\U0002ebf0\u1c89"]  # letters and numbers of Unicode 15 and later


def cases():
    for behavior in BEHAVIORS:
        for invert in (False, True):
            for pattern in (Regex(r"\s+"), Regex(r"[^a-z]"), " ", "ab", "."):
                yield [Split(pattern, behavior, invert), ByteLevel(add_prefix_space=False, use_regex=False)]
    for pattern in (GPT2, LLAMA3, CL100K, O200K, r"\s+$", r"^\s+", r"(?<=a)b", r"\p{Han}+|\p{Hiragana}", r"\p{P}", r"\S",
                    r"[\S]+", r"\P{L}", r"\p{^L}+", r"\d", r"(a|b)+", r".", r"a{1,2}", r"x?1|\.{2,}", r"\v|\x2d"):  # fmt: skip
        yield [Split(Regex(pattern), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)]
    for individual in (False, True):
        for prefix in (False, True):
            for use_regex in (False, True):
                yield [Digits(individual), ByteLevel(add_prefix_space=prefix, use_regex=use_regex)]
    yield [ByteLevel(add_prefix_space=True, use_regex=True)]
    yield [Split(Regex(r"\s+"), "removed"), ByteLevel(add_prefix_space=True, use_regex=True)]
    yield [
        Split(Regex("[\r\n]"), "isolated"),
        Split(Regex(r"\s?\p{L}+"), "isolated"),
        Split(Regex(r"\s?\p{P}+"), "isolated"),
        Split(Regex("[一-龥ࠀ-一가-\ud7ff]+"), "isolated"),
        Digits(True),
        ByteLevel(add_prefix_space=False, use_regex=False),
    ]


def bytes_of_characters():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}


def write_added():
    alphabet = bytes_of_characters()
    tokenizer = Tokenizer(models.BPE(vocab={c: b for c, b in alphabet.items()}, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = ByteLevel(add_prefix_space=True), decoders.ByteLevel()
    for text, special, normalized in (
        ("<s>", True, False), ("<s", False, False), ("ab<s>c", False, False), ("b", False, True), ("<|im_end|>", True, False),
        ("im", False, False), ("end|", False, True), ("<|im_end|>\n", False, False), ("  ", False, True), ("é", False, True),
        ("s>x", True, True), ("x<s>y", False, True), ("aaa", False, False), ("aaaaaaa", False, False),
    ):  # fmt: skip
        tokenizer.add_tokens([AddedToken(text, special=special, normalized=normalized)])
    parts = ["<s>", "<s", "s>", "x", "y", "ab", "c", "b", "a", "aa", "<|im_end|>", "<|im", "im", "_end|", "|>", "\n", " ", "é",
             "<", "end|>"]  # fmt: skip
    draw, entries = random.Random(1), []
    for _ in range(400):
        text = "".join(draw.choice(parts) for _ in range(draw.randint(0, 9)))
        tokenizer.encode_special_tokens = True
        plain = tokenizer.encode(text, add_special_tokens=False).ids
        tokenizer.encode_special_tokens = False
        entries.append({"text": text, "ids": plain, "special": tokenizer.encode(text, add_special_tokens=False).ids})
    common.write_json(
        common.FIXTURES / "pretokenizer" / "added.json", {"tokenizer": json.loads(tokenizer.to_str()), "cases": entries}
    )


def main():
    write_added()
    alphabet, tokenizer, entries = bytes_of_characters(), Tokenizer(models.BPE()), []
    for parts in cases():
        tokenizer.pre_tokenizer = Sequence(parts)
        entry = json.loads(tokenizer.to_str())["pre_tokenizer"]
        words = [
            [bytes(alphabet[c] for c in word).decode() for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]
            for text in (TEXTS if any(name in str(entry) for name in ("Han", "Lu", r"\\d")) else TEXTS + NEW)
        ]
        entries.append({"pre_tokenizer": entry, "words": words})
    path = common.FIXTURES / "pretokenizer" / "splits.json"
    path.parent.mkdir(exist_ok=True)
    common.write_json(path, {"texts": TEXTS + NEW, "cases": entries})


if __name__ == "__main__":
    main()
