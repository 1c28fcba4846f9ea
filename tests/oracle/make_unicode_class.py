"""Prints src/text/unicode_ranges.inc from the ranges that tokenizer.py asked the `tokenizers` package for:

    python tests/oracle/make_unicode_class.py > src/text/unicode_ranges.inc
"""

import json
import pathlib

CLASSES = json.loads((pathlib.Path(__file__).parents[1] / "fixtures" / "tokenizer" / "classes.json").read_text())


def table(name, ranges):
    print(f"static const code_range {name}[] = {{")
    line = "   "
    for first, last in ranges:
        item = f" {{0x{first:x}, 0x{last:x}}},"
        if len(line) + len(item) > 120:
            print(line)
            line = "   "
        line += item
    print(line + "\n};")


def without(ranges, others):
    codes = {c for first, last in ranges for c in range(first, last + 1)}
    codes -= {c for first, last in others for c in range(first, last + 1)}
    return [(c, c) for c in sorted(codes)]


print("/* Made by tests/oracle/make_unicode_class.py; see there. Sorted, disjoint, both ends included. */")
table("letters", CLASSES["letter"])
table("numbers", CLASSES["number"])
table("numeric_beyond_numbers", without(CLASSES["digit"], CLASSES["number"]))
