/*
 * Tokenizer files that are wrong: each is refused with a message that says where and what; and lack of memory.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "format/gguf.h"
#include "gguf_writer.h"
#include "line_draw.h"
#include "suite.h"
#include "text/tokenizer.h"
#include "token_list.h"

static fam_memory memory;
static fam_error error;

#define assert_ok(call)                                                                                                \
    do {                                                                                                               \
        if ((call) != FAM_OK)                                                                                          \
            fail_msg("%s", error.message);                                                                             \
    } while (0)

static const char right[] =
    "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[{\"id\":3,\"content\":\"<s>\","
    "\"single_word\":"
    "false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true},{\"id\":5,\"content\":\"new\","
    "\"special\":"
    "false}],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":"
    "true,"
    "\"use_regex\":true},\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<"
    "s>\","
    "\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":[],\"special_tokens\":{}},\"decoder\":{"
    "\"type\":"
    "\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"continuing_subword_prefix\":null,"
    "\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":false,\"vocab\":{\"a\":0,"
    "\"b\":1,"
    "\"ab\":2,\"<s>\":3},\"merges\":[\"a b\"]}}";

/* `text` with the first `what` replaced; to be freed. */
static char *replaced(const char *text, const char *what, const char *with)
{
    const char *at = strstr(text, what);
    if (!at)
        fail_msg("nothing to replace: %s", what);
    size_t before = (size_t)(at - text);
    char *out = malloc(strlen(text) + strlen(with) + 1);
    assert_non_null(out);
    memcpy(out, text, before);
    strcpy(out + before, with);
    strcat(out, at + strlen(what));
    return out;
}

static fam_status parse(fam_tokenizer **out, const char *text, const char *config)
{
    fam_memory_init(&memory);
    return fam_tokenizer_parse_json(out, &memory, "t.json", text, strlen(text), "c.json", config,
                                    config ? strlen(config) : 0, &error);
}

static void assert_encodes(const fam_tokenizer *tokenizer, const char *text, size_t count, const int32_t *want)
{
    int32_t *ids;
    size_t got;
    assert_ok(fam_tokenizer_encode(&ids, &got, &memory, tokenizer, text, strlen(text), false, &error));
    assert_int_equal(got, count);
    if (count)
        assert_memory_equal(ids, want, count * sizeof *want);
    fam_free(&memory, ids);
}

static void a_right_json_file_is_read(void **state)
{
    (void)state;
    fam_tokenizer *tokenizer;
    assert_ok(parse(&tokenizer, right, NULL));
    assert_int_equal(fam_tokenizer_vocab_size(tokenizer), 6);
    assert_int_equal(fam_tokenizer_bos(tokenizer), 3);
    assert_true(fam_tokenizer_adds_bos(tokenizer));
    assert_int_equal(fam_tokenizer_eos(tokenizer), -1);
    assert_int_equal(fam_tokenizer_kind(tokenizer, 4), FAM_TOKEN_NONE);
    assert_int_equal(fam_tokenizer_kind(tokenizer, 5), FAM_TOKEN_ADDED);
    size_t length;
    assert_null(fam_tokenizer_bytes(tokenizer, 4, &length));
    assert_int_equal(fam_tokenizer_check_rows(tokenizer, 6, &error), FAM_OK);
    assert_int_equal(fam_tokenizer_check_rows(tokenizer, 5, &error), FAM_STATUS_MISMATCH);
    /* Tokens that were added but are not special are always found; special ones are text. */
    assert_encodes(tokenizer, "abnewab<s>b", 4, (int32_t[]){2, 5, 2, 1});
    uint64_t fingerprint = fam_tokenizer_fingerprint(tokenizer);
    fam_tokenizer_free(tokenizer);
    assert_int_equal(memory.bytes, 0);

    /* A chat template, or names of special tokens, do not change ids; anything else does. */
    const char *config =
        "{\"eos_token\":{\"content\":\"new\"},\"bos_token\":null,\"add_bos_token\":false,"
        "\"chat_template\":[{\"name\":\"other\",\"template\":\"x\"},{\"name\":\"default\",\"template\":\"y\"}]}";
    assert_ok(parse(&tokenizer, right, config));
    assert_int_equal(fam_tokenizer_eos(tokenizer), 5);
    assert_true(fam_tokenizer_is_end(tokenizer, 5));
    assert_false(fam_tokenizer_adds_bos(tokenizer));
    assert_string_equal(fam_tokenizer_chat_template(tokenizer), "y");
    assert_int_equal(fam_tokenizer_fingerprint(tokenizer), fingerprint);
    fam_tokenizer_free(tokenizer);
    const char *const changes[][2] = {
        {"\"a b\"", ""}, {"\"use_regex\":true", "\"use_regex\":false"}, {"\"b\":1", "\"c\":4,\"b\":1"}};
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        char *text = replaced(right, changes[i][0], changes[i][1]);
        assert_ok(parse(&tokenizer, text, NULL));
        assert_int_not_equal(fam_tokenizer_fingerprint(tokenizer), fingerprint);
        fam_tokenizer_free(tokenizer);
        free(text);
    }
}

