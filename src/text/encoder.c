/*
 * text/encoder.c: the streaming encoder: added tokens are found first, the text between them goes through the
 * pre-tokenizer, its words through BPE, and ids are handed over in batches. See tokenizer.h.
 */
#include <string.h>
#include <xxhash.h>

#include "text/tokenizer_private.h"

enum {
    BATCH_IDS = 1024,
    CACHE_WORDS = 8192, /* a power of two; 512 KiB */
    CACHED_BYTES = 22,
    CACHED_IDS = 8,
    CACHE_FROM = 64,    /* words; a shorter text is not worth it */
    KEPT_IDS = 1 << 14, /* work space for a word that is kept */
    WORD_BYTES_MAX = INT32_MAX - 1
};

/* A word merged before; one cache line. size 0: empty. */
typedef struct cached_word {
    uint64_t hash;
    uint8_t size, count;
    uint8_t bytes[CACHED_BYTES];
    int32_t ids[CACHED_IDS];
} cached_word;

_Static_assert(sizeof(cached_word) == 64, "a cache line");

/* The end of the text that may begin an added token. */
typedef struct tail {
    const fam_added_set *set; /* NULL: this pass finds nothing */
    uint8_t bytes[FAM_ADDED_BYTES_MAX];
    size_t held;
} tail;

struct fam_encoder {
    fam_memory *memory;
    const fam_tokenizer *tokenizer;
    bool parse_special;
    fam_token_sink *sink; /* of the present call */
    void *sink_context;
    fam_pretokenizer *pretokenizer;
    fam_bpe bpe;
    tail tails[FAM_ADDED_PASSES];
    cached_word *cache; /* NULL until so many words have come */
    uint64_t words;
    int32_t *word_ids;
    size_t word_capacity;
    char *word_text; /* for ignore_merges: a word in the byte-level alphabet */
    uint64_t fed, dropped, first_dropped;
    fam_status failed; /* FAM_OK, or why it must be reset */
    size_t batch_count;
    int32_t batch[BATCH_IDS];
};

static fam_status hand_over(fam_encoder *encoder, fam_error *error)
{
    size_t count = encoder->batch_count;
    encoder->batch_count = 0;
    if (count == 0 || encoder->sink(encoder->sink_context, encoder->batch, count))
        return FAM_OK;
    return fam_error_set(error, FAM_STATUS_CANCELLED, "tokenizer: cancelled");
}

static fam_status put_ids(fam_encoder *encoder, const int32_t *ids, size_t count, fam_error *error)
{
    while (count) {
        size_t n = BATCH_IDS - encoder->batch_count;
        if (n > count)
            n = count;
        memcpy(encoder->batch + encoder->batch_count, ids, n * sizeof *ids);
        encoder->batch_count += n;
        ids += n;
        count -= n;
        if (encoder->batch_count == BATCH_IDS) {
            fam_status status = hand_over(encoder, error);
            if (status != FAM_OK)
                return status;
        }
    }
    return FAM_OK;
}

/* Symbols of a word: one a byte, none for a byte without a token unless the model has a token for the unknown. */
static size_t symbols_of(fam_encoder *encoder, const uint8_t *word, size_t size, int64_t offset)
{
    const fam_tokenizer *tokenizer = encoder->tokenizer;
    size_t count = 0;
    bool after_unknown = false;
    for (size_t i = 0; i < size; i++) {
        int32_t id = tokenizer->byte_ids[word[i]];
        bool unknown = id < 0;
        if (unknown) {
            if (encoder->dropped++ == 0)
                encoder->first_dropped = offset + (int64_t)i > 0 ? (uint64_t)offset + i : 0;
            id = after_unknown && tokenizer->fuse_unknown ? -1 : tokenizer->unknown;
        }
        if (id >= 0)
            encoder->word_ids[count++] = id;
        after_unknown = unknown;
    }
    return count;
}

static fam_status reserve_ids(fam_encoder *encoder, size_t size, fam_error *error)
{
    if (size > WORD_BYTES_MAX)
        return fam_error_set(error, FAM_STATUS_UNSUPPORTED,
                             "tokenizer: text: found a word of %zu bytes, need at most %d", size, WORD_BYTES_MAX);
    if (size <= encoder->word_capacity)
        return FAM_OK;
    fam_free(encoder->memory, encoder->word_ids);
    encoder->word_capacity = 0;
    encoder->word_ids = fam_alloc_array(encoder->memory, size, sizeof *encoder->word_ids);
    if (!encoder->word_ids)
        return fam_out_of_memory(error, "tokenizer: a long word");
    encoder->word_capacity = size;
    return FAM_OK;
}

