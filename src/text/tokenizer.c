/*
 * text/tokenizer.c: what tokenizers from both kinds of files have in common; see tokenizer.h and tokenizer_private.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "text/tokenizer_private.h"

fam_status fam_tokenizer_begin(fam_tokenizer **out, fam_memory *memory, const char *name, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_tokenizer *tokenizer;
    *out = NULL;
    FAM_TRY_ALLOC(tokenizer, fam_alloc_zeroed(memory, sizeof *tokenizer), name);
    tokenizer->memory = memory;
    tokenizer->vocabulary.memory = memory;
    tokenizer->merges.memory = memory;
    tokenizer->unknown = tokenizer->bos = tokenizer->eos = tokenizer->eot = -1;
    *out = tokenizer;
    FAM_TRY_ALLOC(tokenizer->name, fam_strdup(memory, name), name);
done:
    if (status != FAM_OK) {
        fam_tokenizer_free(*out);
        *out = NULL;
    }
    return status;
}

void fam_tokenizer_free(fam_tokenizer *tokenizer)
{
    if (!tokenizer)
        return;
    fam_memory *memory = tokenizer->memory;
    fam_vocabulary_destroy(&tokenizer->vocabulary);
    fam_merges_destroy(&tokenizer->merges);
    for (size_t i = 0; i < tokenizer->split_count; i++)
        fam_regex_free(tokenizer->splits[i].regex);
    for (size_t i = 0; i < FAM_ADDED_PASSES; i++)
        fam_free(memory, tokenizer->added[i].tokens);
    fam_free(memory, tokenizer->chat_template);
    fam_free(memory, tokenizer->name);
    bool owned = tokenizer->owns_memory;
    fam_free(memory, tokenizer);
    if (owned)
        free(memory);
}

fam_status fam_tokenizer_put_pattern(fam_tokenizer *tokenizer, const char *where, const char *pattern, bool literal,
                                     fam_split *split, fam_error *error)
{
    size_t length = strlen(pattern);
    tokenizer->fingerprint = XXH3_64bits_withSeed(pattern, length + 1, tokenizer->fingerprint + !literal);
    if (!literal && strcmp(pattern, FAM_PATTERN_GPT2) == 0) { /* it leaves no gaps, so that nothing is inverted */
        split->kind = FAM_SPLIT_GPT2;
        return FAM_OK;
    }
    split->kind = FAM_SPLIT_REGEX;
    split->llama3 = !literal && strcmp(pattern, FAM_PATTERN_LLAMA3) == 0;
    return fam_regex_compile(&split->regex, tokenizer->memory, where, pattern, length, literal, error);
}

size_t fam_tokenizer_padding_name(char out[FAM_PADDING_NAME_SIZE], int64_t id)
{
    return (size_t)snprintf(out, FAM_PADDING_NAME_SIZE, "[PAD%lld]", (long long)id);
}

fam_status fam_tokenizer_put_merge(fam_tokenizer *tokenizer, const char *where, uint32_t rank, const char *left,
                                   size_t left_length, const char *right, size_t right_length, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_vocabulary *vocabulary = &tokenizer->vocabulary;
    size_t length = left_length + right_length;
    char small[256], *joined = small;
    FAM_FAIL_IF(left_length == 0 || right_length == 0, FAM_STATUS_BAD_FORMAT,
                "%s: merge %u: found an empty part, need two tokens", where, (unsigned)rank);
    int32_t left_id = fam_vocabulary_find_in_model(vocabulary, left, left_length);
    int32_t right_id = fam_vocabulary_find_in_model(vocabulary, right, right_length);
    FAM_FAIL_IF(left_id < 0, FAM_STATUS_BAD_FORMAT, "%s: merge %u: found \"%.*s\", need a token of the vocabulary",
                where, (unsigned)rank, (int)(left_length < 64 ? left_length : 64), left);
    FAM_FAIL_IF(right_id < 0, FAM_STATUS_BAD_FORMAT, "%s: merge %u: found \"%.*s\", need a token of the vocabulary",
                where, (unsigned)rank, (int)(right_length < 64 ? right_length : 64), right);
    if (length > sizeof small)
        FAM_TRY_ALLOC(joined, fam_alloc(tokenizer->memory, length), where);
    memcpy(joined, left, left_length);
    memcpy(joined + left_length, right, right_length);
    int32_t id = fam_vocabulary_find_in_model(vocabulary, joined, length);
    FAM_FAIL_IF(id < 0, FAM_STATUS_BAD_FORMAT, "%s: merge %u: found \"%.*s\", need a token of the vocabulary", where,
                (unsigned)rank, (int)(length < 64 ? length : 64), joined);
    fam_merges_put(&tokenizer->merges, left_id, right_id, rank, id);
done:
    if (joined != small)
        fam_free(tokenizer->memory, joined);
    return status;
}

