/*
 * text/tokenizer_gguf.c: a tokenizer from GGUF metadata. Knows GGUF only through format/gguf.h.
 *
 *   tokenizer.ggml.model              "gpt2": byte-level BPE
 *   tokenizer.ggml.pre                which pre-tokenizer: "smollm", "gpt-2", "llama-bpe"
 *   tokenizer.ggml.tokens             [n] strings; the index is the id
 *   tokenizer.ggml.token_type         [n] i32: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
 *   tokenizer.ggml.scores             [n] f32, not used by BPE
 *   tokenizer.ggml.merges             strings "left right", the first goes first
 *   tokenizer.ggml.*_token_id, tokenizer.ggml.add_*, tokenizer.chat_template
 */
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "format/gguf.h"
#include "text/tokenizer_private.h"

enum { TYPE_NORMAL = 1, TYPE_CONTROL = 3, TYPE_USER_DEFINED = 4, TYPE_UNUSED = 5, TYPE_BYTE = 6 };

static bool equals(const char *text, size_t length, const char *word)
{
    return length == strlen(word) && memcmp(text, word, length) == 0;
}

/* Which splits; the only families whose rules are known here. */
static fam_status read_splits(fam_tokenizer *t, const fam_gguf *gguf, fam_tokenizer_warn *warn, void *warn_context,
                              fam_error *error)
{
    fam_status status = FAM_OK;
    const char *model, *pre = "default";
    size_t model_length, pre_length = strlen(pre);
    bool prefix_space = false, add_eos = false;
    FAM_TRY(fam_gguf_get_string(gguf, "tokenizer.ggml.model", true, &model, &model_length, error));
    FAM_FAIL_IF(!equals(model, model_length, "gpt2"), FAM_STATUS_UNSUPPORTED,
                "%s: tokenizer: tokenizer.ggml.model: found \"%.*s\", need \"gpt2\"", t->name,
                (int)(model_length < 64 ? model_length : 64), model);
    FAM_TRY(fam_gguf_get_string(gguf, "tokenizer.ggml.pre", false, &pre, &pre_length, error));
    FAM_TRY(fam_gguf_get_bool(gguf, "tokenizer.ggml.add_space_prefix", false, &prefix_space, error));
    FAM_FAIL_IF(prefix_space, FAM_STATUS_UNSUPPORTED,
                "%s: tokenizer: tokenizer.ggml.add_space_prefix: found true, need false", t->name);
    FAM_TRY(fam_gguf_get_bool(gguf, "tokenizer.ggml.add_eos_token", false, &add_eos, error));
    FAM_FAIL_IF(add_eos, FAM_STATUS_UNSUPPORTED, "%s: tokenizer: tokenizer.ggml.add_eos_token: found true, need false",
                t->name);
    if (equals(pre, pre_length, "llama-bpe")) {
        char where[512];
        snprintf(where, sizeof where, "%.400s: tokenizer: tokenizer.ggml.pre", t->name);
        t->ignore_merges = true; /* as llama.cpp has it for this one */
        FAM_TRY(fam_tokenizer_put_pattern(t, where, FAM_PATTERN_LLAMA3, false, &t->splits[t->split_count++], error));
        t->splits[t->split_count++] = (fam_split){.kind = FAM_SPLIT_NOTHING};
        goto done;
    }
    if (equals(pre, pre_length, "smollm")) {
        t->splits[t->split_count++] = (fam_split){.kind = FAM_SPLIT_DIGITS};
    } else if (equals(pre, pre_length, "default")) {
        char line[512];
        snprintf(line, sizeof line, "%.400s: tokenizer.ggml.pre says nothing certain; taken as \"gpt-2\"", t->name);
        if (warn)
            warn(warn_context, line);
    } else {
        FAM_FAIL_IF(!equals(pre, pre_length, "gpt-2"), FAM_STATUS_UNSUPPORTED,
                    "%s: tokenizer: tokenizer.ggml.pre: found \"%.*s\", need \"smollm\", \"gpt-2\" or \"llama-bpe\"", t->name,
                    (int)(pre_length < 64 ? pre_length : 64), pre);
    }
    t->splits[t->split_count++] = (fam_split){.kind = FAM_SPLIT_GPT2};
done:
    return status;
}

