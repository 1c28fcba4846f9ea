/*
 * text/tokenizer_json.c: a tokenizer from a Hugging Face tokenizer.json and the tokenizer_config.json beside it.
 *
 *   added_tokens     [{id, content, special, normalized, single_word, lstrip, rstrip}]
 *   normalizer       null
 *   pre_tokenizer    see tokenizer_json_splits.c
 *   post_processor   ByteLevel; TemplateProcessing that puts at most a bos token in front
 *   decoder          ByteLevel
 *   model            {type: "BPE", vocab: {text: id}, merges: ["a b"] or [["a", "b"]], unk_token, fuse_unk,
 * ignore_merges} Whatever else would change ids is refused by name.
 */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "format/json.h"
#include "text/tokenizer_json.h"

enum {
    FILE_BYTES_MAX = 128 << 20,
    CONFIG_BYTES_MAX = 16 << 20,
    GAP_MAX = 1 << 16 /* ids without a token; a vocabulary is padded by some hundreds at most */
};

/* ---- the model ---- */

static fam_status check_model(const json_t *model, const char *where, fam_error *error)
{
    static const char *const known[] = {"type",          "dropout",      "unk_token", "continuing_subword_prefix",
                                        "vocab",         "merges",       "fuse_unk",  "end_of_word_suffix",
                                        "ignore_merges", "byte_fallback"};
    fam_status status = FAM_OK;
    const char *type = NULL, *prefix = "", *suffix = "", *key;
    bool byte_fallback = false;
    double dropout = 0;
    json_t *value;
    FAM_TRY(fam_json_string(model, where, "type", true, &type, error));
    FAM_FAIL_IF(strcmp(type, "BPE") != 0, FAM_STATUS_UNSUPPORTED, "%s: type: found \"%s\", need \"BPE\"", where, type);
    json_object_foreach((json_t *)model, key, value)
    {
        size_t i = 0;
        while (i < sizeof known / sizeof *known && strcmp(key, known[i]) != 0)
            i++;
        FAM_FAIL_IF(i == sizeof known / sizeof *known && !json_is_null(value), FAM_STATUS_UNSUPPORTED,
                    "%s: found key \"%s\", need keys that are known here", where, key);
    }
    FAM_TRY(fam_json_f64(model, where, "dropout", false, &dropout, error));
    FAM_FAIL_IF(dropout != 0, FAM_STATUS_UNSUPPORTED, "%s: dropout: found %g, need none", where, dropout);
    FAM_TRY(fam_json_bool(model, where, "byte_fallback", false, &byte_fallback, error));
    FAM_FAIL_IF(byte_fallback, FAM_STATUS_UNSUPPORTED, "%s: byte_fallback: found true, need false", where);
    FAM_TRY(fam_json_string(model, where, "continuing_subword_prefix", false, &prefix, error));
    FAM_TRY(fam_json_string(model, where, "end_of_word_suffix", false, &suffix, error));
    FAM_FAIL_IF(*prefix, FAM_STATUS_UNSUPPORTED, "%s: continuing_subword_prefix: found \"%s\", need none", where,
                prefix);
    FAM_FAIL_IF(*suffix, FAM_STATUS_UNSUPPORTED, "%s: end_of_word_suffix: found \"%s\", need none", where, suffix);
done:
    return status;
}

/* Takes an id from a JSON value and keeps the largest. */
static fam_status check_id(const json_t *value, const char *where, const char *text, int64_t *largest, fam_error *error)
{
    char words[FAM_JSON_WORDS_SIZE];
    if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) >= FAM_VOCABULARY_MAX)
        return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s: \"%.64s\": found id %s, need 0 to %d", where, text,
                             fam_json_words(value, words), FAM_VOCABULARY_MAX - 1);
    if (json_integer_value(value) > *largest)
        *largest = json_integer_value(value);
    return FAM_OK;
}