/* fam_engine_tokenizer gives NULL for a model without one. */
static void no_tokenizer_makes_no_encoder(void **state)
{
    (void)state;
    fam_encoder *encoder = (fam_encoder *)&memory;
    fam_decoder *decoder = (fam_decoder *)&memory;
    assert_int_equal(fam_encoder_create(&encoder, NULL, false, &error), FAM_STATUS_INVALID_ARGUMENT);
    assert_string_equal(error.message, "tokenizer: found none, need one");
    assert_null(encoder);
    assert_int_equal(fam_decoder_create(&decoder, NULL, false, &error), FAM_STATUS_INVALID_ARGUMENT);
    assert_null(decoder);
}

/* What the package does with merges: a later one of the same pair counts; a byte without a token vanishes, and its
 * neighbours may merge; an unknown token, fused or not. */
static void merging_follows_the_package(void **state)
{
    (void)state;
    fam_tokenizer *tokenizer;
    assert_ok(parse(&tokenizer, right, NULL));
    assert_encodes(tokenizer, "aXb", 1, (int32_t[]){2});
    assert_encodes(tokenizer, "XYZ", 0, NULL);
    fam_tokenizer_free(tokenizer);
    char *twice = replaced(right, "\"ab\":2,\"<s>\":3},\"merges\":[\"a b\"]",
                           "\"ab\":2,\"<s>\":3,\"c\":6,\"bc\":7},\"merges\":[\"a b\",\"b c\",\"a b\"]");
    assert_ok(parse(&tokenizer, twice, NULL));
    assert_encodes(tokenizer, "abc", 2, (int32_t[]){0, 7});
    fam_tokenizer_free(tokenizer);
    free(twice);
    char *text = replaced(right, "\"unk_token\":null", "\"unk_token\":\"b\"");
    assert_ok(parse(&tokenizer, text, NULL));
    assert_encodes(tokenizer, "aXYa", 3, (int32_t[]){2, 1, 0}); /* the unknown is a b, and merges as one */
    fam_tokenizer_free(tokenizer);
    char *fused = replaced(text, "\"fuse_unk\":false", "\"fuse_unk\":true");
    assert_ok(parse(&tokenizer, fused, NULL));
    assert_encodes(tokenizer, "aXYa", 2, (int32_t[]){2, 0});
    fam_tokenizer_free(tokenizer);
    free(fused);
    free(text);
    assert_int_equal(memory.bytes, 0);
}