/* The types, NULL if the file has none; checks scores too, although BPE has no use for them. */
static fam_status read_types(const fam_tokenizer *t, const fam_gguf *gguf, uint64_t tokens, const uint8_t **types,
                             fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_gguf_value *value = fam_gguf_find(gguf, "tokenizer.ggml.token_type");
    *types = NULL;
    if (value) {
        FAM_FAIL_IF(value->type != FAM_GGUF_ARRAY ||
                        (value->element_type != FAM_GGUF_I32 && value->element_type != FAM_GGUF_U32),
                    FAM_STATUS_BAD_FORMAT, "%s: tokenizer: tokenizer.ggml.token_type: found %s, need an array of i32",
                    t->name, fam_gguf_type_name(value->element_type));
        FAM_FAIL_IF(value->count != tokens, FAM_STATUS_BAD_FORMAT,
                    "%s: tokenizer: tokenizer.ggml.token_type: found %llu elements, need %llu, one a token", t->name,
                    (unsigned long long)value->count, (unsigned long long)tokens);
        *types = value->data;
    }
    value = fam_gguf_find(gguf, "tokenizer.ggml.scores");
    if (value) {
        FAM_FAIL_IF(value->type != FAM_GGUF_ARRAY || value->element_type != FAM_GGUF_F32 || value->count != tokens,
                    FAM_STATUS_BAD_FORMAT, "%s: tokenizer: tokenizer.ggml.scores: found %llu of %s, need %llu of f32",
                    t->name, (unsigned long long)value->count, fam_gguf_type_name(value->element_type),
                    (unsigned long long)tokens);
        for (uint64_t i = 0; i < tokens; i++) {
            float score = fam_read_f32(value->data + 4 * i);
            FAM_FAIL_IF(score != score, FAM_STATUS_BAD_FORMAT,
                        "%s: tokenizer: tokenizer.ggml.scores: element %llu: found NaN, need a number", t->name,
                        (unsigned long long)i);
        }
    }
done:
    return status;
}

static fam_status put_token(fam_tokenizer *t, int32_t id, const char *text, size_t length, uint32_t type,
                            fam_error *error)
{
    fam_status status = FAM_OK;
    FAM_FAIL_IF(type < TYPE_NORMAL || type >= TYPE_BYTE, FAM_STATUS_UNSUPPORTED,
                "%s: tokenizer: tokenizer.ggml.token_type: element %d: found %u, need 1 to 5", t->name, (int)id,
                (unsigned)type);
    FAM_FAIL_IF(length == 0, FAM_STATUS_BAD_FORMAT,
                "%s: tokenizer: tokenizer.ggml.tokens: element %d: found an empty token, need at least a byte", t->name,
                (int)id);
    char padding[FAM_PADDING_NAME_SIZE];
    if (type == TYPE_UNUSED && fam_tokenizer_padding_name(padding, id) == length && memcmp(padding, text, length) == 0)
        goto done; /* the file must name every id; this one has no token */
    fam_token_kind kind = type == TYPE_CONTROL        ? FAM_TOKEN_SPECIAL
                          : type == TYPE_USER_DEFINED ? FAM_TOKEN_ADDED
                                                      : FAM_TOKEN_NORMAL;
    int32_t other = fam_vocabulary_put(&t->vocabulary, id, text, length, kind, true);
    FAM_FAIL_IF(
        other >= 0, FAM_STATUS_BAD_FORMAT,
        "%s: tokenizer: tokenizer.ggml.tokens: element %d: found \"%.*s\", need a text that element %d does not have",
        t->name, (int)id, (int)(length < 64 ? length : 64), text, (int)other);
done:
    return status;
}

static fam_status read_tokens(fam_tokenizer *t, const fam_gguf *gguf, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_gguf_strings strings;
    const uint8_t *types;
    const char *text;
    size_t length, total = 0;
    FAM_TRY(fam_gguf_get_strings(gguf, "tokenizer.ggml.tokens", true, &strings, error));
    uint64_t count = strings.remaining;
    FAM_FAIL_IF(count == 0 || count > FAM_VOCABULARY_MAX, FAM_STATUS_BAD_FORMAT,
                "%s: tokenizer: tokenizer.ggml.tokens: found %llu tokens, need 1 to %d", t->name,
                (unsigned long long)count, FAM_VOCABULARY_MAX);
    FAM_TRY(read_types(t, gguf, count, &types, error));
    for (fam_gguf_strings walk = strings; fam_gguf_next_string(&walk, &text, &length);)
        total += length; /* the file holds them, so the sum cannot overflow */
    FAM_TRY(fam_vocabulary_create(&t->vocabulary, t->memory, (int32_t)count, total, error));
    for (int32_t id = 0; fam_gguf_next_string(&strings, &text, &length); id++)
        FAM_TRY(put_token(t, id, text, length, types ? fam_read_u32(types + 4 * (size_t)id) : TYPE_NORMAL, error));
done:
    return status;
}

