/*
 * cli/conversation.c: see conversation.h.
 */
#include "conversation.h"

#include <stdlib.h>
#include <string.h>

#include "message.h"

/* Words that are kept of old messages, in bytes; a note holds 16 MiB. */
enum { KEPT_BYTES = 4 << 20 };

typedef struct id_list {
    int32_t *ids;
    size_t count, capacity;
    bool failed;
} id_list;

static bool collect(void *context, const int32_t *ids, size_t count)
{
    id_list *list = context;
    if (list->count + count > list->capacity) {
        size_t capacity = 2 * (list->count + count);
        int32_t *grown = realloc(list->ids, capacity * sizeof *grown);
        if (!grown) {
            list->failed = true;
            return false;
        }
        list->ids = grown;
        list->capacity = capacity;
    }
    memcpy(list->ids + list->count, ids, count * sizeof *ids);
    list->count += count;
    return true;
}

fam_status conversation_load(cli_conversation *out, const cli_note *note, const char *path, fam_error *error)
{
    json_t *chat = json_object_get(note->root, "chat"), *item;
    size_t i;
    json_int_t rendered = 0, partial = 0;
    if (!chat) {
        out->messages = json_array();
        return out->messages ? FAM_OK
                             : failure(error, FAM_STATUS_OUT_OF_MEMORY, "the conversation: out of memory");
    }
    json_t *messages = NULL;
    bool good = json_unpack(chat, "{s:o, s:I, s:I}", "messages", &messages, "rendered", &rendered, "partial",
                            &partial) == 0 &&
                json_is_array(messages) && rendered >= 0 && (size_t)rendered <= json_array_size(messages) && partial >= 0;
    json_array_foreach(messages, i, item)
    {
        const char *role, *content;
        good = good && json_unpack(item, "{s:s, s:s}", "role", &role, "content", &content) == 0;
    }
    if (!good)
        return failure(error, FAM_STATUS_BAD_FORMAT, "%s: note: chat: found something else, need a conversation", path);
    out->messages = json_incref(messages);
    out->rendered = (size_t)rendered;
    out->partial = partial;
    return FAM_OK;
}

void conversation_free(cli_conversation *conversation)
{
    json_decref(conversation->messages);
    conversation->messages = NULL;
}

size_t conversation_count(const cli_conversation *conversation)
{
    return json_array_size(conversation->messages);
}

bool conversation_waits(const cli_conversation *conversation)
{
    size_t count = conversation_count(conversation);
    json_t *last = json_array_get(conversation->messages, count - 1);
    const char *role = json_string_value(json_object_get(last, "role"));
    return count > conversation->rendered && role && strcmp(role, "user") == 0;
}

static void forget_old_words(cli_conversation *conversation)
{
    size_t kept = 0;
    for (size_t i = conversation->rendered; i-- > 0;) {
        json_t *content = json_object_get(json_array_get(conversation->messages, i), "content");
        kept += json_string_length(content);
        if (kept > KEPT_BYTES)
            json_string_set(content, "");
    }
}

fam_status conversation_store(cli_conversation *conversation, cli_note *note, fam_session *session, fam_error *error)
{
    forget_old_words(conversation);
    json_t *chat = json_pack("{s:O, s:I, s:I}", "messages", conversation->messages, "rendered",
                             (json_int_t)conversation->rendered, "partial", (json_int_t)conversation->partial);
    if (!chat || json_object_set_new(note->root, "chat", chat) != 0)
        return failure(error, FAM_STATUS_OUT_OF_MEMORY, "the conversation: out of memory");
    return note_store(note, session, error);
}

