#include "line_draw.h"

#include <stdbool.h>
#include <string.h>

/*
 * A line is drawn by splitmix64, started at seed + mix(number). Its kind comes first (see line_draw), then its parts.
 * Every choice among n things is the upper 32 bits of a number, times n, shifted right by 32.
 */
struct draw {
    uint64_t state;
    uint8_t *out;
    size_t capacity, length;
    bool full;
};

// clang-format off
static const char *const words[] = {
    "the", "of", "and", "to", "in", "a", "that", "I", "we", "you", "don", "it", "remember", "passkey", "memory",
    "block", "attention", "Feedback", "TRANSFORMER", "Streaming", "O'Brien", "well-known", "e.g.", "U.S.A.",
    "iPhone", "x86", "antidisestablishmentarianism", "supercalifragilistic", "aaaaaaaaaaaaaaaa", "mmmmhhhmmmm",
    "naïve", "café", "cafe\u0301", "Übermaß", "STRASSE", "straße", "œuvre", "ﬁnancial", "İstanbul", "ıslak",
    "ǅungla", "smørrebrød", "žluťoučký", "kůň", "część", "fjörður", "Việt", "привет", "мир", "объём", "Україна",
    "γνῶθι", "σεαυτόν", "ΣΊΣΥΦΟΣ", "שָׁלוֹם", "עולם", "مرحبا", "بِسْمِ", "فارسی", "नमस्ते", "क्षेत्र", "বাংলা", "தமிழ்",
    "ไทยภาษา", "ລາວ", "မြန်မာ", "ქართული", "Հայերեն", "አማርኛ", "世界", "你好", "漢字", "日本語の", "カタカナ",
    "ひらがな", "ﾊﾝｶｸ", "한국어", "가각간", "ᄒᆞᆫ글", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "𐍈𐌰𐌹", "ＦＵＬＬ"
};

static const char *const endings[] = {
    "'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'LL", "'Re", "'ſ", "’s", "'", "''s", ",", ".", ";", ":",
    "!", "?", "...", "…", "?!", ")", "\"", "”", "»", " -", " —", "/", "'sx", "'llama"
};

static const char *const code[] = {
    "for (int i = 0; i < n; ++i) {", "}", "return x;", "#include <stdio.h>", "def f(self, *args, **kwargs):",
    "    pass", "\tgoto fail;", "if __name__ == \"__main__\":", "SELECT * FROM t WHERE id=42;",
    "<div class=\"a b\">", "</div>", "\\frac{1}{2}^{n+1}", "0xDEADBEEF", "a->b[i++] ^= ~c;",
    "git commit -m 'x'", "https://example.org/a?b=c&d=%20e#f", "{\"k\": [1, 2.5e-3, null]}",
    "x = lambda y: y**2", "// TODO: fix", "std::vector<std::pair<int, char>> v;", "printf(\"%5.2f\\n\", 10.0);",
    "&nbsp;&amp;", "=====", "----------", "/* ** */", "@decorator", "$HOME/.config", "C:\\Users\\x",
    "a+b-c*d/e%f", "!!=!==", "[[[]]]", "snake_case_name", "camelCaseName", "SCREAMING_CASE", "1.0.0-rc.1",
    "user@example.com", "```c", "| a | b |", "<!-- -->", "\\u00e9\\n"
};

/* Runs of blanks are the hard part of these regular expressions; some of these are blank to Unicode only, some to
 * nobody. */
static const uint32_t blanks[] = {
    ' ', ' ', ' ', ' ', '\t', '\n', '\n', '\r', 0x0b, 0x0c, 0x1c, 0x1f, 0x85, 0xa0, 0xa0, 0x1680, 0x180e,
    0x2000, 0x2003, 0x2009, 0x200a, 0x200b, 0x2028, 0x2029, 0x202f, 0x205f, 0x2060, 0x3000, 0xfeff
};

/* First code points of ten digits, and ranges of other numbers: letters, fractions, superscripts, circled, Roman,
 * ideographs. */
