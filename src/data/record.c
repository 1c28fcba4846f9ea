/*
 * data/record.c: see record.h.
 */
#include "data/record.h"

#include <stdio.h>
#include <string.h>

#include "format/json.h"
#include "text/chat.h"
#include "text/tokenizer.h"

/* ---- documents --------------------------------------------------------------------------------------------------- */

enum { KEPT_TOKENS = 1 << 18 };

void fam_document_init(fam_document *document, fam_memory *memory)
{
    *document = (fam_document){.ids.memory = memory};
}

void fam_document_destroy(fam_document *document)
{
    if (!document->ids.memory)
        return;
    fam_free(document->ids.memory, document->ids.ids);
    fam_free(document->ids.memory, document->flags);
    *document = (fam_document){0};
}

void fam_document_clear(fam_document *document)
{
    fam_memory *memory = document->ids.memory;
    if (document->ids.capacity > KEPT_TOKENS) {
        fam_document_destroy(document);
        fam_document_init(document, memory);
    }
    document->ids.count = 0;
    document->whole = false;
}

fam_status fam_document_mark(fam_document *document, unsigned flags, size_t from, fam_error *error)
{
    size_t count = document->ids.count;
    if (count > document->flag_capacity) {
        uint8_t *grown = fam_realloc(document->ids.memory, document->flags, document->ids.capacity);
        if (!grown)
            return fam_out_of_memory(error, "document");
        document->flags = grown;
        document->flag_capacity = document->ids.capacity;
    }
    if (count > from)
        memset(document->flags + from, (int)flags, count - from);
    return FAM_OK;
}

static fam_status put_id(fam_document *document, int32_t id, unsigned flags, fam_error *error)
{
    fam_status status = FAM_OK;
    size_t from = document->ids.count;
    if (id < 0)
        return FAM_OK;
    FAM_TRY(fam_id_list_put(&document->ids, id, error));
    FAM_TRY(fam_document_mark(document, flags, from, error));
done:
    return status;
}

static fam_status put_text(fam_document *document, fam_record_reader *reader, const char *text, size_t size,
                           unsigned flags, fam_error *error)
{
    fam_status status = FAM_OK;
    size_t from = document->ids.count;
    FAM_TRY(fam_id_list_encode(&document->ids, reader->encoder, text, size, false, error));
    FAM_TRY(fam_document_mark(document, flags, from, error));
done:
    return status;
}

/* ---- the reader -------------------------------------------------------------------------------------------------- */

fam_status fam_record_reader_create(fam_record_reader *out, fam_memory *memory, const fam_tokenizer *tokenizer,
                                    fam_error *error)
{
    *out = (fam_record_reader){.memory = memory, .tokenizer = tokenizer};
    return fam_encoder_create(&out->encoder, tokenizer, false, error);
}

void fam_record_reader_destroy(fam_record_reader *reader)
{
    fam_encoder_free(reader->encoder);
    fam_chat_format_free(reader->chat);
    *reader = (fam_record_reader){0};
}

/* A member that must be a string with something in it. */
static fam_status take_text(const json_t *object, const char *where, const char *key, const char **text, size_t *size,
                            fam_error *error)
{
    const json_t *value = json_object_get(object, key);
    char words[FAM_JSON_WORDS_SIZE];
    if (!json_is_string(value))
        return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s%s: found %s, need a string", where, key,
                             fam_json_words(value, words));
    *text = json_string_value(value);
    *size = json_string_length(value);
    if (*size == 0)
        return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s%s: found an empty string, need text", where, key);
    return FAM_OK;
}

/* ---- conversations ----------------------------------------------------------------------------------------------- */

/* Where a conversation is rendered to. */
typedef struct rendering {
    fam_document *document;
    fam_record_reader *reader;
    int32_t last_special; /* -1: none */
    bool only_specials;   /* puts nothing: for the sake of last_special */
} rendering;

static fam_status find_special(rendering *r, const char *text, size_t size, fam_error *error)
{
    const fam_tokenizer *tokenizer = r->reader->tokenizer;
    int32_t id = fam_tokenizer_find(tokenizer, text, size);
    if (id < 0 || fam_tokenizer_kind(tokenizer, id) < FAM_TOKEN_ADDED)
        return fam_error_set(error, FAM_STATUS_UNSUPPORTED,
                             "chat template: found no special token %.*s, need a vocabulary that has it", (int)size,
                             text);
    r->last_special = id;
    return FAM_OK;
}