static fam_status read_merges(fam_tokenizer *t, const fam_gguf *gguf, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_gguf_strings strings;
    const char *text;
    size_t length;
    char where[512];
    snprintf(where, sizeof where, "%.400s: tokenizer: tokenizer.ggml.merges", t->name);
    FAM_TRY(fam_gguf_get_strings(gguf, "tokenizer.ggml.merges", true, &strings, error));
    FAM_TRY(fam_merges_create(&t->merges, t->memory, (size_t)strings.remaining, error));
    for (uint32_t rank = 0; fam_gguf_next_string(&strings, &text, &length); rank++) {
        const char *space = length ? memchr(text, ' ', length) : NULL;
        FAM_FAIL_IF(!space, FAM_STATUS_BAD_FORMAT, "%s: merge %u: found \"%.*s\", need two tokens and a space between",
                    where, (unsigned)rank, (int)(length < 64 ? length : 64), text);
        size_t left = (size_t)(space - text);
        FAM_TRY(fam_tokenizer_put_merge(t, where, rank, text, left, space + 1, length - left - 1, error));
    }
done:
    return status;
}

static fam_status read_id(const fam_tokenizer *t, const fam_gguf *gguf, const char *key, int32_t *out, fam_error *error)
{
    fam_status status = FAM_OK;
    int64_t id = -1;
    FAM_TRY(fam_gguf_get_i64(gguf, key, false, &id, error));
    FAM_FAIL_IF(id >= t->vocabulary.size, FAM_STATUS_BAD_FORMAT, "%s: tokenizer: %s: found %lld, need an id below %d",
                t->name, key, (long long)id, (int)t->vocabulary.size);
    *out = (int32_t)id;
done:
    return status;
}

static fam_status read_rest(fam_tokenizer *t, const fam_gguf *gguf, fam_error *error)
{
    fam_status status = FAM_OK;
    const char *text = NULL;
    size_t length;
    int32_t unused;
    FAM_TRY(read_id(t, gguf, "tokenizer.ggml.bos_token_id", &t->bos, error));
    FAM_TRY(read_id(t, gguf, "tokenizer.ggml.eos_token_id", &t->eos, error));
    FAM_TRY(read_id(t, gguf, "tokenizer.ggml.eot_token_id", &t->eot, error));
    FAM_TRY(read_id(t, gguf, "tokenizer.ggml.unknown_token_id", &unused, error));
    FAM_TRY(read_id(t, gguf, "tokenizer.ggml.padding_token_id", &unused, error));
    FAM_TRY(fam_gguf_get_bool(gguf, "tokenizer.ggml.add_bos_token", false, &t->add_bos, error));
    FAM_TRY(fam_gguf_get_string(gguf, "tokenizer.chat_template", false, &text, &length, error));
    if (text)
        FAM_TRY_ALLOC(t->chat_template, fam_strndup(t->memory, text, length), t->name);
done:
    return status;
}

fam_status fam_tokenizer_from_gguf(fam_tokenizer **out, fam_memory *memory, const fam_gguf *gguf,
                                   fam_tokenizer_warn *warn, void *warn_context, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_tokenizer *t = NULL;
    *out = NULL;
    FAM_TRY(fam_tokenizer_begin(&t, memory, fam_gguf_path(gguf), error));
    FAM_TRY(read_splits(t, gguf, warn, warn_context, error));
    FAM_TRY(read_tokens(t, gguf, error));
    FAM_TRY(read_merges(t, gguf, error));
    FAM_TRY(read_rest(t, gguf, error));
    FAM_TRY(fam_tokenizer_complete(t, NULL, error));
    *out = t;
    t = NULL;
done:
    fam_tokenizer_free(t);
    return status;
}
