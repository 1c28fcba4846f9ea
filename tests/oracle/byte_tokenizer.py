"""tests/fixtures/byte_tokenizer/cases.json: what the `tokenizers` package makes of the byte tokenizer.

tokenizer.json beside it is what libfam writes (tests/unit/test_start.c compares); it is read here, never written.
cases: a list of {text, ids}: ids with "<|endoftext|>" parsed, which must be the text's UTF-8 bytes but for it.
"""

import random

from tokenizers import Tokenizer

import common

TARGET = common.FIXTURES / "byte_tokenizer"
END = "<|endoftext|>"
TEXTS = ["", " ", "a", "It's 12345 o'clock,  isn't it?\n\n\tYes.", "naïve café привет 世界 😀👩‍💻", "\u0000\u0001\u007f\u0080\u00ad\u0100",
         f"one{END}two{END}{END}", f" {END} <|endoftext| >", "\r\n\r\n  x", "\ufeff\uffff\U0010ffff"]  # fmt: skip

tokenizer = Tokenizer.from_file(str(TARGET / "tokenizer.json"))
assert tokenizer.get_vocab_size(with_added_tokens=True) == 257 and tokenizer.token_to_id(END) == 256
draw = random.Random(3)
drawn = ["".join(chr(draw.choice([draw.randrange(1, 0x100), draw.randrange(1, 0xD800)])) for _ in range(40)) for _ in range(20)]
cases = []
for text in TEXTS + drawn:
    ids = tokenizer.encode(text).ids
    want = [id for part in text.split(END) for id in [256, *part.encode()]][1:]
    assert ids == want, text
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    cases.append({"text": text, "ids": ids})
common.write_json(TARGET / "cases.json", {"cases": cases})
