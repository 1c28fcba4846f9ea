/*
 * tests/fuzz/fuzz_text.c: any bytes as a text. The first byte chooses how it is cut, and whether special tokens are
 * parsed. Ids must not depend on the cuts, and the text must come back but for the bytes that were counted as dropped.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../support/token_list.h"
#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const files[] = {
    /* SmolLM2's splits; then Llama 3's, with tokens that are added, and a byte or two missing from each vocabulary. */
    "{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":true},{"
    "\"type\":"
    "\"ByteLevel\",\"add_prefix_space\":false}]},\"decoder\":{\"type\":\"ByteLevel\"},\"added_tokens\":[{\"id\":260,"
    "\"content\":"
    "\"<s>\",\"special\":true}],\"model\":{\"type\":\"BPE\",\"merges\":[\"a a\",\"aa aa\",\"\u0120 a\",\"aa "
    "b\"],\"vocab\":{",
    "{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?i:'s|'"
    "t)|[^\\\\r"
    "\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| "
    "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|"
    "\\\\s+\"},\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_"
    "regex\":"
    "false}]},\"decoder\":{\"type\":\"ByteLevel\"},\"added_tokens\":[{\"id\":260,\"content\":\"<s>\",\"special\":true},"
    "{\"id\":261,"
    "\"content\":\"<s\",\"special\":false},{\"id\":262,\"content\":\"ab<s>c\",\"special\":false}],\"model\":{\"type\":"
    "\"BPE\","
    "\"ignore_merges\":true,\"merges\":[\"a a\",\"aa aa\",\"\u0120 a\",\"aa b\"],\"vocab\":{"};

static fam_memory memory;
static fam_tokenizer *tokenizers[2];

static void put_character(char *out, size_t *used, unsigned byte, unsigned *other)
{
    bool printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    unsigned code = printable ? byte : 0x100 + (*other)++;
    if (byte == '"' || byte == '\\')
        out[(*used)++] = '\\';
    if (code < 0x80) {
        out[(*used)++] = (char)code;
    } else {
        out[(*used)++] = (char)(0xc0 | code >> 6);
        out[(*used)++] = (char)(0x80 | (code & 0x3f));
    }
}

static void open_tokenizers(void)
{
    fam_memory_init(&memory);
    for (int f = 0; f < 2; f++) {
        static char text[8192];
        size_t used = strlen(files[f]);
        unsigned other = 0;
        memcpy(text, files[f], used);
        for (unsigned byte = 0; byte < 256; byte++) {
            char number[16];
            if (byte == 7 || byte == 0xc1) { /* without a token */
                other += byte == 7;
                continue;
            }
            text[used++] = '"';
            put_character(text, &used, byte, &other);
            for (unsigned rest = byte, i = 0; i < 3; i++, rest /= 10)
                number[2 - i] = (char)('0' + rest % 10);
            size_t skip = byte < 10 ? 2 : byte < 100 ? 1 : 0;
            memcpy(text + used, "\":", 2);
            memcpy(text + used + 2, number + skip, 3 - skip);
            used += 5 - skip;
            text[used++] = ',';
        }
        static const char end[] = "\"aa\":256,\"aaaa\":257,\"\u0120a\":258,\"aab\":259}}}";
        memcpy(text + used, end, sizeof end);
        used += sizeof end - 1;
        fam_error error;
        if (fam_tokenizer_parse_json(&tokenizers[f], &memory, "t", text, used, NULL, NULL, 0, &error) != FAM_OK)
            abort();
    }
}

static void encode(token_list *out, const fam_tokenizer *tokenizer, const char *text, size_t size, bool special,
                   size_t piece, uint64_t *dropped)
{
    fam_encoder *encoder;
    fam_error error;
    if (fam_encoder_create(&encoder, tokenizer, special, &error) != FAM_OK)
        abort();
    for (size_t at = 0; at < size; at += piece)
        if (fam_encoder_feed(encoder, text + at, size - at < piece ? size - at : piece, token_list_sink, out, &error) !=
            FAM_OK)
            abort();
    if (fam_encoder_finish(encoder, token_list_sink, out, &error) != FAM_OK)
        abort();
    uint64_t first;
    *dropped = fam_encoder_dropped(encoder, &first);
    fam_encoder_free(encoder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!tokenizers[0])
        open_tokenizers();
    if (size == 0)
        return 0;
    bool special = data[0] & 1;
    size_t piece = 1 + (data[0] >> 2), length, want = 0;
    const fam_tokenizer *tokenizer = tokenizers[data[0] >> 1 & 1];
    const char *text = (const char *)data + 1;
    token_list whole = {0}, pieces = {0};
    uint64_t dropped, dropped_in_pieces;
    fam_error error;
    char *back;
    size--;
    encode(&whole, tokenizer, text, size, special, size + 1, &dropped);
    encode(&pieces, tokenizer, text, size, special, piece, &dropped_in_pieces);
    if (!token_list_equal(&whole, &pieces) || dropped != dropped_in_pieces)
        abort();
    if (fam_tokenizer_decode(&back, &length, &memory, tokenizer, whole.ids, whole.count, true, &error) != FAM_OK ||
        length + dropped != size)
        abort();
    for (size_t i = 0; i < size; i++)
        if (text[i] != 7 && text[i] != (char)0xc1)
            if (want >= length || back[want++] != text[i])
                abort();
    fam_free(&memory, back);
    token_list_free(&whole);
    token_list_free(&pieces);
    return 0;
}