/* Room for all tokens: the ids' range and the texts' length. */
static fam_status create_vocabulary(fam_tokenizer *t, json_t *vocab, json_t *added, const char *where, fam_error *error)
{
    fam_status status = FAM_OK;
    int64_t largest = -1, count;
    size_t total = 0, index;
    const char *text = NULL;
    json_t *value;
    json_object_foreach(vocab, text, value)
    {
        FAM_TRY(check_id(value, where, text, &largest, error));
        total += strlen(text);
    }
    json_array_foreach(added, index, value)
    {
        FAM_TRY(fam_json_string(value, where, "content", true, &text, error));
        FAM_TRY(check_id(json_object_get(value, "id"), where, text, &largest, error));
        total += strlen(text);
    }
    count = (int64_t)json_object_size(vocab) + (int64_t)json_array_size(added);
    FAM_FAIL_IF(json_object_size(vocab) == 0, FAM_STATUS_BAD_FORMAT, "%s: vocab: found no token, need some", where);
    FAM_FAIL_IF(largest >= count + GAP_MAX, FAM_STATUS_BAD_FORMAT,
                "%s: vocab: found id %lld among %lld tokens, need ids below %lld", where, (long long)largest,
                (long long)count, (long long)(count + GAP_MAX));
    FAM_TRY(fam_vocabulary_create(&t->vocabulary, t->memory, (int32_t)largest + 1, total, error));
done:
    return status;
}

static fam_status put_vocabulary(fam_tokenizer *t, json_t *vocab, const char *where, fam_error *error)
{
    fam_status status = FAM_OK;
    const char *text;
    json_t *value;
    json_object_foreach(vocab, text, value)
    {
        int32_t id = (int32_t)json_integer_value(value);
        FAM_FAIL_IF(*text == '\0', FAM_STATUS_BAD_FORMAT, "%s: vocab: found an empty token, need at least a byte",
                    where);
        FAM_FAIL_IF(fam_vocabulary_put(&t->vocabulary, id, text, strlen(text), FAM_TOKEN_NORMAL, true) >= 0,
                    FAM_STATUS_BAD_FORMAT, "%s: vocab: \"%.64s\": found id %d, need one that no other token has", where,
                    text, (int)id);
    }
done:
    return status;
}

static fam_status put_merges(fam_tokenizer *t, json_t *merges, const char *where, fam_error *error)
{
    fam_status status = FAM_OK;
    size_t rank;
    json_t *merge;
    bool pairs = json_is_array(json_array_get(merges, 0));
    FAM_TRY(fam_merges_create(&t->merges, t->memory, json_array_size(merges), error));
    json_array_foreach(merges, rank, merge)
    {
        const char *left, *right;
        size_t left_length;
        if (pairs) {
            left = json_string_value(json_array_get(merge, 0));
            right = json_string_value(json_array_get(merge, 1));
            FAM_FAIL_IF(json_array_size(merge) != 2 || !left || !right, FAM_STATUS_BAD_FORMAT,
                        "%s: merge %zu: found something else, need a pair of strings as the first merge is", where,
                        rank);
            left_length = strlen(left);
        } else {
            left = json_string_value(merge);
            FAM_FAIL_IF(!left || !strchr(left, ' ') || strchr(strchr(left, ' ') + 1, ' '), FAM_STATUS_BAD_FORMAT,
                        "%s: merge %zu: found \"%.64s\", need two tokens with one space between", where, rank,
                        left ? left : "no string");
            right = strchr(left, ' ') + 1;
            left_length = (size_t)(right - left - 1);
        }
        FAM_TRY(fam_tokenizer_put_merge(t, where, (uint32_t)rank, left, left_length, right, strlen(right), error));
    }
done:
    return status;
}

static fam_status read_model(fam_tokenizer *t, json_t *model, json_t *added, fam_error *error)
{
    fam_status status = FAM_OK;
    json_t *vocab, *merges;
    const char *unknown = NULL;
    char where[512];
    snprintf(where, sizeof where, "%.400s: model", t->name);
    FAM_TRY(check_model(model, where, error));
    FAM_TRY(fam_json_child(model, where, "vocab", JSON_OBJECT, true, &vocab, error));
    FAM_TRY(fam_json_child(model, where, "merges", JSON_ARRAY, true, &merges, error));
    FAM_TRY(create_vocabulary(t, vocab, added, where, error));
    FAM_TRY(put_vocabulary(t, vocab, where, error));
    FAM_TRY(put_merges(t, merges, where, error));
    FAM_TRY(fam_json_bool(model, where, "fuse_unk", false, &t->fuse_unknown, error));
    FAM_TRY(fam_json_bool(model, where, "ignore_merges", false, &t->ignore_merges, error));
    FAM_TRY(fam_json_string(model, where, "unk_token", false, &unknown, error));
    if (unknown) {
        t->unknown = fam_vocabulary_find_in_model(&t->vocabulary, unknown, strlen(unknown));
        FAM_FAIL_IF(t->unknown < 0, FAM_STATUS_BAD_FORMAT,
                    "%s: unk_token: found \"%.64s\", need a token of the vocabulary", where, unknown);
    }
done:
    return status;
}