static fam_status render_part(void *context, const char *text, size_t size, bool special, fam_error *error)
{
    rendering *r = context;
    fam_status status = FAM_OK;
    if (special)
        FAM_TRY(find_special(r, text, size, error));
    if (r->only_specials)
        return FAM_OK;
    if (!special) {
        FAM_TRY(fam_encoder_feed(r->reader->encoder, text, size, fam_id_list_sink, &r->document->ids, error));
    } else {
        FAM_TRY(fam_encoder_finish(r->reader->encoder, fam_id_list_sink, &r->document->ids, error));
        FAM_TRY(fam_id_list_put(&r->document->ids, r->last_special, error));
    }
done:
    return status;
}

/* Messages [first, count), or with `opening` what comes before an answer to them. */
static fam_status render(rendering *r, const fam_message *messages, size_t count, size_t first, bool opening,
                         fam_error *error)
{
    fam_status status = FAM_OK;
    fam_document *document = r->document;
    size_t from = document->ids.count;
    fam_encoder_reset(r->reader->encoder);
    document->ids.short_of_memory = false;
    FAM_TRY(fam_chat_render(r->reader->chat, messages, count, first, opening, render_part, r, error));
    FAM_TRY(fam_encoder_finish(r->reader->encoder, fam_id_list_sink, &document->ids, error));
    FAM_TRY(fam_document_mark(document, 0, from, error));
done:
    if (status == FAM_STATUS_CANCELLED && document->ids.short_of_memory)
        status = fam_out_of_memory(error, "document");
    return status;
}

/* An answer: its opening, what it says, and the token that ends it; what the template puts behind that comes with what
 * follows. */
static fam_status render_answer(rendering *r, const fam_message *messages, size_t index, fam_error *error)
{
    fam_status status = FAM_OK;
    const char *content = messages[index].content;
    FAM_TRY(render(r, messages, index, index, true, error));
    FAM_TRY(put_text(r->document, r->reader, content, strlen(content), FAM_TOKEN_TRAINED | FAM_TOKEN_ANSWER, error));
    r->only_specials = true;
    FAM_TRY(fam_chat_render(r->reader->chat, messages, index + 1, index, false, render_part, r, error));
    r->only_specials = false;
    FAM_TRY(put_id(r->document, r->last_special, FAM_TOKEN_TRAINED, error));
done:
    return status;
}

/* Role and content of one message. */
static fam_status take_message(fam_message *out, const json_t *value, size_t index, bool users_turn, fam_error *error)
{
    fam_status status = FAM_OK;
    char where[64], words[FAM_JSON_WORDS_SIZE];
    size_t size;
    snprintf(where, sizeof where, "messages[%zu]: ", index);
    FAM_FAIL_IF(!json_is_object(value), FAM_STATUS_BAD_FORMAT, "messages[%zu]: found %s, need an object", index,
                fam_json_words(value, words));
    FAM_TRY(take_text(value, where, "role", &out->role, &size, error));
    FAM_TRY(take_text(value, where, "content", &out->content, &size, error));
    bool system = strcmp(out->role, "system") == 0;
    FAM_FAIL_IF(!system && strcmp(out->role, "user") != 0 && strcmp(out->role, "assistant") != 0, FAM_STATUS_BAD_FORMAT,
                "%srole: found \"%.40s\", need system, user or assistant", where, out->role);
    FAM_FAIL_IF(system && index > 0, FAM_STATUS_BAD_FORMAT, "%srole: found system, need it at the beginning only",
                where);
    const char *turn = users_turn ? "user" : "assistant";
    FAM_FAIL_IF(!system && strcmp(out->role, turn) != 0, FAM_STATUS_BAD_FORMAT, "%srole: found %s, need %s (in turn)",
                where, out->role, turn);
done:
    return status;
}