static const uint32_t digits[] = {
    '0', '0', '0', '0', 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xe50, 0x1040, 0x17e0, 0x2070, 0x2080, 0x2150,
    0x2160, 0x2170, 0x2180, 0x2460, 0x2776, 0x3007, 0x3021, 0x3220, 0xa8e0, 0xff10, 0x10107, 0x104a0, 0x1d7ce,
    0x1f100, 0x1fbf0, 0xb2, 0xbc, 0x9f4, 0xf2a, 0x1369, 0x16ee, 0x4e00
};

static const char *const emoji[] = {
    "😀", "🤖", "❤️", "❤", "👍🏽", "👩‍💻", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "🇬🇧", "🇩", "1️⃣", "#️⃣", "☎", "✈️",
    "🧑🏿‍🚀", "🥲", "🫠", "🪿", "©", "™", "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "\u200d", "\ufe0f", "🏾"
};

static const char *const specials[] = {
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<reponame>", "<file_sep>", "<filename>",
    "<gh_stars>", "<issue_start>", "<issue_comment>", "<jupyter_code>", "<empty_output>", "<|begin_of_text|>",
    "<|im_start", "|im_end|>", "<|", "|>", "<|im_start|>system\n", "<|im_end|>\n", "<|IM_END|>", "<s>", "</s>"
};

/* Unicode blocks, first and last code point. */
static const struct block {
    uint32_t first, last;
} blocks[] = {
    {0x0000, 0x001f}, {0x0020, 0x007e}, {0x0020, 0x007e}, {0x007f, 0x00ff}, {0x00c0, 0x00ff}, {0x0100, 0x017f},
    {0x0180, 0x024f}, {0x0250, 0x02af}, {0x02b0, 0x02ff}, {0x0300, 0x036f}, {0x0370, 0x03ff}, {0x0400, 0x04ff},
    {0x0500, 0x052f}, {0x0531, 0x058f}, {0x0591, 0x05f4}, {0x0600, 0x06ff}, {0x0700, 0x074f}, {0x0780, 0x07bf},
    {0x07c0, 0x07ff}, {0x0800, 0x08ff}, {0x0900, 0x097f}, {0x0980, 0x09ff}, {0x0a00, 0x0a7f}, {0x0a80, 0x0aff},
    {0x0b00, 0x0b7f}, {0x0b80, 0x0bff}, {0x0c00, 0x0c7f}, {0x0c80, 0x0cff}, {0x0d00, 0x0d7f}, {0x0d80, 0x0dff},
    {0x0e00, 0x0e7f}, {0x0e80, 0x0eff}, {0x0f00, 0x0fff}, {0x1000, 0x109f}, {0x10a0, 0x10ff}, {0x1100, 0x11ff},
    {0x1200, 0x139f}, {0x13a0, 0x13ff}, {0x1400, 0x167f}, {0x1680, 0x169f}, {0x16a0, 0x16ff}, {0x1700, 0x177f},
    {0x1780, 0x17ff}, {0x1800, 0x18af}, {0x1900, 0x19ff}, {0x1a00, 0x1aff}, {0x1b00, 0x1bff}, {0x1c00, 0x1cff},
    {0x1d00, 0x1dff}, {0x1e00, 0x1eff}, {0x1f00, 0x1fff}, {0x2000, 0x206f}, {0x2070, 0x209f}, {0x20a0, 0x20cf},
    {0x20d0, 0x20ff}, {0x2100, 0x214f}, {0x2150, 0x218f}, {0x2190, 0x21ff}, {0x2200, 0x22ff}, {0x2300, 0x23ff},
    {0x2400, 0x245f}, {0x2460, 0x24ff}, {0x2500, 0x25ff}, {0x2600, 0x27bf}, {0x27c0, 0x2aff}, {0x2b00, 0x2bff},
    {0x2c00, 0x2dff}, {0x2e00, 0x2e7f}, {0x2e80, 0x2fdf}, {0x2ff0, 0x303f}, {0x3040, 0x30ff}, {0x3100, 0x31bf},
    {0x31c0, 0x32ff}, {0x3300, 0x33ff}, {0x3400, 0x4dbf}, {0x4e00, 0x9fff}, {0x4e00, 0x9fff}, {0xa000, 0xa4cf},
    {0xa4d0, 0xa6ff}, {0xa700, 0xa7ff}, {0xa800, 0xabff}, {0xac00, 0xd7a3}, {0xd7b0, 0xd7ff}, {0xe000, 0xf8ff},
    {0xf900, 0xfaff}, {0xfb00, 0xfdff}, {0xfe00, 0xfe6f}, {0xfe70, 0xfeff}, {0xff00, 0xffef}, {0xfff0, 0xffff},
    {0x10000, 0x100ff}, {0x10100, 0x102ff}, {0x10300, 0x103ff}, {0x10400, 0x107ff}, {0x10800, 0x10fff},
    {0x11000, 0x11fff}, {0x12000, 0x12fff}, {0x13000, 0x143ff}, {0x16800, 0x16fff}, {0x17000, 0x18cff},
    {0x1b000, 0x1b2ff}, {0x1bc00, 0x1bcaf}, {0x1d000, 0x1d3ff}, {0x1d400, 0x1d7ff}, {0x1d800, 0x1daaf},
    {0x1e000, 0x1eeff}, {0x1f000, 0x1f2ff}, {0x1f300, 0x1f5ff}, {0x1f600, 0x1f64f}, {0x1f650, 0x1f8ff},
    {0x1f900, 0x1faff}, {0x1fb00, 0x1fbff}, {0x20000, 0x2ffff}, {0x30000, 0x323af}, {0xe0000, 0xe01ef},
    {0xf0000, 0x10ffff}
};
// clang-format on