/* ---- added tokens ---- */

static fam_status put_added(fam_tokenizer *t, const json_t *token, const char *where, bool *second_pass,
                            fam_error *error)
{
    static const char *const refused[] = {"single_word", "lstrip", "rstrip"};
    fam_status status = FAM_OK;
    const char *text = NULL;
    bool special = false;
    FAM_TRY(fam_json_string(token, where, "content", true, &text, error));
    FAM_FAIL_IF(*text == '\0', FAM_STATUS_BAD_FORMAT, "%s: content: found an empty one, need at least a byte", where);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        bool flag = false;
        FAM_TRY(fam_json_bool(token, where, refused[i], false, &flag, error));
        FAM_FAIL_IF(flag, FAM_STATUS_UNSUPPORTED, "%s: \"%.64s\": %s: found true, need false", where, text, refused[i]);
    }
    FAM_TRY(fam_json_bool(token, where, "special", false, &special, error));
    bool normalized = !special;
    FAM_TRY(fam_json_bool(token, where, "normalized", false, &normalized, error));
    fam_token_kind kind = special ? FAM_TOKEN_SPECIAL : FAM_TOKEN_ADDED;
    int32_t id = (int32_t)json_integer_value(json_object_get(token, "id"));
    int32_t other = fam_vocabulary_find(&t->vocabulary, text, strlen(text));
    fam_token *present = other >= 0 ? &t->vocabulary.tokens[other] : NULL;
    FAM_FAIL_IF(present && (other != id || present->kind >= FAM_TOKEN_ADDED), FAM_STATUS_BAD_FORMAT,
                "%s: \"%.64s\": found id %d, need a text once, with one id (it has %d)", where, text, (int)id,
                (int)other);
    if (present) {
        present->kind = (uint8_t)kind;
        present->bytes = (const uint8_t *)present->text;
        present->bytes_length = present->text_length;
    } else {
        FAM_FAIL_IF(fam_vocabulary_put(&t->vocabulary, id, text, strlen(text), kind, false) >= 0, FAM_STATUS_BAD_FORMAT,
                    "%s: \"%.64s\": found id %d, need one that no other token has", where, text, (int)id);
    }
    second_pass[id] = normalized;
done:
    return status;
}

/* ---- post-processor, decoder, normalizer ---- */

/* One template: [{"SpecialToken": {"id": "<bos>"}}, {"Sequence": {"id": "A"}}]. */
static fam_status read_template(fam_tokenizer *t, json_t *processor, const char *where, fam_error *error)
{
    fam_status status = FAM_OK;
    json_t *single, *piece;
    const char *bos = NULL;
    size_t index;
    bool text_seen = false;
    FAM_TRY(fam_json_child(processor, where, "single", JSON_ARRAY, true, &single, error));
    json_array_foreach(single, index, piece)
    {
        json_t *special = json_object_get(piece, "SpecialToken");
        FAM_FAIL_IF(special && (text_seen || bos), FAM_STATUS_UNSUPPORTED,
                    "%s: single: piece %zu: found a token, need none but one before the text", where, index);
        FAM_FAIL_IF(!special && (text_seen || !json_is_object(json_object_get(piece, "Sequence"))),
                    FAM_STATUS_BAD_FORMAT,
                    "%s: single: piece %zu: found something else, need a SpecialToken or one Sequence", where, index);
        if (special)
            FAM_TRY(fam_json_string(special, where, "id", true, &bos, error));
        else
            text_seen = true;
    }
    if (bos) {
        t->bos = fam_tokenizer_find(t, bos, strlen(bos));
        FAM_FAIL_IF(t->bos < 0, FAM_STATUS_BAD_FORMAT, "%s: single: found \"%.64s\", need a token of the vocabulary",
                    where, bos);
        t->add_bos = true;
    }
done:
    return status;
}

