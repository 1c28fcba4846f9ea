/*
 * text/tokenizer_write.c: see tokenizer_write.h. The readers are tokenizer_json.c and tokenizer_gguf.c.
 */
#include "text/tokenizer_write.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/utf8.h"
#include "format/gguf_write.h"
#include "format/json.h"
#include "text/tokenizer_private.h"

/* ---- what both forms need ---------------------------------------------------------------------------------------- */

static int by_rank(const void *a, const void *b)
{
    uint32_t first = ((const fam_merge *)a)->rank, second = ((const fam_merge *)b)->rank;
    return (first > second) - (first < second);
}

/* The merges in their order; released with fam_free. */
static fam_status sorted_merges(fam_merge **out, const fam_tokenizer *t, fam_memory *memory, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_merge *merges;
    size_t count = 0;
    FAM_TRY_ALLOC(merges, fam_alloc_array(memory, t->merges.count, sizeof *merges), t->name);
    for (size_t i = 0; t->merges.count > 0 && i <= t->merges.mask; i++)
        if (t->merges.slots[i].id >= 0)
            merges[count++] = t->merges.slots[i];
    qsort(merges, count, sizeof *merges, by_rank);
    *out = merges;
done:
    return status;
}

/* "left right" in a buffer that grows. */
typedef struct pair_text {
    fam_memory *memory;
    char *text;
    size_t capacity, length;
} pair_text;

static fam_status join_pair(pair_text *out, const fam_tokenizer *t, const fam_merge *merge, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_token *left = &t->vocabulary.tokens[merge->pair >> 32];
    const fam_token *right = &t->vocabulary.tokens[(uint32_t)merge->pair];
    FAM_FAIL_IF(memchr(left->text, ' ', left->text_length) || memchr(right->text, ' ', right->text_length),
                FAM_STATUS_UNSUPPORTED, "%s: tokenizer: merges: found a token with a space in it, need none", t->name);
    size_t need = (size_t)left->text_length + right->text_length + 1;
    if (need > out->capacity) {
        char *grown;
        FAM_TRY_ALLOC(grown, fam_realloc(out->memory, out->text, need + 256), t->name);
        out->text = grown;
        out->capacity = need + 256;
    }
    memcpy(out->text, left->text, left->text_length);
    out->text[left->text_length] = ' ';
    memcpy(out->text + left->text_length + 1, right->text, right->text_length);
    out->length = need;
done:
    return status;
}

/* Which of the named pre-tokenizers this is; NULL if it is none of them. */
static const char *pre_name(const fam_tokenizer *t)
{
    const fam_split *s = t->splits;
    size_t count = t->split_count;
    for (size_t i = 0; i < count; i++)
        if (s[i].behavior != FAM_SPLIT_ISOLATED || s[i].add_prefix_space ||
            (s[i].invert && s[i].kind != FAM_SPLIT_GPT2))
            return NULL;
    if (count > 1 && s[count - 1].kind == FAM_SPLIT_NOTHING)
        count--;
    if (count == 1 && s[0].kind == FAM_SPLIT_GPT2)
        return "gpt-2";
    if (count == 1 && s[0].kind == FAM_SPLIT_REGEX && s[0].llama3)
        return "llama-bpe";
    if (count == 2 && s[0].kind == FAM_SPLIT_DIGITS && s[1].kind == FAM_SPLIT_GPT2)
        return "smollm";
    return NULL;
}

/* ---- tokenizer.json ---------------------------------------------------------------------------------------------- */

/* A token's text as jansson's strings need it: UTF-8 without NUL, NUL-terminated; released with fam_free. */
static fam_status token_text(char **out, const fam_tokenizer *t, int32_t id, fam_memory *memory, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_token *token = &t->vocabulary.tokens[id];
    *out = NULL;
    FAM_FAIL_IF(memchr(token->text, '\0', token->text_length), FAM_STATUS_UNSUPPORTED,
                "%s: tokenizer: token %d: found a NUL in it, need none", t->name, (int)id);
    FAM_TRY_ALLOC(*out, fam_strndup(memory, token->text, token->text_length), t->name);
    FAM_FAIL_IF(!fam_utf8_valid((const uint8_t *)token->text, token->text_length), FAM_STATUS_UNSUPPORTED,
                "%s: tokenizer: token %d: found one that is not UTF-8, need UTF-8", t->name, (int)id);
done:
    if (status != FAM_OK) {
        fam_free(memory, *out);
        *out = NULL;
    }
    return status;
}