static fam_status merge_word(fam_encoder *encoder, const uint8_t *word, size_t size, int64_t offset, size_t *count,
                             fam_error *error)
{
    fam_status status = FAM_OK;
    FAM_TRY(reserve_ids(encoder, size, error));
    *count = symbols_of(encoder, word, size, offset);
    FAM_TRY(fam_bpe_merge(&encoder->bpe, &encoder->tokenizer->merges, encoder->word_ids, count, error));
    FAM_TRY(put_ids(encoder, encoder->word_ids, *count, error));
done:
    return status;
}

/* The token that a whole word is, -1 if none. */
static int32_t find_word(fam_encoder *encoder, const uint8_t *word, size_t size)
{
    size_t length = 0;
    if (size > encoder->tokenizer->longest)
        return -1;
    for (size_t i = 0; i < size; i++)
        length += fam_byte_level_encode(word[i], encoder->word_text + length);
    return fam_vocabulary_find_in_model(&encoder->tokenizer->vocabulary, encoder->word_text, length);
}

static fam_status encode_word(void *context, const uint8_t *word, size_t size, int64_t offset, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_encoder *encoder = context;
    size_t count;
    if (encoder->tokenizer->ignore_merges) {
        int32_t id = find_word(encoder, word, size);
        if (id >= 0)
            return put_ids(encoder, &id, 1, error);
    }
    if (!encoder->cache && ++encoder->words > CACHE_FROM)
        FAM_TRY_ALLOC(encoder->cache, fam_alloc_array(encoder->memory, CACHE_WORDS, sizeof *encoder->cache), "encoder");
    if (size > CACHED_BYTES || !encoder->cache) {
        FAM_TRY(merge_word(encoder, word, size, offset, &count, error));
    } else {
        uint64_t hash = XXH3_64bits(word, size);
        cached_word *cached = &encoder->cache[hash & (CACHE_WORDS - 1)];
        if (cached->hash == hash && cached->size == size && memcmp(cached->bytes, word, size) == 0)
            return put_ids(encoder, cached->ids, cached->count, error);
        uint64_t dropped = encoder->dropped;
        FAM_TRY(merge_word(encoder, word, size, offset, &count, error));
        if (count <= CACHED_IDS && dropped == encoder->dropped) {
            cached->hash = hash;
            cached->size = (uint8_t)size;
            cached->count = (uint8_t)count;
            memcpy(cached->bytes, word, size);
            memcpy(cached->ids, encoder->word_ids, count * sizeof *cached->ids);
        }
    }
done:
    if (encoder->word_capacity > KEPT_IDS) {
        fam_free(encoder->memory, encoder->word_ids);
        encoder->word_ids = NULL;
        encoder->word_capacity = 0;
    }
    return status;
}

static fam_status push_text(fam_encoder *encoder, size_t pass, const uint8_t *text, size_t size, int64_t offset,
                            bool end, fam_error *error);

/* Passes on data[0..size) up to where an added token may begin; *used says how far. */
static fam_status split_added(fam_encoder *encoder, size_t pass, const uint8_t *data, size_t size, int64_t offset,
                              bool end, size_t *used, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_added_set *set = encoder->tails[pass].set;
    size_t from = 0, search = 0; /* text not yet passed on; where to look next */
    for (;;) {
        size_t start = size;
        const fam_added_token *token;
        fam_added_found found = fam_added_set_find(set, data, search, size, end, &start, &token);
        if (found == FAM_ADDED_FOUND && token->special && !encoder->parse_special) {
            search = start + token->length; /* its text is text, and no other token is looked for within */
            continue;
        }
        bool token_follows = found == FAM_ADDED_FOUND;
        if (found == FAM_ADDED_NONE)
            start = size;
        if (start > from || token_follows)
            FAM_TRY(
                push_text(encoder, pass + 1, data + from, start - from, offset + (int64_t)from, token_follows, error));
        from = start;
        if (!token_follows)
            break;
        FAM_TRY(put_ids(encoder, &token->id, 1, error));
        from = search = start + token->length;
    }
    *used = from;
done:
    return status;
}