#define COUNT(array) ((uint32_t)(sizeof(array) / sizeof *(array)))

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* 0 … count-1 */
static uint32_t below(struct draw *d, uint32_t count)
{
    d->state += 0x9e3779b97f4a7c15u;
    return (uint32_t)((mix(d->state) >> 32) * count >> 32);
}

static uint32_t between(struct draw *d, uint32_t first, uint32_t last)
{
    return first + below(d, last - first + 1);
}

static void put(struct draw *d, const char *bytes, size_t count)
{
    if (d->full || count > d->capacity - d->length) {
        d->full = true;
        return;
    }
    memcpy(d->out + d->length, bytes, count);
    d->length += count;
}

static void put_text(struct draw *d, const char *text)
{
    put(d, text, strlen(text));
}

static void put_code_point(struct draw *d, uint32_t c)
{
    char utf8[4];
    if (c >= 0xd800 && c <= 0xdfff)
        c = 0xfffd;
    if (c < 0x80) {
        utf8[0] = (char)c;
        put(d, utf8, 1);
        return;
    }
    size_t count = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = count - 1; i > 0; i--, c >>= 6)
        utf8[i] = (char)(0x80 | (c & 0x3f));
    utf8[0] = (char)((0xf00 >> count & 0xff) | c);
    put(d, utf8, count);
}

static void draw_blanks(struct draw *d)
{
    uint32_t kind = below(d, 8), count = kind < 5 ? 1 : kind < 7 ? between(d, 2, 6) : between(d, 2, 40);
    uint32_t same = blanks[below(d, COUNT(blanks))];
    bool mixed = below(d, 4) == 0;
    for (uint32_t i = 0; i < count; i++)
        put_code_point(d, kind == 0 || kind == 7 ? same : mixed ? blanks[below(d, COUNT(blanks))] : ' ');
}

static void draw_words(struct draw *d)
{
    for (uint32_t left = between(d, 1, 14); left > 0; left--) {
        put_text(d, words[below(d, COUNT(words))]);
        if (below(d, 4) == 0)
            put_text(d, endings[below(d, COUNT(endings))]);
        if (left > 1 && below(d, 12) != 0)
            put_text(d, below(d, 16) == 0 ? "  " : " ");
    }
}