static fam_status add_tokens(json_t *vocab, json_t *added, const fam_tokenizer *t, fam_memory *memory, fam_error *error)
{
    fam_status status = FAM_OK;
    char *text = NULL;
    for (int32_t id = 0; id < t->vocabulary.size; id++) {
        const fam_token *token = &t->vocabulary.tokens[id];
        int failed = 0;
        if (token->kind == FAM_TOKEN_NONE)
            continue;
        FAM_TRY(token_text(&text, t, id, memory, error));
        if (token->in_model)
            failed = json_object_set_new_nocheck(vocab, text, json_integer(id));
        if (token->kind >= FAM_TOKEN_ADDED)
            failed |=
                json_array_append_new(added, json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", (int)id, "content",
                                                       text, "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized",
                                                       0, "special", token->kind == FAM_TOKEN_SPECIAL));
        FAM_FAIL_IF(failed, FAM_STATUS_OUT_OF_MEMORY, "%s: out of memory", t->name);
        fam_free(memory, text);
        text = NULL;
    }
done:
    fam_free(memory, text);
    return status;
}

static fam_status add_merges(json_t *list, const fam_tokenizer *t, fam_memory *memory, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_merge *merges = NULL;
    pair_text pair = {.memory = memory};
    FAM_TRY(sorted_merges(&merges, t, memory, error));
    for (size_t i = 0; i < t->merges.count; i++) {
        FAM_TRY(join_pair(&pair, t, &merges[i], error));
        FAM_FAIL_IF(json_array_append_new(list, json_stringn(pair.text, pair.length)) != 0, FAM_STATUS_OUT_OF_MEMORY,
                    "%s: out of memory", t->name);
    }
done:
    fam_free(memory, pair.text);
    fam_free(memory, merges);
    return status;
}

/* The splits of `pre` as tokenizer.json words them. NULL when memory is short. */
static json_t *pre_tokenizer_json(const char *pre)
{
    bool llama3 = strcmp(pre, "llama-bpe") == 0;
    json_t *bytes = json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1,
                              "use_regex", !llama3);
    json_t *before = NULL;
    if (strcmp(pre, "smollm") == 0)
        before = json_pack("{s:s, s:b}", "type", "Digits", "individual_digits", 1);
    else if (llama3)
        before = json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex", FAM_PATTERN_LLAMA3,
                           "behavior", "Isolated", "invert", 0);
    else
        return bytes;
    return json_pack("{s:s, s:[o, o]}", "type", "Sequence", "pretokenizers", before, bytes);
}

/* What puts the beginning-of-text token before a text; null if nothing does. */
static fam_status post_processor_json(json_t **out, const fam_tokenizer *t, fam_memory *memory, fam_error *error)
{
    fam_status status = FAM_OK;
    char *bos = NULL;
    *out = NULL;
    if (!t->add_bos) {
        *out = json_null();
        goto done;
    }
    FAM_TRY(token_text(&bos, t, t->bos, memory, error));
    *out = json_pack("{s:s, s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}], s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}, {s:{s:s, s:i}}],"
                     " s:{s:{s:s, s:[i], s:[s]}}}",
                     "type", "TemplateProcessing", "single", "SpecialToken", "id", bos, "type_id", 0, "Sequence", "id",
                     "A", "type_id", 0, "pair", "SpecialToken", "id", bos, "type_id", 0, "Sequence", "id", "A",
                     "type_id", 0, "Sequence", "id", "B", "type_id", 1, "special_tokens", bos, "id", bos, "ids",
                     (int)t->bos, "tokens", bos);
    FAM_FAIL_IF(!*out, FAM_STATUS_OUT_OF_MEMORY, "%s: out of memory", t->name);
done:
    fam_free(memory, bos);
    return status;
}