static fam_status read_post_processor(fam_tokenizer *t, json_t *processor, int depth, fam_error *error)
{
    fam_status status = FAM_OK;
    const char *type = NULL;
    char where[512];
    if (!processor || json_is_null(processor))
        return FAM_OK;
    snprintf(where, sizeof where, "%.400s: post_processor", t->name);
    FAM_TRY(fam_json_string(processor, where, "type", true, &type, error));
    if (strcmp(type, "ByteLevel") == 0)
        goto done; /* it only moves offsets */
    if (strcmp(type, "TemplateProcessing") == 0) {
        FAM_TRY(read_template(t, processor, where, error));
    } else {
        json_t *processors, *each;
        size_t index;
        FAM_FAIL_IF(strcmp(type, "Sequence") != 0 || depth > 4, FAM_STATUS_UNSUPPORTED,
                    "%s: found \"%.64s\", need ByteLevel or TemplateProcessing", where, type);
        FAM_TRY(fam_json_child(processor, where, "processors", JSON_ARRAY, true, &processors, error));
        json_array_foreach(processors, index, each) FAM_TRY(read_post_processor(t, each, depth + 1, error));
    }
done:
    return status;
}

static fam_status check_normalizer_and_decoder(const fam_tokenizer *t, json_t *root, fam_error *error)
{
    fam_status status = FAM_OK;
    json_t *normalizer = json_object_get(root, "normalizer"), *decoder = json_object_get(root, "decoder");
    const char *type = json_string_value(json_object_get(normalizer, "type"));
    bool empty = json_is_array(json_object_get(normalizer, "normalizers")) &&
                 json_array_size(json_object_get(normalizer, "normalizers")) == 0;
    FAM_FAIL_IF(normalizer && !json_is_null(normalizer) && !empty, FAM_STATUS_UNSUPPORTED,
                "%s: normalizer: found %.64s, need none", t->name, type ? type : "one");
    type = json_string_value(json_object_get(decoder, "type"));
    FAM_FAIL_IF(!type || strcmp(type, "ByteLevel") != 0, FAM_STATUS_UNSUPPORTED,
                "%s: decoder: found %.64s, need ByteLevel", t->name, type ? type : "none");
done:
    return status;
}

/* ---- tokenizer_config.json ---- */

/* A token given as a string or as {"content": string}; -1 if it is absent or null. */
static fam_status config_token(const fam_tokenizer *t, const json_t *config, const char *name, const char *key,
                               int32_t *out, fam_error *error)
{
    const json_t *value = json_object_get(config, key);
    const char *text = json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
    if (!value || json_is_null(value))
        return FAM_OK;
    int32_t id = text ? fam_tokenizer_find(t, text, strlen(text)) : -1;
    if (id < 0)
        return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s: %s: found %.64s, need a token of the vocabulary", name,
                             key, text ? text : "no text");
    *out = id;
    return FAM_OK;
}

static fam_status read_config(fam_tokenizer *t, const json_t *config, const char *name, fam_error *error)
{
    fam_status status = FAM_OK;
    const json_t *template = json_object_get(config, "chat_template");
    FAM_TRY(config_token(t, config, name, "bos_token", &t->bos, error));
    FAM_TRY(config_token(t, config, name, "eos_token", &t->eos, error));
    FAM_TRY(fam_json_bool(config, name, "add_bos_token", false, &t->add_bos, error));
    if (json_is_array(template)) { /* several by name; the one called default is meant */
        size_t index;
        json_t *each, *found = NULL;
        json_array_foreach(template, index, each)
        {
            const char *each_name = json_string_value(json_object_get(each, "name"));
            if (each_name && strcmp(each_name, "default") == 0)
                found = json_object_get(each, "template");
        }
        template = found;
    }
    if (json_is_string(template))
        FAM_TRY_ALLOC(t->chat_template, fam_strdup(t->memory, json_string_value(template)), name);
done:
    return status;
}

/* ---- the whole ---- */