static fam_status push_text(fam_encoder *encoder, size_t pass, const uint8_t *text, size_t size, int64_t offset,
                            bool end, fam_error *error)
{
    fam_status status = FAM_OK;
    size_t used;
    if (pass == FAM_ADDED_PASSES)
        return fam_pretokenizer_push(encoder->pretokenizer, text, size, offset, end, error);
    tail *t = &encoder->tails[pass];
    if (!t->set)
        return push_text(encoder, pass + 1, text, size, offset, end, error);
    /* What is held is shorter than a token: give it text byte by byte until nothing is held. */
    while (t->held && size) {
        t->bytes[t->held++] = *text++;
        offset++;
        size--;
        int64_t begin = offset - (int64_t)t->held;
        FAM_TRY(split_added(encoder, pass, t->bytes, t->held, begin, end && size == 0, &used, error));
        t->held -= used;
        memmove(t->bytes, t->bytes + used, t->held);
    }
    if (t->held && end) {
        FAM_TRY(split_added(encoder, pass, t->bytes, t->held, offset - (int64_t)t->held, true, &used, error));
        t->held = 0;
    }
    if (size) {
        FAM_TRY(split_added(encoder, pass, text, size, offset, end, &used, error));
        t->held = size - used;
        memcpy(t->bytes, text + used, t->held);
    }
    if (end)
        FAM_TRY(push_text(encoder, pass + 1, NULL, 0, offset + (int64_t)size, true, error));
done:
    return status;
}

fam_status fam_encoder_create(fam_encoder **out, const fam_tokenizer *tokenizer, bool parse_special, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_encoder *encoder;
    *out = NULL;
    if (!tokenizer) /* as fam_engine_tokenizer may give it */
        return fam_error_set(error, FAM_STATUS_INVALID_ARGUMENT, "tokenizer: found none, need one");
    fam_memory *memory = tokenizer->memory;
    FAM_TRY_ALLOC(encoder, fam_alloc_zeroed(memory, sizeof *encoder), "encoder");
    encoder->memory = encoder->bpe.memory = memory;
    encoder->tokenizer = tokenizer;
    encoder->parse_special = parse_special;
    for (size_t pass = 0; pass < FAM_ADDED_PASSES; pass++)
        if (tokenizer->added[pass].any_plain || (parse_special && tokenizer->added[pass].count))
            encoder->tails[pass].set = &tokenizer->added[pass];
    if (tokenizer->ignore_merges)
        FAM_TRY_ALLOC(encoder->word_text, fam_alloc_array(memory, tokenizer->longest + 1, 2), "encoder");
    FAM_TRY(fam_pretokenizer_create(&encoder->pretokenizer, memory, tokenizer->splits, tokenizer->split_count,
                                    encode_word, encoder, error));
    *out = encoder;
    encoder = NULL;
done:
    fam_encoder_free(encoder);
    return status;
}

void fam_encoder_free(fam_encoder *encoder)
{
    if (!encoder)
        return;
    fam_pretokenizer_free(encoder->pretokenizer);
    fam_bpe_destroy(&encoder->bpe);
    fam_free(encoder->memory, encoder->cache);
    fam_free(encoder->memory, encoder->word_ids);
    fam_free(encoder->memory, encoder->word_text);
    fam_free(encoder->memory, encoder);
}

/* Begins a call: after a failure there is no way back to where the text was. */
static fam_status begin_call(fam_encoder *encoder, fam_token_sink *sink, void *context, fam_error *error)
{
    encoder->sink = sink;
    encoder->sink_context = context;
    if (encoder->failed == FAM_OK)
        return FAM_OK;
    return fam_error_set(error, encoder->failed, "tokenizer: found a failure in an earlier call, need another encoder");
}

fam_status fam_encoder_feed(fam_encoder *encoder, const char *text, size_t size, fam_token_sink *sink, void *context,
                            fam_error *error)
{
    fam_status status;
    FAM_TRY(begin_call(encoder, sink, context, error));
    if (size)
        FAM_TRY(push_text(encoder, 0, (const uint8_t *)text, size, (int64_t)encoder->fed, false, error));
    encoder->fed += size;
    FAM_TRY(hand_over(encoder, error));
done:
    encoder->failed = status;
    return status;
}