static fam_status make_json(json_t **out, const fam_tokenizer *t, fam_memory *memory, fam_error *error)
{
    fam_status status = FAM_OK;
    json_t *vocab = json_object(), *added = json_array(), *merges = json_array(), *post = NULL, *pre = NULL;
    const char *name = pre_name(t);
    char *unknown = NULL;
    *out = NULL;
    FAM_FAIL_IF(!name, FAM_STATUS_UNSUPPORTED,
                "%s: tokenizer: pre-tokenizer: found one without a name, need gpt-2, smollm or llama-bpe", t->name);
    FAM_TRY(add_tokens(vocab, added, t, memory, error));
    FAM_TRY(add_merges(merges, t, memory, error));
    FAM_TRY(post_processor_json(&post, t, memory, error));
    if (t->unknown >= 0)
        FAM_TRY(token_text(&unknown, t, t->unknown, memory, error));
    FAM_TRY_ALLOC(pre, pre_tokenizer_json(name), t->name);
    FAM_TRY_ALLOC(*out,
                  json_pack("{s:s, s:n, s:n, s:O, s:n, s:O, s:O, s:{s:s, s:b, s:b, s:b},"
                            " s:{s:s, s:n, s:s?, s:n, s:n, s:b, s:b, s:b, s:O, s:O}}",
                            "version", "1.0", "truncation", "padding", "added_tokens", added, "normalizer",
                            "pre_tokenizer", pre, "post_processor", post, "decoder", "type", "ByteLevel",
                            "add_prefix_space", 1, "trim_offsets", 1, "use_regex", 1, "model", "type", "BPE", "dropout",
                            "unk_token", unknown, "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
                            t->fuse_unknown, "byte_fallback", 0, "ignore_merges", t->ignore_merges, "vocab", vocab,
                            "merges", merges),
                  t->name);
done:
    fam_free(memory, unknown);
    json_decref(vocab);
    json_decref(added);
    json_decref(merges);
    json_decref(post);
    json_decref(pre);
    return status;
}

/* tokenizer_config.json: which tokens mean what, and the chat template. */
static fam_status make_config(json_t **out, const fam_tokenizer *t, fam_memory *memory, fam_error *error)
{
    fam_status status = FAM_OK;
    char *bos = NULL, *eos = NULL;
    *out = NULL;
    if (t->bos >= 0)
        FAM_TRY(token_text(&bos, t, t->bos, memory, error));
    if (t->eos >= 0)
        FAM_TRY(token_text(&eos, t, t->eos, memory, error));
    FAM_FAIL_IF(t->chat_template && !fam_utf8_valid((const uint8_t *)t->chat_template, strlen(t->chat_template)),
                FAM_STATUS_UNSUPPORTED, "%s: tokenizer: chat template: found one that is not UTF-8, need UTF-8",
                t->name);
    FAM_TRY_ALLOC(*out,
                  json_pack("{s:s, s:b, s:s?, s:s?, s:b}", "tokenizer_class", "PreTrainedTokenizerFast",
                            "add_bos_token", t->add_bos, "bos_token", bos, "eos_token", eos,
                            "clean_up_tokenization_spaces", 0),
                  t->name);
    if (t->chat_template)
        FAM_FAIL_IF(json_object_set_new(*out, "chat_template", json_string(t->chat_template)) != 0,
                    FAM_STATUS_OUT_OF_MEMORY, "%s: out of memory", t->name);
done:
    fam_free(memory, bos);
    fam_free(memory, eos);
    return status;
}

static fam_status write_one(const char *directory, const char *name, fam_memory *memory, const json_t *value,
                            fam_error *error)
{
    fam_status status = FAM_OK;
    char *path;
    FAM_TRY_ALLOC(path, fam_path_join(memory, directory, name), directory);
    FAM_TRY(fam_json_write(path, memory, value, error));
done:
    fam_free(memory, path);
    return status;
}

fam_status fam_tokenizer_write_json(const fam_tokenizer *t, fam_memory *memory, const char *directory, fam_error *error)
{
    fam_status status = FAM_OK;
    json_t *root = NULL, *config = NULL;
    FAM_TRY(make_json(&root, t, memory, error));
    FAM_TRY(make_config(&config, t, memory, error));
    FAM_TRY(write_one(directory, "tokenizer.json", memory, root, error));
    FAM_TRY(write_one(directory, "tokenizer_config.json", memory, config, error));
done:
    json_decref(root);
    json_decref(config);
    return status;
}

/* ---- GGUF -------------------------------------------------------------------------------------------------------- */

enum { TYPE_NORMAL = 1, TYPE_CONTROL = 3, TYPE_USER_DEFINED = 4, TYPE_UNUSED = 5 };

/* Refuses what llama.cpp would do otherwise. */
static fam_status check_for_gguf(const fam_tokenizer *t, int64_t rows, fam_error *error)
{
    fam_status status = FAM_OK;
    const char *name = pre_name(t);
    FAM_FAIL_IF(!name, FAM_STATUS_UNSUPPORTED,
                "%s: pre_tokenizer: found one that GGUF has no name for, need that of GPT-2, SmolLM or Llama 3",
                t->name);
    bool ignores = strcmp(name, "llama-bpe") == 0;
    FAM_FAIL_IF(t->ignore_merges != ignores, FAM_STATUS_UNSUPPORTED,
                "%s: model: ignore_merges: found %s, need %s, which GGUF means by pre-tokenizer %s", t->name,
                t->ignore_merges ? "true" : "false", ignores ? "true" : "false", name);
    FAM_FAIL_IF(t->unknown >= 0 && fam_tokenizer_missing_bytes(t) > 0, FAM_STATUS_UNSUPPORTED,
                "%s: model: unk_token: found one for %d bytes without a token, need none: GGUF drops them", t->name,
                fam_tokenizer_missing_bytes(t));
    FAM_TRY(fam_tokenizer_check_rows(t, rows, error));
done:
    return status;
}