static fam_status read_messages(fam_document *document, fam_record_reader *reader, const json_t *list, fam_error *error)
{
    fam_status status = FAM_OK;
    rendering r = {.document = document, .reader = reader, .last_special = -1};
    fam_message *messages = NULL;
    char words[FAM_JSON_WORDS_SIZE];
    size_t count = json_array_size(list), answers = 0;
    bool users_turn = true;
    FAM_FAIL_IF(!json_is_array(list), FAM_STATUS_BAD_FORMAT, "messages: found %s, need an array",
                fam_json_words(list, words));
    FAM_FAIL_IF(count > FAM_MESSAGES_MAX, FAM_STATUS_BAD_FORMAT, "messages: found %zu, need at most %d", count,
                FAM_MESSAGES_MAX);
    FAM_TRY_ALLOC(messages, fam_alloc_array(reader->memory, count, sizeof *messages), "messages");
    for (size_t i = 0; i < count; i++) {
        FAM_TRY(take_message(&messages[i], json_array_get(list, i), i, users_turn, error));
        if (strcmp(messages[i].role, "system") != 0)
            users_turn = !users_turn;
        answers += strcmp(messages[i].role, "assistant") == 0;
    }
    FAM_FAIL_IF(answers == 0, FAM_STATUS_BAD_FORMAT, "messages: found no assistant's, need at least one to train on");
    if (!reader->chat)
        status = fam_chat_format_create(&reader->chat, reader->memory, "messages", NULL,
                                        fam_tokenizer_chat_template(reader->tokenizer), error);
    FAM_FAIL_IF(status == FAM_STATUS_UNSUPPORTED, status,
                "messages: found a model without a chat template that is known, need one");
    FAM_TRY(status);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(messages[i].role, "assistant") == 0)
            FAM_TRY(render_answer(&r, messages, i, error));
        else
            FAM_TRY(render(&r, messages, i + 1, i, false, error));
    }
    FAM_TRY(render(&r, messages, count, count, false, error)); /* what stands behind the last */
done:
    fam_free(reader->memory, messages);
    return status;
}

/* ---- all kinds --------------------------------------------------------------------------------------------------- */

static fam_status read_texts(fam_document *document, fam_record_reader *reader, const json_t *object, fam_error *error)
{
    fam_status status = FAM_OK;
    const char *text = NULL;
    size_t size = 0;
    if (fam_tokenizer_adds_bos(reader->tokenizer))
        FAM_TRY(put_id(document, fam_tokenizer_bos(reader->tokenizer), 0, error));
    if (json_object_get(object, "text")) {
        FAM_TRY(take_text(object, "", "text", &text, &size, error));
        FAM_TRY(put_text(document, reader, text, size, FAM_TOKEN_TRAINED, error));
    } else {
        const char *completion = NULL;
        size_t completion_size = 0;
        FAM_TRY(take_text(object, "", "prompt", &text, &size, error));
        FAM_TRY(take_text(object, "", "completion", &completion, &completion_size, error));
        FAM_TRY(put_text(document, reader, text, size, 0, error));
        FAM_TRY(put_text(document, reader, completion, completion_size, FAM_TOKEN_TRAINED | FAM_TOKEN_ANSWER, error));
    }
    FAM_TRY(put_id(document, fam_tokenizer_eos(reader->tokenizer), FAM_TOKEN_TRAINED, error));
done:
    return status;
}

fam_status fam_record_read(fam_document *document, fam_record_reader *reader, const char *line, size_t size,
                           fam_error *error)
{
    fam_status status = FAM_OK;
    json_error_t failure;
    char words[FAM_JSON_WORDS_SIZE];
    fam_document_clear(document);
    json_t *object = json_loadb(line, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &failure);
    FAM_FAIL_IF(!object && json_error_code(&failure) == json_error_out_of_memory, FAM_STATUS_OUT_OF_MEMORY,
                "record: out of memory");
    FAM_FAIL_IF(!object, FAM_STATUS_BAD_FORMAT, "column %d: found %s, need one JSON object on the line", failure.column,
                failure.text);
    FAM_FAIL_IF(!json_is_object(object), FAM_STATUS_BAD_FORMAT, "column 1: found %s, need an object",
                fam_json_words(object, words));
    const json_t *messages = json_object_get(object, "messages");
    int forms = (json_object_get(object, "text") ? 1 : 0) + (messages ? 1 : 0) +
                (json_object_get(object, "prompt") || json_object_get(object, "completion") ? 1 : 0);
    FAM_FAIL_IF(forms != 1, FAM_STATUS_BAD_FORMAT,
                "keys: found %s, need \"text\", or \"prompt\" and \"completion\", or \"messages\"",
                forms ? "those of several kinds" : "none of a kind that is known");
    document->whole = json_object_get(object, "text") == NULL;
    FAM_TRY(messages ? read_messages(document, reader, messages, error) : read_texts(document, reader, object, error));
done:
    json_decref(object);
    if (status != FAM_OK)
        fam_document_clear(document);
    return status;
}