static void wrong_json_files_are_refused(void **state)
{
    (void)state;
    const struct {
        const char *what, *with;
        fam_status status;
        const char *message;
    } cases[] = {
        {"{\"version\"", "version", FAM_STATUS_BAD_FORMAT, "t.json: not JSON"},
        {"\"type\":\"BPE\"", "\"type\":\"Unigram\"", FAM_STATUS_UNSUPPORTED,
         "model: type: found \"Unigram\", need \"BPE\""},
        {"\"type\":\"BPE\",", "", FAM_STATUS_BAD_FORMAT, "model: type"},
        {"\"model\":{", "\"x\":{", FAM_STATUS_BAD_FORMAT, "model"},
        {"\"type\":\"BPE\"", "\"type\":\"BPE\",\"surprise\":1", FAM_STATUS_UNSUPPORTED, "found key \"surprise\""},
        {"\"b\":1", "\"b\":0", FAM_STATUS_BAD_FORMAT, "found id 0, need one that no other token has"},
        {"\"b\":1", "\"b\":1,\"b\":4", FAM_STATUS_BAD_FORMAT, "t.json: not JSON"},
        {"\"b\":1", "\"b\":-1", FAM_STATUS_BAD_FORMAT, "found id -1"},
        {"\"b\":1", "\"b\":1.0", FAM_STATUS_BAD_FORMAT, "found id the real number 1"},
        {"\"b\":1", "\"b\":\"1\"", FAM_STATUS_BAD_FORMAT, "found id \"1\""},
        {"\"b\":1", "\"b\":2147483648", FAM_STATUS_BAD_FORMAT, "found id 2147483648"},
        {"\"b\":1", "\"b\":9999999", FAM_STATUS_BAD_FORMAT, "found id 9999999 among 6 tokens"},
        {"\"b\":1", "\"\":1", FAM_STATUS_BAD_FORMAT, "found an empty token"},
        {"\"b\":1", "\"b\\u0000c\":1", FAM_STATUS_BAD_FORMAT, "t.json: not JSON"},
        {"\"b\":1", "\"b\xff\":1", FAM_STATUS_BAD_FORMAT, "t.json: not JSON"},
        {"{\"a\":0,\"b\":1,\"ab\":2,\"<s>\":3}", "{}", FAM_STATUS_BAD_FORMAT, "found no token"},
        {"{\"a\":0,\"b\":1,\"ab\":2,\"<s>\":3}", "[]", FAM_STATUS_BAD_FORMAT, "vocab"},
        {"[\"a b\"]", "[\"a c\"]", FAM_STATUS_BAD_FORMAT, "merge 0: found \"c\", need a token of the vocabulary"},
        {"[\"a b\"]", "[\"c a\"]", FAM_STATUS_BAD_FORMAT, "merge 0: found \"c\", need a token of the vocabulary"},
        {"[\"a b\"]", "[\"a b\",\"b a\"]", FAM_STATUS_BAD_FORMAT,
         "merge 1: found \"ba\", need a token of the vocabulary"},
        {"[\"a b\"]", "[\"a b b\"]", FAM_STATUS_BAD_FORMAT, "merge 0: found \"a b b\", need two tokens"},
        {"[\"a b\"]", "[\"ab\"]", FAM_STATUS_BAD_FORMAT, "merge 0: found \"ab\", need two tokens"},
        {"[\"a b\"]", "[\" ab\"]", FAM_STATUS_BAD_FORMAT, "merge 0: found an empty part"},
        {"[\"a b\"]", "[\"a b\",[\"a\",\"b\"]]", FAM_STATUS_BAD_FORMAT, "merge 1: found \"no string\""},
        {"[\"a b\"]", "[[\"a\",\"b\"],\"a b\"]", FAM_STATUS_BAD_FORMAT, "merge 1: found something else"},
        {"[\"a b\"]", "[[\"a\",\"b\",\"b\"]]", FAM_STATUS_BAD_FORMAT, "merge 0: found something else"},
        {"[\"a b\"]", "[[\"a\",1]]", FAM_STATUS_BAD_FORMAT, "merge 0: found something else"},
        {"[\"a b\"]", "[7]", FAM_STATUS_BAD_FORMAT, "merge 0: found \"no string\""},
        {"[\"a b\"]", "{}", FAM_STATUS_BAD_FORMAT, "merges"},
        {"\"dropout\":null", "\"dropout\":0.1", FAM_STATUS_UNSUPPORTED, "dropout: found 0.1"},
        {"\"byte_fallback\":false", "\"byte_fallback\":true", FAM_STATUS_UNSUPPORTED, "byte_fallback: found true"},
        {"\"unk_token\":null", "\"unk_token\":\"zz\"", FAM_STATUS_BAD_FORMAT, "unk_token: found \"zz\""},
        {"\"continuing_subword_prefix\":null", "\"continuing_subword_prefix\":\"##\"", FAM_STATUS_UNSUPPORTED,
         "continuing_subword_prefix: found \"##\""},
        {"\"end_of_word_suffix\":null", "\"end_of_word_suffix\":\"</w>\"", FAM_STATUS_UNSUPPORTED,
         "end_of_word_suffix: found \"</w>\""},
        {"\"ignore_merges\":false", "\"ignore_merges\":1", FAM_STATUS_BAD_FORMAT, "ignore_merges"},
        {"\"normalizer\":null", "\"normalizer\":{\"type\":\"NFC\"}", FAM_STATUS_UNSUPPORTED,
         "normalizer: found NFC, need none"},
        {"\"decoder\":{\"type\":\"ByteLevel\"}", "\"decoder\":null", FAM_STATUS_UNSUPPORTED, "decoder: found none"},
        {"\"decoder\":{\"type\":\"ByteLevel\"}", "\"decoder\":{\"type\":\"BPEDecoder\"}", FAM_STATUS_UNSUPPORTED,
         "decoder: found BPEDecoder"},
        {"\"type\":\"TemplateProcessing\"", "\"type\":\"BertProcessing\"", FAM_STATUS_UNSUPPORTED,
         "post_processor: found \"BertProcessing\""},
        {"{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}",
         "{\"Sequence\":{\"id\":\"A\"}},{\"SpecialToken\":{\"id\":\"<s>\"}}", FAM_STATUS_UNSUPPORTED,
         "piece 2: found a token"},
        {"{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}", "7", FAM_STATUS_BAD_FORMAT, "piece 1: found something else"},
        {"\"SpecialToken\":{\"id\":\"<s>\"", "\"SpecialToken\":{\"id\":\"<t>\"", FAM_STATUS_BAD_FORMAT,
         "found \"<t>\""},
        {"\"content\":\"new\"", "\"content\":\"\"", FAM_STATUS_BAD_FORMAT, "content: found an empty one"},
        {"\"content\":\"new\"", "\"content\":\"<s>\"", FAM_STATUS_BAD_FORMAT, "need a text once"},
        {"{\"id\":5,\"content\":\"new\"", "{\"id\":3,\"content\":\"<s>\"", FAM_STATUS_BAD_FORMAT, "need a text once"},
        {"\"content\":\"new\"", "\"content\":\"ab\"", FAM_STATUS_BAD_FORMAT,
         "need a text once, with one id (it has 2)"},
        {"\"id\":5", "\"id\":1", FAM_STATUS_BAD_FORMAT, "\"new\": found id 1, need one that no other token has"},
        {"\"id\":5", "\"id\":null", FAM_STATUS_BAD_FORMAT, "\"new\": found id null"},
        {"\"id\":5,", "", FAM_STATUS_BAD_FORMAT, "\"new\": found id"},
        {"\"lstrip\":false", "\"lstrip\":true", FAM_STATUS_UNSUPPORTED, "lstrip: found true"},
        {"\"single_word\":false", "\"single_word\":true", FAM_STATUS_UNSUPPORTED, "single_word: found true"},
        {"{\"id\":5,", "7,{\"id\":5,", FAM_STATUS_BAD_FORMAT, "content"},
        {"\"added_tokens\":[", "\"added_tokens\":7,\"x\":[", FAM_STATUS_BAD_FORMAT, "added_tokens"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fam_tokenizer *tokenizer = (fam_tokenizer *)&memory;
        char *text = replaced(right, cases[i].what, cases[i].with);
        fam_status status = parse(&tokenizer, text, NULL);
        if (status != cases[i].status || !strstr(error.message, cases[i].message))
            fail_msg("case %zu: %s: status %d, \"%s\", need %d, \"%s\"", i, cases[i].with, status,
                     status ? error.message : "", cases[i].status, cases[i].message);
        assert_memory_equal(error.message, "t.json: ", 8);
        assert_null(tokenizer);
        assert_int_equal(memory.bytes, 0);
        free(text);
    }
}

static void wrong_configurations_are_refused(void **state)
{
    (void)state;
    const struct {
        const char *config, *message;
    } cases[] = {
        {"{", "c.json: not JSON"},
        {"[]", "c.json: found an array, need an object"},
        {"{\"eos_token\":\"no\"}", "c.json: eos_token: found no, need a token of the vocabulary"},
        {"{\"bos_token\":7}", "c.json: bos_token: found no text, need a token of the vocabulary"},
        {"{\"add_bos_token\":\"yes\"}", "c.json: add_bos_token"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fam_tokenizer *tokenizer;
        assert_int_equal(parse(&tokenizer, right, cases[i].config), FAM_STATUS_BAD_FORMAT);
        assert_memory_equal(error.message, cases[i].message, strlen(cases[i].message));
        assert_int_equal(memory.bytes, 0);
    }
    fam_tokenizer *tokenizer;
    char *text = replaced(right, "\"type\":\"TemplateProcessing\"", "\"type\":\"ByteLevel\"");
    assert_int_equal(parse(&tokenizer, text, "{\"add_bos_token\":true}"), FAM_STATUS_BAD_FORMAT);
    assert_string_equal(error.message, "t.json: bos token: found none, need one to put before a text");
    free(text);
}

/* ---- GGUF ---- */

typedef struct vocabulary {
    const char *model, *pre;
    const char *const *tokens, *const *merges;
    size_t token_count, type_count, merge_count;
    const int32_t *types;
} vocabulary;

static const char *const tokens[] = {"a", "b", "ab", "<s>", "new"};
static const int32_t types[] = {1, 1, 1, 3, 4};
static const char *const merges[] = {"a b"};
static const vocabulary right_vocabulary = {"gpt2", "gpt-2", tokens, merges, 5, 5, 1, types};

static void write_vocabulary(gguf_writer *writer, const vocabulary *v)
{
    gguf_writer_begin(writer);
    gguf_writer_string(writer, "general.architecture", "llama");
    if (v->model)
        gguf_writer_string(writer, "tokenizer.ggml.model", v->model);
    if (v->pre)
        gguf_writer_string(writer, "tokenizer.ggml.pre", v->pre);
    if (v->tokens)
        gguf_writer_strings(writer, "tokenizer.ggml.tokens", v->tokens, v->token_count);
    if (v->types)
        gguf_writer_array(writer, "tokenizer.ggml.token_type", FAM_GGUF_I32, v->type_count, v->types,
                          4 * v->type_count);
    if (v->merges)
        gguf_writer_strings(writer, "tokenizer.ggml.merges", v->merges, v->merge_count);
}

static int warnings;

static void count_warning(void *context, const char *line)
{
    (void)context;
    (void)line;
    warnings++;
}

static fam_status parse_gguf(fam_tokenizer **out, gguf_writer *writer)
{
    gguf_bytes bytes = gguf_writer_finish(writer);
    fam_gguf *gguf;
    fam_memory_init(&memory);
    warnings = 0;
    assert_ok(fam_gguf_parse(&gguf, &memory, "m.gguf", bytes.data, bytes.size, NULL, NULL, &error));
    *out = NULL;
    fam_status status = fam_tokenizer_from_gguf(out, &memory, gguf, count_warning, NULL, &error);
    fam_gguf_free(gguf);
    gguf_bytes_free(&bytes);
    if (status != FAM_OK)
        assert_int_equal(memory.bytes, 0);
    return status;
}

static void a_right_gguf_file_is_read(void **state)
{
    (void)state;
    fam_tokenizer *tokenizer;
    for (int i = 0; i < 3; i++) {
        vocabulary v = right_vocabulary;
        gguf_writer writer;
        v.pre = i == 0 ? "gpt-2" : i == 1 ? "default" : NULL;
        write_vocabulary(&writer, &v);
        gguf_writer_u32(&writer, "tokenizer.ggml.bos_token_id", 3);
        gguf_writer_u32(&writer, "tokenizer.ggml.eot_token_id", 4);
        gguf_writer_bool(&writer, "tokenizer.ggml.add_bos_token", true);
        gguf_writer_string(&writer, "tokenizer.chat_template", "{{ x }}");
        assert_ok(parse_gguf(&tokenizer, &writer));
        assert_int_equal(warnings, i > 0);
        assert_int_equal(fam_tokenizer_bos(tokenizer), 3);
        assert_int_equal(fam_tokenizer_eos(tokenizer), -1);
        assert_int_equal(fam_tokenizer_eot(tokenizer), 4);
        assert_true(fam_tokenizer_is_end(tokenizer, 4));
        assert_true(fam_tokenizer_adds_bos(tokenizer));
        assert_string_equal(fam_tokenizer_chat_template(tokenizer), "{{ x }}");
        assert_encodes(tokenizer, "abnewb<s>", 3, (int32_t[]){2, 4, 1});
        fam_tokenizer_free(tokenizer);
        assert_int_equal(memory.bytes, 0);
    }
}

static void wrong_gguf_vocabularies_are_refused(void **state)
{
    (void)state;
    static const char *const twice[] = {"a", "b", "ab", "<s>", "a"}, *const hollow[] = {"a", "", "ab", "<s>", "n"};
    static const char *const no_space[] = {"ab"}, *const unknown[] = {"a c"}, *const three[] = {"a b a"},
                             *const nothing[] = {""};
    static const int32_t byte_type[] = {1, 1, 1, 3, 6}, wrong_type[] = {1, 1, 1, 3, -1};
    static char long_token[400];
    memset(long_token, 'x', sizeof long_token - 1);
    static const char *const long_added[] = {"a", "b", "ab", "<s>", long_token};
    const vocabulary r = right_vocabulary;
    const struct {
        vocabulary v;
        fam_status status;
        const char *message;
    } cases[] = {
        {{NULL, r.pre, r.tokens, r.merges, 5, 5, 1, types}, FAM_STATUS_BAD_FORMAT, "tokenizer.ggml.model"},
        {{"llama", r.pre, r.tokens, r.merges, 5, 5, 1, types},
         FAM_STATUS_UNSUPPORTED,
         "tokenizer.ggml.model: found \"llama\""},
        {{"gpt2", "qwen2", r.tokens, r.merges, 5, 5, 1, types},
         FAM_STATUS_UNSUPPORTED,
         "tokenizer.ggml.pre: found \"qwen2\""},
        {{"gpt2", r.pre, NULL, r.merges, 5, 5, 1, types}, FAM_STATUS_BAD_FORMAT, "tokenizer.ggml.tokens"},
        {{"gpt2", r.pre, r.tokens, r.merges, 0, 0, 1, types}, FAM_STATUS_BAD_FORMAT, "found 0 tokens"},
        {{"gpt2", r.pre, r.tokens, NULL, 5, 5, 1, types}, FAM_STATUS_BAD_FORMAT, "tokenizer.ggml.merges"},
        {{"gpt2", r.pre, r.tokens, r.merges, 5, 4, 1, types}, FAM_STATUS_BAD_FORMAT, "found 4 elements, need 5"},
        {{"gpt2", r.pre, r.tokens, r.merges, 5, 5, 1, byte_type}, FAM_STATUS_UNSUPPORTED, "element 4: found 6"},
        {{"gpt2", r.pre, r.tokens, r.merges, 5, 5, 1, wrong_type},
         FAM_STATUS_UNSUPPORTED,
         "element 4: found 4294967295"},
        {{"gpt2", r.pre, twice, r.merges, 5, 5, 1, types}, FAM_STATUS_BAD_FORMAT, "element 4: found \"a\""},
        {{"gpt2", r.pre, hollow, r.merges, 5, 5, 1, types}, FAM_STATUS_BAD_FORMAT, "element 1: found an empty token"},
        {{"gpt2", r.pre, r.tokens, no_space, 5, 5, 1, types},
         FAM_STATUS_BAD_FORMAT,
         "merge 0: found \"ab\", need two tokens"},
        {{"gpt2", r.pre, r.tokens, nothing, 5, 5, 1, types},
         FAM_STATUS_BAD_FORMAT,
         "merge 0: found \"\", need two tokens"},
        {{"gpt2", r.pre, r.tokens, unknown, 5, 5, 1, types}, FAM_STATUS_BAD_FORMAT, "merge 0: found \"c\""},
        {{"gpt2", r.pre, r.tokens, three, 5, 5, 1, types}, FAM_STATUS_BAD_FORMAT, "merge 0: found \"b a\""},
        {{"gpt2", r.pre, long_added, r.merges, 5, 5, 1, types},
         FAM_STATUS_UNSUPPORTED,
         "found an added token of 399 bytes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gguf_writer writer;
        fam_tokenizer *tokenizer;
        write_vocabulary(&writer, &cases[i].v);
        fam_status status = parse_gguf(&tokenizer, &writer);
        if (status != cases[i].status || !strstr(error.message, cases[i].message))
            fail_msg("case %zu: status %d, \"%s\", need %d, \"%s\"", i, status, status ? error.message : "",
                     cases[i].status, cases[i].message);
        assert_memory_equal(error.message, "m.gguf: ", 8);
    }
}

static void wrong_gguf_values_are_refused(void **state)
{
    (void)state;
    const float scores[5] = {0, 0, 0, 0, __builtin_nanf("")};
    for (int i = 0; i < 12; i++) {
        gguf_writer w;
        fam_tokenizer *tokenizer;
        write_vocabulary(&w, &right_vocabulary);
        switch (i) {
        case 0:
            gguf_writer_u32(&w, "tokenizer.ggml.bos_token_id", 5);
            break;
        case 1:
            gguf_writer_i32(&w, "tokenizer.ggml.eos_token_id", -1);
            break;
        case 2:
            gguf_writer_u64(&w, "tokenizer.ggml.eot_token_id", 1ull << 32);
            break;
        case 3:
            gguf_writer_u32(&w, "tokenizer.ggml.unknown_token_id", 99);
            break;
        case 4:
            gguf_writer_u32(&w, "tokenizer.ggml.padding_token_id", 99);
            break;
        case 5:
            gguf_writer_bool(&w, "tokenizer.ggml.add_bos_token", true);
            break; /* and no bos */
        case 6:
            gguf_writer_bool(&w, "tokenizer.ggml.add_eos_token", true);
            break;
        case 7:
            gguf_writer_bool(&w, "tokenizer.ggml.add_space_prefix", true);
            break;
        case 8:
            gguf_writer_array(&w, "tokenizer.ggml.scores", FAM_GGUF_F32, 5, scores, sizeof scores);
            break;
        case 9:
            gguf_writer_array(&w, "tokenizer.ggml.scores", FAM_GGUF_F32, 4, scores, sizeof scores - 4);
            break;
        case 10:
            gguf_writer_array(&w, "tokenizer.ggml.scores", FAM_GGUF_I32, 5, scores, sizeof scores);
            break;
        case 11:
            gguf_writer_u32(&w, "tokenizer.chat_template", 1);
            break;
        }
        fam_status status = parse_gguf(&tokenizer, &w);
        if (status != FAM_STATUS_BAD_FORMAT && status != FAM_STATUS_UNSUPPORTED)
            fail_msg("case %d: status %d", i, status);
        assert_memory_equal(error.message, "m.gguf: ", 8);
    }
}

/* ---- paths ---- */

static void paths_are_told_apart(void **state)
{
    (void)state;
    char directory[] = "/tmp/fam-test-tokenizer-XXXXXX", path[128];
    fam_tokenizer *tokenizer;
    assert_non_null(mkdtemp(directory));
    assert_int_equal(fam_tokenizer_open(&tokenizer, directory, &error), FAM_STATUS_NOT_FOUND);
    assert_non_null(strstr(error.message, "tokenizer.json"));
    snprintf(path, sizeof path, "%s/tokenizer.json", directory);
    FILE *file = fopen(path, "w");
    fputs(right, file);
    fclose(file);
    assert_ok(fam_tokenizer_open(&tokenizer, directory, &error));
    assert_null(fam_tokenizer_chat_template(tokenizer));
    fam_tokenizer_free(tokenizer);
    char config[128], jinja[128];
    snprintf(config, sizeof config, "%s/tokenizer_config.json", directory);
    file = fopen(config, "w");
    fputs("{\"chat_template\":\"from the configuration\",\"eos_token\":\"ab\"}", file);
    fclose(file);
    assert_ok(fam_tokenizer_open(&tokenizer, path, &error));
    assert_string_equal(fam_tokenizer_chat_template(tokenizer), "from the configuration");
    assert_int_equal(fam_tokenizer_eos(tokenizer), 2);
    fam_tokenizer_free(tokenizer);
    snprintf(jinja, sizeof jinja, "%s/chat_template.jinja", directory);
    file = fopen(jinja, "w");
    fputs("from its own file", file);
    fclose(file);
    assert_ok(fam_tokenizer_open(&tokenizer, directory, &error));
    assert_string_equal(fam_tokenizer_chat_template(tokenizer), "from its own file");
    fam_tokenizer_free(tokenizer);
    unlink(jinja);
    unlink(config);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(fam_tokenizer_open(&tokenizer, path, &error), FAM_STATUS_IO);
    unlink(path);
    rmdir(directory);
    assert_int_equal(fam_tokenizer_open(&tokenizer, "/no/such/model", &error), FAM_STATUS_NOT_FOUND);
    assert_null(tokenizer);
}

/* ---- size ---- */

/* A token of a megabyte, and a hundred thousand merges that make long tokens. */
static void large_vocabularies_load_in_linear_time(void **state)
{
    (void)state;
    enum { CHAIN = 3000 };
    size_t capacity = 2 * (size_t)CHAIN * CHAIN + (1 << 20) + 4096, used;
    char *text = malloc(capacity);
    struct timespec before, after;
    assert_non_null(text);
    used = (size_t)sprintf(
        text, "{\"decoder\":{\"type\":\"ByteLevel\"},\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"model\":{"
              "\"type\":\"BPE\",\"vocab\":{\"");
    memset(text + used, 'z', 1 << 20);
    used += 1 << 20;
    used += (size_t)sprintf(text + used, "\":0");
    for (int i = 1; i <= CHAIN; i++) {
        used += (size_t)sprintf(text + used, ",\"");
        memset(text + used, 'a', (size_t)i);
        used += (size_t)i;
        used += (size_t)sprintf(text + used, "\":%d", i);
    }
    used += (size_t)sprintf(text + used, "},\"merges\":[");
    for (int i = 1; i < CHAIN; i++) { /* a + a, aa + a, ... */
        used += (size_t)sprintf(text + used, "%s\"", i > 1 ? "," : "");
        memset(text + used, 'a', (size_t)i);
        used += (size_t)i;
        used += (size_t)sprintf(text + used, " a\"");
    }
    used += (size_t)sprintf(text + used, "]}}");
    assert_true(used < capacity);
    fam_memory_init(&memory);
    fam_tokenizer *tokenizer;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    assert_ok(fam_tokenizer_parse_json(&tokenizer, &memory, "t.json", text, used, NULL, NULL, 0, &error));
    token_list ids = {0};
    fam_encoder *encoder;
    memset(text, 'a', 1 << 20);
    assert_ok(fam_encoder_create(&encoder, tokenizer, false, &error));
    assert_ok(fam_encoder_feed(encoder, text, 1 << 20, token_list_sink, &ids, &error));
    assert_ok(fam_encoder_finish(encoder, token_list_sink, &ids, &error));
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    assert_true(after.tv_sec - before.tv_sec < 20);
    assert_int_equal(ids.ids[0], 2); /* all pairs of a first, by rank, and then nothing fits: aa + aa is no merge */
    assert_int_equal(ids.count, 1 << 19);
    token_list_free(&ids);
    fam_encoder_free(encoder);
    fam_tokenizer_free(tokenizer);
    assert_int_equal(memory.bytes, 0);
    free(text);
}

/* ---- lack of memory ---- */

static void every_allocation_may_fail(void **state)
{
    (void)state;
    const char *const files[] = {"tests/fixtures/tokenizer/reduced/split_llama3",
                                 "tests/fixtures/tokenizer/reduced/smollm.gguf"};
    for (size_t f = 0; f < 2; f++)
        for (int for_good = 0; for_good < 2; for_good++) {
            size_t failures = 0;
            for (size_t at = 1;; at++) {
                fam_tokenizer *tokenizer;
                fam_memory_init(&memory);
                memory.fail_at = at;
                memory.fail_for_good = for_good;
                fam_status status =
                    fam_tokenizer_from_path(&tokenizer, &memory, suite_path(files[f]), NULL, NULL, &error);
                if (status == FAM_OK) {
                    fam_tokenizer_free(tokenizer);
                    assert_int_equal(memory.bytes, 0);
                    break;
                }
                assert_int_equal(status, FAM_STATUS_OUT_OF_MEMORY);
                assert_null(tokenizer);
                assert_int_equal(memory.bytes, 0);
                failures++;
            }
            assert_true(failures > 8);
        }
}

static void every_allocation_of_encoding_may_fail(void **state)
{
    (void)state;
    const char *const files[] = {"tests/fixtures/tokenizer/reduced/split_llama3",
                                 "tests/fixtures/tokenizer/reduced/smollm.gguf"};
    static char text[2000];
    memset(text, 'e', sizeof text);
    memcpy(text + 1500, " broken \xff words and\n\n  more <s>", 30);
    for (size_t i = 1600; i < sizeof text; i += 3) /* words enough for the encoder's memory of them */
        text[i] = ' ';
    for (size_t f = 0; f < 2; f++) {
        fam_tokenizer *tokenizer;
        int32_t *want, *ids;
        size_t want_count, count, failures = 0;
        fam_memory_init(&memory);
        assert_ok(fam_tokenizer_from_path(&tokenizer, &memory, suite_path(files[f]), NULL, NULL, &error));
        assert_ok(fam_tokenizer_encode(&want, &want_count, &memory, tokenizer, text, sizeof text, true, &error));
        size_t held = memory.bytes;
        for (size_t at = 1;; at++) {
            memory.fail_at = memory.allocations + at;
            fam_status status = fam_tokenizer_encode(&ids, &count, &memory, tokenizer, text, sizeof text, true, &error);
            if (status == FAM_OK)
                break;
            assert_int_equal(status, FAM_STATUS_OUT_OF_MEMORY);
            assert_int_equal(memory.bytes, held);
            failures++;
        }
        assert_true(failures > 8);
        assert_int_equal(count, want_count);
        assert_memory_equal(ids, want, count * sizeof *ids);
        fam_free(&memory, ids);
        fam_free(&memory, want);
        fam_tokenizer_free(tokenizer);
        assert_int_equal(memory.bytes, 0);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_right_json_file_is_read),
    cmocka_unit_test(no_tokenizer_makes_no_encoder),
    cmocka_unit_test(merging_follows_the_package),
    cmocka_unit_test(wrong_json_files_are_refused),
    cmocka_unit_test(wrong_configurations_are_refused),
    cmocka_unit_test(a_right_gguf_file_is_read),
    cmocka_unit_test(wrong_gguf_vocabularies_are_refused),
    cmocka_unit_test(wrong_gguf_values_are_refused),
    cmocka_unit_test(paths_are_told_apart),
    cmocka_unit_test(large_vocabularies_load_in_linear_time),
    cmocka_unit_test(every_allocation_may_fail),
    cmocka_unit_test(every_allocation_of_encoding_may_fail),
};
SUITE_MAIN(tests)