static uint32_t type_of(fam_token_kind kind)
{
    return kind == FAM_TOKEN_SPECIAL  ? TYPE_CONTROL
           : kind == FAM_TOKEN_ADDED  ? TYPE_USER_DEFINED
           : kind == FAM_TOKEN_NORMAL ? TYPE_NORMAL
                                      : TYPE_UNUSED;
}

static fam_status put_tokens(const fam_tokenizer *t, fam_gguf_writer *writer, int64_t rows, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_gguf_put_array(writer, "tokenizer.ggml.tokens", FAM_GGUF_STRING, (uint64_t)rows);
    for (int64_t id = 0; id < rows; id++) {
        size_t length;
        const char *text = id < t->vocabulary.size ? fam_tokenizer_token_text(t, (int32_t)id, &length) : NULL;
        char padding[FAM_PADDING_NAME_SIZE];
        if (!text) {
            text = padding;
            length = fam_tokenizer_padding_name(padding, id);
            FAM_FAIL_IF(fam_vocabulary_find(&t->vocabulary, text, length) >= 0, FAM_STATUS_UNSUPPORTED,
                        "%s: token %lld: found none, and another that is called %s; need another name for that",
                        t->name, (long long)id, padding);
        }
        fam_gguf_put_element(writer, text, length);
    }
    fam_gguf_put_array(writer, "tokenizer.ggml.token_type", FAM_GGUF_I32, (uint64_t)rows);
    for (int64_t id = 0; id < rows; id++) {
        uint32_t type = type_of(id < t->vocabulary.size ? fam_tokenizer_kind(t, (int32_t)id) : FAM_TOKEN_NONE);
        const uint8_t little[4] = {(uint8_t)type};
        fam_gguf_put_elements(writer, little, sizeof little);
    }
done:
    return status;
}

static fam_status put_merges(const fam_tokenizer *t, fam_memory *memory, fam_gguf_writer *writer, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_merge *merges = NULL;
    pair_text pair = {.memory = memory};
    FAM_TRY(sorted_merges(&merges, t, memory, error));
    fam_gguf_put_array(writer, "tokenizer.ggml.merges", FAM_GGUF_STRING, t->merges.count);
    for (size_t i = 0; i < t->merges.count; i++) {
        FAM_TRY(join_pair(&pair, t, &merges[i], error));
        fam_gguf_put_element(writer, pair.text, pair.length);
    }
done:
    fam_free(memory, pair.text);
    fam_free(memory, merges);
    return status;
}

fam_status fam_tokenizer_write_gguf(const fam_tokenizer *t, fam_memory *memory, fam_gguf_writer *writer, int64_t rows,
                                    fam_error *error)
{
    fam_status status = FAM_OK;
    FAM_TRY(check_for_gguf(t, rows, error));
    const char *pre = pre_name(t);
    /* where no end is named llama.cpp would take id 11 for it: name the token that ends a text here */
    int32_t eos = t->eos < 0 && t->end_id_count > 0 ? t->end_ids[0] : t->eos;
    fam_gguf_put_string(writer, "tokenizer.ggml.model", "gpt2", strlen("gpt2"));
    fam_gguf_put_string(writer, "tokenizer.ggml.pre", pre, strlen(pre));
    FAM_TRY(put_tokens(t, writer, rows, error));
    FAM_TRY(put_merges(t, memory, writer, error));
    const struct {
        const char *key;
        int32_t id;
    } ids[] = {{"tokenizer.ggml.bos_token_id", t->bos},
               {"tokenizer.ggml.eos_token_id", eos},
               {"tokenizer.ggml.eot_token_id", t->eot}};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (ids[i].id >= 0)
            fam_gguf_put_u32(writer, ids[i].key, (uint32_t)ids[i].id);
    fam_gguf_put_bool(writer, "tokenizer.ggml.add_bos_token", t->add_bos);
    fam_gguf_put_bool(writer, "tokenizer.ggml.add_space_prefix", false);
    if (t->chat_template)
        fam_gguf_put_string(writer, "tokenizer.chat_template", t->chat_template, strlen(t->chat_template));
done:
    return status;
}