static void draw_code(struct draw *d)
{
    for (uint32_t left = between(d, 1, 4); left > 0; left--) {
        bool tabs = below(d, 3) == 0;
        for (uint32_t indent = below(d, 5); indent > 0; indent--)
            put_text(d, tabs ? "\t" : "    ");
        put_text(d, code[below(d, COUNT(code))]);
        if (left > 1)
            put_text(d, below(d, 8) == 0 ? "\r\n" : below(d, 6) == 0 ? " \n\n" : "\n");
    }
}

static void draw_digits(struct draw *d)
{
    static const char *const separators[] = {"", "", " ", ".", ",", "-", "  ", ":", "e", "/", " x", "\n"};
    for (uint32_t left = between(d, 1, 6); left > 0; left--) {
        uint32_t first = digits[below(d, COUNT(digits))];
        for (uint32_t i = between(d, 1, below(d, 8) == 0 ? 30 : 5); i > 0; i--)
            put_code_point(d, first + below(d, 10));
        put_text(d, separators[below(d, COUNT(separators))]);
    }
}

static void draw_emoji(struct draw *d)
{
    for (uint32_t left = between(d, 1, 8); left > 0; left--) {
        put_text(d, emoji[below(d, COUNT(emoji))]);
        if (below(d, 3) == 0)
            put_text(d, " ");
    }
}

static void draw_specials(struct draw *d)
{
    for (uint32_t left = between(d, 1, 4); left > 0; left--) {
        put_text(d, specials[below(d, COUNT(specials))]);
        uint32_t then = below(d, 4);
        if (then > 0)
            put_text(d, then == 1 ? words[below(d, COUNT(words))] : then == 2 ? " " : "\n");
    }
}

static void draw_block(struct draw *d)
{
    struct block block = blocks[below(d, COUNT(blocks))];
    for (uint32_t left = between(d, 1, 24); left > 0; left--) {
        put_code_point(d, between(d, block.first, block.last));
        if (below(d, 6) == 0)
            put_text(d, " ");
    }
}

static void draw_blocks(struct draw *d)
{
    for (uint32_t left = between(d, 1, 16); left > 0; left--) {
        struct block block = blocks[below(d, COUNT(blocks))];
        for (uint32_t i = between(d, 1, 3); i > 0; i--)
            put_code_point(d, between(d, block.first, block.last));
        if (below(d, 5) == 0)
            draw_blanks(d);
    }
}

static void draw_anywhere(struct draw *d)
{
    for (uint32_t left = between(d, 1, 20); left > 0; left--)
        put_code_point(d, below(d, 0x110000));
}

static void draw_ascii(struct draw *d)
{
    for (uint32_t left = between(d, 1, 80); left > 0; left--)
        put_code_point(d, below(d, 5) == 0 ? ' ' : between(d, 0x20, 0x7e));
}

static void draw_spaced(struct draw *d)
{
    for (uint32_t left = between(d, 1, 8); left > 0; left--) {
        draw_blanks(d);
        if (below(d, 5) != 0)
            put_text(d, words[below(d, COUNT(words))]);
    }
    draw_blanks(d);
}

int line_draw(uint64_t seed, uint64_t number, uint8_t *out, size_t capacity, size_t *length)
{
    static void (*const kinds[])(struct draw *) = {draw_words,    draw_words,    draw_code,   draw_digits,
                                                   draw_emoji,    draw_specials, draw_block,  draw_blocks,
                                                   draw_anywhere, draw_ascii,    draw_spaced, draw_blanks};
    struct draw d = {.state = seed + mix(number), .out = out, .capacity = capacity};
    uint32_t kind = below(&d, COUNT(kinds) + 3);
    if (kind < COUNT(kinds)) {
        kinds[kind](&d);
    } else {
        for (uint32_t left = between(&d, 2, 5); left > 0; left--)
            kinds[below(&d, COUNT(kinds))](&d);
    }
    *length = d.length;
    return d.full ? -1 : 0;
}