static fam_status read_root(fam_tokenizer *t, json_t *root, fam_error *error)
{
    fam_status status = FAM_OK;
    json_t *model, *added = NULL, *token;
    bool *second_pass = NULL;
    size_t index;
    char where[512];
    FAM_TRY(fam_json_child(root, t->name, "model", JSON_OBJECT, true, &model, error));
    FAM_TRY(fam_json_child(root, t->name, "added_tokens", JSON_ARRAY, false, &added, error));
    FAM_TRY(check_normalizer_and_decoder(t, root, error));
    FAM_TRY(fam_tokenizer_read_splits(t, json_object_get(root, "pre_tokenizer"), error));
    FAM_TRY(read_model(t, model, added, error));
    FAM_TRY_ALLOC(second_pass, fam_alloc_array(t->memory, (size_t)t->vocabulary.size, sizeof *second_pass), t->name);
    snprintf(where, sizeof where, "%.400s: added_tokens", t->name);
    json_array_foreach(added, index, token) FAM_TRY(put_added(t, token, where, second_pass, error));
    FAM_TRY(read_post_processor(t, json_object_get(root, "post_processor"), 0, error));
    FAM_TRY(fam_tokenizer_complete(t, second_pass, error));
done:
    fam_free(t->memory, second_pass);
    return status;
}

static fam_status build(fam_tokenizer **out, fam_memory *memory, const char *name, json_t *root,
                        const char *config_name, json_t *config, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_tokenizer *t = NULL;
    FAM_TRY(fam_tokenizer_begin(&t, memory, name, error));
    FAM_TRY(read_root(t, root, error));
    if (config) {
        FAM_TRY(read_config(t, config, config_name, error));
        FAM_TRY(fam_tokenizer_complete_ids(t, error));
    }
    *out = t;
    t = NULL;
done:
    fam_tokenizer_free(t);
    return status;
}

fam_status fam_tokenizer_parse_json(fam_tokenizer **out, fam_memory *memory, const char *name, const char *text,
                                    size_t size, const char *config_name, const char *config, size_t config_size,
                                    fam_error *error)
{
    fam_status status = FAM_OK;
    json_t *root = NULL, *config_root = NULL;
    *out = NULL;
    FAM_TRY(fam_json_parse(&root, name, text, size, error));
    FAM_FAIL_IF(!json_is_object(root), FAM_STATUS_BAD_FORMAT, "%s: found an array, need an object", name);
    if (config) {
        FAM_TRY(fam_json_parse(&config_root, config_name, config, config_size, error));
        FAM_FAIL_IF(!json_is_object(config_root), FAM_STATUS_BAD_FORMAT, "%s: found an array, need an object",
                    config_name);
    }
    FAM_TRY(build(out, memory, name, root, config_name, config_root, error));
done:
    json_decref(root);
    json_decref(config_root);
    return status;
}

/* A chat_template.jinja beside `path` replaces the template that the tokenizer has. */
static fam_status read_jinja(fam_tokenizer *t, const char *path, fam_error *error)
{
    fam_status status = FAM_OK;
    uint8_t *text = NULL;
    size_t size;
    const char *slash = strrchr(path, '/');
    char *directory, *jinja = NULL;
    FAM_TRY_ALLOC(directory, slash ? fam_strndup(t->memory, path, (size_t)(slash - path)) : fam_strdup(t->memory, "."),
                  path);
    FAM_TRY_ALLOC(jinja, fam_path_join(t->memory, directory, "chat_template.jinja"), path);
    if (fam_path_exists(jinja)) {
        FAM_TRY(fam_file_read(&text, &size, t->memory, jinja, CONFIG_BYTES_MAX, error));
        fam_free(t->memory, t->chat_template);
        t->chat_template = (char *)text;
    }
done:
    fam_free(t->memory, directory);
    fam_free(t->memory, jinja);
    return status;
}

fam_status fam_tokenizer_from_json(fam_tokenizer **out, fam_memory *memory, const char *path, const char *config_path,
                                   fam_error *error)
{
    fam_status status = FAM_OK;
    json_t *root = NULL, *config = NULL;
    *out = NULL;
    FAM_TRY(fam_json_read(&root, memory, path, FILE_BYTES_MAX, error));
    if (config_path)
        FAM_TRY(fam_json_read(&config, memory, config_path, CONFIG_BYTES_MAX, error));
    FAM_TRY(build(out, memory, path, root, config_path, config, error));
    FAM_TRY(read_jinja(*out, path, error));
done:
    if (status != FAM_OK) {
        fam_tokenizer_free(*out);
        *out = NULL;
    }
    json_decref(root);
    json_decref(config);
    return status;
}