/* Gathers the added tokens from the vocabulary. */
static fam_status gather_added(fam_tokenizer *tokenizer, const bool *second_pass, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_vocabulary *vocabulary = &tokenizer->vocabulary;
    for (int pass = 0; pass < FAM_ADDED_PASSES; pass++) {
        fam_added_set *set = &tokenizer->added[pass];
        size_t count = 0;
        for (int32_t id = 0; id < vocabulary->size; id++)
            count += vocabulary->tokens[id].kind >= FAM_TOKEN_ADDED && (second_pass && second_pass[id]) == (pass == 1);
        if (count == 0)
            continue;
        FAM_TRY_ALLOC(set->tokens, fam_alloc_array(tokenizer->memory, count, sizeof *set->tokens), tokenizer->name);
        for (int32_t id = 0; id < vocabulary->size; id++) {
            const fam_token *token = &vocabulary->tokens[id];
            if (token->kind < FAM_TOKEN_ADDED || (second_pass && second_pass[id]) != (pass == 1))
                continue;
            FAM_FAIL_IF(token->text_length > FAM_ADDED_BYTES_MAX, FAM_STATUS_UNSUPPORTED,
                        "%s: token %d: found an added token of %u bytes, need at most %d", tokenizer->name, (int)id,
                        (unsigned)token->text_length, FAM_ADDED_BYTES_MAX);
            set->tokens[set->count++] = (fam_added_token){.text = token->text,
                                                          .length = token->text_length,
                                                          .id = id,
                                                          .special = token->kind == FAM_TOKEN_SPECIAL};
        }
        fam_added_set_prepare(set);
    }
done:
    return status;
}

static void put_end_id(fam_tokenizer *tokenizer, int32_t id)
{
    if (id >= 0 && !fam_tokenizer_is_end(tokenizer, id) && tokenizer->end_id_count < FAM_END_IDS_MAX)
        tokenizer->end_ids[tokenizer->end_id_count++] = id;
}

static void gather_end_ids(fam_tokenizer *tokenizer)
{
    static const char *const known[] = {"<|im_end|>",      "<|endoftext|>", "<|eot_id|>",   "<|eom_id|>",
                                        "<|end_of_text|>", "<|end|>",       "<end_of_turn>"};
    put_end_id(tokenizer, tokenizer->eos);
    put_end_id(tokenizer, tokenizer->eot);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        int32_t id = fam_tokenizer_find(tokenizer, known[i], strlen(known[i]));
        if (id >= 0 && fam_tokenizer_kind(tokenizer, id) == FAM_TOKEN_SPECIAL)
            put_end_id(tokenizer, id);
    }
}

static uint64_t mix(uint64_t hash, const void *data, size_t size)
{
    return XXH3_64bits_withSeed(data, size, hash);
}

/* Everything that decides ids goes in, but for the patterns of splits, which the reader of tokenizer.json mixed in. */
static uint64_t fingerprint(const fam_tokenizer *tokenizer)
{
    uint64_t hash = tokenizer->fingerprint, sum = 0;
    for (int32_t id = 0; id < tokenizer->vocabulary.size; id++) {
        const fam_token *token = &tokenizer->vocabulary.tokens[id];
        uint32_t head[3] = {(uint32_t)id, token->kind, token->text_length};
        if (token->kind != FAM_TOKEN_NONE)
            hash = mix(mix(hash, head, sizeof head), token->text, token->text_length);
    }
    for (size_t i = 0; i <= tokenizer->merges.mask; i++) { /* a sum, so that the order of the slots does not matter */
        const fam_merge *merge = &tokenizer->merges.slots[i];
        uint64_t words[2] = {merge->pair, (uint64_t)merge->rank << 32 | (uint32_t)merge->id};
        if (merge->id >= 0)
            sum += mix(0, words, sizeof words);
    }
    for (size_t i = 0; i < tokenizer->split_count; i++) {
        const fam_split *split = &tokenizer->splits[i];
        uint32_t words[4] = {split->kind, split->behavior, split->invert, split->add_prefix_space};
        hash = mix(hash, words, sizeof words);
    }
    uint64_t rest[4] = {sum, (uint64_t)(int64_t)tokenizer->unknown, tokenizer->fuse_unknown, tokenizer->ignore_merges};
    return mix(hash, rest, sizeof rest);
}

fam_status fam_tokenizer_complete_ids(fam_tokenizer *tokenizer, fam_error *error)
{
    fam_status status = FAM_OK;
    const struct {
        const char *what;
        int32_t id;
    } ids[] = {{"bos", tokenizer->bos}, {"eos", tokenizer->eos}, {"eot", tokenizer->eot}};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        FAM_FAIL_IF(ids[i].id != -1 && fam_tokenizer_kind(tokenizer, ids[i].id) == FAM_TOKEN_NONE,
                    FAM_STATUS_BAD_FORMAT, "%s: %s token: found id %d, need one that has a token, below %d",
                    tokenizer->name, ids[i].what, (int)ids[i].id, (int)tokenizer->vocabulary.size);
    FAM_FAIL_IF(tokenizer->add_bos && tokenizer->bos < 0, FAM_STATUS_BAD_FORMAT,
                "%s: bos token: found none, need one to put before a text", tokenizer->name);
    tokenizer->end_id_count = 0;
    gather_end_ids(tokenizer);
done:
    return status;
}