fam_status fam_encoder_finish(fam_encoder *encoder, fam_token_sink *sink, void *context, fam_error *error)
{
    fam_status status;
    FAM_TRY(begin_call(encoder, sink, context, error));
    FAM_TRY(push_text(encoder, 0, NULL, 0, (int64_t)encoder->fed, true, error));
    FAM_TRY(hand_over(encoder, error));
done:
    encoder->failed = status;
    return status;
}

fam_status fam_encoder_put(fam_encoder *encoder, int32_t id, fam_token_sink *sink, void *context, fam_error *error)
{
    if (fam_tokenizer_kind(encoder->tokenizer, id) == FAM_TOKEN_NONE)
        return fam_tokenizer_bad_id(encoder->tokenizer, id, error);
    fam_status status;
    FAM_TRY(fam_encoder_finish(encoder, sink, context, error));
    FAM_TRY(put_ids(encoder, &id, 1, error));
    FAM_TRY(hand_over(encoder, error));
done:
    encoder->failed = status;
    return status;
}

void fam_encoder_reset(fam_encoder *encoder)
{
    fam_pretokenizer_reset(encoder->pretokenizer);
    for (size_t pass = 0; pass < FAM_ADDED_PASSES; pass++)
        encoder->tails[pass].held = 0;
    encoder->fed = encoder->dropped = 0;
    encoder->batch_count = 0;
    encoder->failed = FAM_OK;
}

uint64_t fam_encoder_dropped(const fam_encoder *encoder, uint64_t *first_offset)
{
    if (encoder->dropped)
        *first_offset = encoder->first_dropped;
    return encoder->dropped;
}

uint64_t fam_encoder_fed(const fam_encoder *encoder)
{
    return encoder->fed;
}

size_t fam_encoder_held(const fam_encoder *encoder)
{
    size_t held = fam_pretokenizer_held(encoder->pretokenizer);
    for (size_t pass = 0; pass < FAM_ADDED_PASSES; pass++)
        held += encoder->tails[pass].held;
    return held;
}

/* ---- a whole text ---- */

typedef struct id_list {
    fam_memory *memory;
    int32_t *ids;
    size_t count, capacity;
} id_list;

static bool append_ids(void *context, const int32_t *ids, size_t count)
{
    id_list *list = context;
    if (list->capacity - list->count < count) {
        size_t capacity = list->capacity + list->capacity / 2 + count;
        int32_t *grown = fam_realloc(list->memory, list->ids, capacity * sizeof *grown);
        if (!grown)
            return false;
        list->ids = grown;
        list->capacity = capacity;
    }
    memcpy(list->ids + list->count, ids, count * sizeof *ids);
    list->count += count;
    return true;
}

fam_status fam_tokenizer_encode(int32_t **ids, size_t *count, fam_memory *memory, const fam_tokenizer *tokenizer,
                                const char *text, size_t size, bool parse_special, fam_error *error)
{
    enum { PIECE_BYTES = 1 << 16 };
    fam_status status = FAM_OK;
    fam_encoder *encoder = NULL;
    id_list list = {.memory = memory, .capacity = 64};
    *ids = NULL;
    *count = 0;
    FAM_TRY_ALLOC(list.ids, fam_alloc_array(memory, list.capacity, sizeof *list.ids), "tokenizer: ids");
    FAM_TRY(fam_encoder_create(&encoder, tokenizer, parse_special, error));
    for (size_t at = 0; status == FAM_OK && at < size; at += PIECE_BYTES)
        status = fam_encoder_feed(encoder, text + at, size - at < PIECE_BYTES ? size - at : PIECE_BYTES, append_ids,
                                  &list, error);
    if (status == FAM_OK)
        status = fam_encoder_finish(encoder, append_ids, &list, error);
    if (status == FAM_STATUS_CANCELLED) /* what append_ids means by false */
        status = fam_out_of_memory(error, "tokenizer: ids");
    if (status != FAM_OK)
        goto done;
    *ids = list.ids;
    *count = list.count;
    list.ids = NULL;
done:
    fam_encoder_free(encoder);
    fam_free(memory, list.ids);
    return status;
}