/* Length of the UTF-8 character at `text`, 0 if there is none. */
static size_t character_length(const unsigned char *text, size_t left)
{
    static const struct {
        unsigned char mask, bits;
        unsigned least;
    } forms[] = {{0x80, 0x00, 1}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
    for (size_t length = 1; length <= 4 && length <= left; length++) {
        if ((text[0] & forms[length - 1].mask) != forms[length - 1].bits)
            continue;
        unsigned code = text[0] & (unsigned char)~forms[length - 1].mask;
        for (size_t i = 1; i < length; i++) {
            if ((text[i] & 0xc0) != 0x80)
                return 0;
            code = code << 6 | (text[i] & 0x3f);
        }
        bool good = code >= forms[length - 1].least && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
        return good ? length : 0;
    }
    return 0;
}

/* Valid UTF-8 without NUL, which messages are; released with free. */
static char *clean_text(const char *text, size_t length)
{
    char *out = malloc(3 * length + 1), *p = out;
    for (size_t i = 0; out && i < length;) {
        size_t n = text[i] ? character_length((const unsigned char *)text + i, length - i) : 0;
        memcpy(p, n ? text + i : "\xef\xbf\xbd", n ? n : 3);
        p += n ? n : 3;
        i += n ? n : 1;
    }
    if (out)
        *p = '\0';
    return out;
}

fam_status conversation_add(cli_conversation *conversation, const char *role, const char *content, size_t length,
                            fam_error *error)
{
    char *text = clean_text(content, length);
    json_t *item = text ? json_pack("{s:s, s:s}", "role", role, "content", text) : NULL;
    free(text);
    if (!item || json_array_append_new(conversation->messages, item) != 0)
        return failure(error, FAM_STATUS_OUT_OF_MEMORY, "the conversation: out of memory");
    return FAM_OK;
}

/* Ids of the messages from `first` on. */
static fam_status render(const cli_conversation *conversation, size_t first, bool opening, id_list *out, fam_error *error)
{
    size_t count = conversation_count(conversation);
    fam_message *messages = calloc(count + 1, sizeof *messages);
    if (!messages)
        return failure(error, FAM_STATUS_OUT_OF_MEMORY, "the conversation: out of memory");
    for (size_t i = 0; i < count; i++) {
        json_t *item = json_array_get(conversation->messages, i);
        messages[i].role = json_string_value(json_object_get(item, "role"));
        messages[i].content = json_string_value(json_object_get(item, "content"));
    }
    fam_status status = fam_chat_encode(conversation->tokenizer, conversation->template_name, messages, count, first,
                                        opening, collect, out, error);
    free(messages);
    if (out->failed)
        status = failure(error, FAM_STATUS_OUT_OF_MEMORY, "the conversation: out of memory");
    return status;
}

fam_status conversation_read(cli_conversation *conversation, fam_session *session, fam_error *error)
{
    id_list list = {0};
    fam_status status = render(conversation, conversation->rendered, true, &list, error);
    size_t from = (size_t)conversation->partial, consumed = 0;
    /* BOS begins a stream, and this one may have begun with a book. */
    bool bos = list.count > 0 && list.ids[0] == fam_tokenizer_bos(conversation->tokenizer) &&
               fam_tokenizer_adds_bos(conversation->tokenizer);
    if (from == 0 && bos && fam_session_position(session) > 0)
        from = 1;
    if (status == FAM_OK && from < list.count)
        status = fam_session_feed(session, list.ids + from, list.count - from, &consumed, error);
    if (status == FAM_OK) {
        conversation->rendered = conversation_count(conversation);
        conversation->partial = 0;
    } else if (consumed > 0) {
        conversation->partial = (int64_t)(from + consumed);
    }
    free(list.ids);
    return status;
}

fam_status conversation_end_reply(cli_conversation *conversation, fam_session *session, bool ended, fam_error *error)
{
    id_list list = {0};
    fam_status status = ended ? FAM_OK : render(conversation, conversation->rendered, false, &list, error);
    size_t end = list.count;
    while (end > 0 && !fam_tokenizer_is_end(conversation->tokenizer, list.ids[end - 1]))
        end--;
    if (status == FAM_OK && end > 0)
        status = fam_session_feed(session, &list.ids[end - 1], 1, NULL, error);
    if (status == FAM_OK)
        conversation->rendered = conversation_count(conversation);
    free(list.ids);
    return status;
}