fam_status fam_tokenizer_complete(fam_tokenizer *tokenizer, const bool *second_pass, fam_error *error)
{
    fam_status status = FAM_OK;
    for (int byte = 0; byte < 256; byte++) {
        char text[2];
        size_t length = fam_byte_level_encode((uint8_t)byte, text);
        tokenizer->byte_ids[byte] = fam_vocabulary_find_in_model(&tokenizer->vocabulary, text, length);
    }
    for (int32_t id = 0; id < tokenizer->vocabulary.size; id++)
        if (tokenizer->vocabulary.tokens[id].text_length > tokenizer->longest)
            tokenizer->longest = tokenizer->vocabulary.tokens[id].text_length;
    FAM_TRY(gather_added(tokenizer, second_pass, error));
    FAM_TRY(fam_tokenizer_complete_ids(tokenizer, error));
    tokenizer->fingerprint = fingerprint(tokenizer);
done:
    return status;
}

int64_t fam_tokenizer_vocab_size(const fam_tokenizer *tokenizer)
{
    return tokenizer->vocabulary.size;
}

static const fam_token *token_at(const fam_tokenizer *tokenizer, int32_t id)
{
    if (id < 0 || id >= tokenizer->vocabulary.size || tokenizer->vocabulary.tokens[id].kind == FAM_TOKEN_NONE)
        return NULL;
    return &tokenizer->vocabulary.tokens[id];
}

fam_token_kind fam_tokenizer_kind(const fam_tokenizer *tokenizer, int32_t id)
{
    const fam_token *token = token_at(tokenizer, id);
    return token ? (fam_token_kind)token->kind : FAM_TOKEN_NONE;
}

int32_t fam_tokenizer_find(const fam_tokenizer *tokenizer, const char *text, size_t length)
{
    return fam_vocabulary_find(&tokenizer->vocabulary, text, length);
}

const char *fam_tokenizer_token_text(const fam_tokenizer *tokenizer, int32_t id, size_t *length)
{
    const fam_token *token = token_at(tokenizer, id);
    if (!token)
        return NULL;
    *length = token->text_length;
    return token->text;
}

const char *fam_tokenizer_bytes(const fam_tokenizer *tokenizer, int32_t id, size_t *length)
{
    const fam_token *token = token_at(tokenizer, id);
    if (!token)
        return NULL;
    *length = token->bytes_length;
    return (const char *)token->bytes;
}

bool fam_tokenizer_is_special(const fam_tokenizer *tokenizer, int32_t id)
{
    return fam_tokenizer_kind(tokenizer, id) == FAM_TOKEN_SPECIAL;
}

fam_status fam_tokenizer_bad_id(const fam_tokenizer *tokenizer, int32_t id, fam_error *error)
{
    return fam_error_set(error, FAM_STATUS_INVALID_ARGUMENT,
                         "%s: token id: found %d, need one that has a token, 0 to %d", tokenizer->name, (int)id,
                         (int)tokenizer->vocabulary.size - 1);
}

int32_t fam_tokenizer_bos(const fam_tokenizer *tokenizer)
{
    return tokenizer->bos;
}

int32_t fam_tokenizer_eos(const fam_tokenizer *tokenizer)
{
    return tokenizer->eos;
}

int32_t fam_tokenizer_eot(const fam_tokenizer *tokenizer)
{
    return tokenizer->eot;
}

bool fam_tokenizer_adds_bos(const fam_tokenizer *tokenizer)
{
    return tokenizer->add_bos;
}

const int32_t *fam_tokenizer_end_ids(const fam_tokenizer *tokenizer, size_t *count)
{
    *count = tokenizer->end_id_count;
    return tokenizer->end_ids;
}

bool fam_tokenizer_is_end(const fam_tokenizer *tokenizer, int32_t id)
{
    for (size_t i = 0; i < tokenizer->end_id_count; i++)
        if (tokenizer->end_ids[i] == id)
            return true;
    return false;
}

const char *fam_tokenizer_chat_template(const fam_tokenizer *tokenizer)
{
    return tokenizer->chat_template;
}

int fam_tokenizer_missing_bytes(const fam_tokenizer *tokenizer)
{
    int missing = 0;
    for (int byte = 0; byte < 256; byte++)
        missing += tokenizer->byte_ids[byte] < 0;
    return missing;
}

uint64_t fam_tokenizer_fingerprint(const fam_tokenizer *tokenizer)
{
    return tokenizer->fingerprint;
}

fam_status fam_tokenizer_check_rows(const fam_tokenizer *tokenizer, int64_t rows, fam_error *error)
{
    int32_t last = tokenizer->vocabulary.size - 1;
    while (last >= 0 && tokenizer->vocabulary.tokens[last].kind == FAM_TOKEN_NONE)
        last--;
    if (last < rows)
        return FAM_OK;
    return fam_error_set(error, FAM_STATUS_MISMATCH,
                         "%s: vocabulary: found token id %d, need ids below the %lld rows of the model's embedding",
                         tokenizer->name, (int)last, (long long)rows);
}
