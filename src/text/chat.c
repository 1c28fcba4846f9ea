/*
 * text/chat.c: see chat.h. The formats are a table: to add one, give its templates and what stands around a message.
 */
#include "text/chat.h"

#include <string.h>

#include "text/chat_template.h"
#include "text/tokenizer_private.h"

enum { TEMPLATES_MAX = 4, PARTS_MAX = 8 };

typedef enum part_kind {
    PART_END_OF_LIST,
    PART_TOKEN, /* a special token */
    PART_TEXT,
    PART_ROLE,
    PART_CONTENT,
    PART_TURN_END /* the token that ends a turn: what a model generates last */
} part_kind;

typedef struct part {
    part_kind kind;
    const char *text; /* of TOKEN, TEXT, TURN_END */
} part;

typedef struct family {
    const char *name;
    const char *templates[TEMPLATES_MAX]; /* Jinja; FAM_CHAT_HOLE is the default system prompt */
    part message[PARTS_MAX];
    part opening[PARTS_MAX]; /* of the answer */
} family;

#define CHATML_LOOP                                                                                                    \
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"             \
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

static const family families[] = {
    {.name = "chatml",
     .templates =
         {/* SmolLM, and ChatML as OpenAI described it */
          "{% for message in messages %}" CHATML_LOOP,
          /* SmolLM2, Qwen 2 */
          "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
          "{{ '<|im_start|>system\\n" FAM_CHAT_HOLE "<|im_end|>\\n' }}{% endif %}" CHATML_LOOP},
     .message = {{PART_TOKEN, "<|im_start|>"},
                 {PART_ROLE, NULL},
                 {PART_TEXT, "\n"},
                 {PART_CONTENT, NULL},
                 {PART_TURN_END, "<|im_end|>"},
                 {PART_TEXT, "\n"}},
     .opening = {{PART_TOKEN, "<|im_start|>"}, {PART_TEXT, "assistant\n"}}},
};

enum { FAMILIES = sizeof families / sizeof *families };

struct fam_chat_format {
    fam_memory *memory;
    const family *rules;
    char *default_system; /* NULL: none */
};

/* Which family a template is of, NULL if none; *system is its default system prompt, to be released. */
static fam_status recognize(const family **out, char **system, fam_memory *memory, const char *template_text,
                            fam_error *error)
{
    fam_status status = FAM_OK;
    char *text = NULL, *known = NULL;
    *out = NULL;
    FAM_TRY(fam_chat_template_normalize(&text, memory, template_text, strlen(template_text), error));
    for (size_t f = 0; text && !*out && f < FAMILIES; f++)
        for (size_t i = 0; !*out && i < TEMPLATES_MAX && families[f].templates[i]; i++) {
            const char *hole;
            size_t length;
            fam_free(memory, known);
            FAM_TRY(fam_chat_template_normalize(&known, memory, families[f].templates[i],
                                                strlen(families[f].templates[i]), error));
            if (!fam_chat_template_match(text, known, &hole, &length) || (hole && memmem(hole, length, "<|", 2)))
                continue; /* a special token within the prompt would have to be one, not text */
            if (hole)
                FAM_TRY_ALLOC(*system, fam_strndup(memory, hole, length), "chat template");
            *out = &families[f];
        }
done:
    fam_free(memory, text);
    fam_free(memory, known);
    return status;
}

static const family *family_named(const char *name)
{
    for (size_t f = 0; f < FAMILIES; f++)
        if (strcmp(families[f].name, name) == 0)
            return &families[f];
    return NULL;
}

fam_status fam_chat_format_create(fam_chat_format **out, fam_memory *memory, const char *where, const char *name,
                                  const char *template_text, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_chat_format *format;
    const family *own = NULL, *named = name ? family_named(name) : NULL;
    *out = NULL;
    FAM_TRY_ALLOC(format, fam_alloc_zeroed(memory, sizeof *format), "chat template");
    format->memory = memory;
    FAM_FAIL_IF(name && !named, FAM_STATUS_INVALID_ARGUMENT, "chat template: found name \"%s\", need \"chatml\"", name);
    if (template_text)
        FAM_TRY(recognize(&own, &format->default_system, memory, template_text, error));
    FAM_FAIL_IF(!name && !own, FAM_STATUS_UNSUPPORTED,
                "%s: chat template: found %s, need one that is known, or the option --chat-template chatml", where,
                template_text ? "an unknown one" : "none");
    if (named && own != named) {
        fam_free(memory, format->default_system);
        format->default_system = NULL;
    }
    format->rules = named ? named : own;
    *out = format;
    format = NULL;
done:
    fam_chat_format_free(format);
    return status;
}

void fam_chat_format_free(fam_chat_format *format)
{
    if (!format)
        return;
    fam_free(format->memory, format->default_system);
    fam_free(format->memory, format);
}

const char *fam_chat_format_name(const fam_chat_format *format)
{
    return format->rules->name;
}

const char *fam_chat_format_default_system(const fam_chat_format *format)
{
    return format->default_system;
}

static fam_status render_parts(const part *parts, const fam_message *message, bool after_turn_end, fam_chat_sink *sink,
                               void *context, fam_error *error)
{
    fam_status status = FAM_OK;
    bool skipping = after_turn_end;
    for (size_t i = 0; i < PARTS_MAX && parts[i].kind != PART_END_OF_LIST; i++) {
        bool special = parts[i].kind == PART_TOKEN || parts[i].kind == PART_TURN_END;
        const char *text = parts[i].kind == PART_ROLE      ? message->role
                           : parts[i].kind == PART_CONTENT ? message->content
                                                           : parts[i].text;
        if (!skipping && *text)
            FAM_TRY(sink(context, text, strlen(text), special, error));
        if (parts[i].kind == PART_TURN_END)
            skipping = false;
    }
done:
    return status;
}

static fam_status check_messages(const fam_message *messages, size_t count, size_t first_message, fam_error *error)
{
    static const char *const roles[] = {"system", "user", "assistant"};
    fam_status status = FAM_OK;
    FAM_FAIL_IF(first_message > count, FAM_STATUS_INVALID_ARGUMENT,
                "chat: found %zu messages seen of %zu, need at most all", first_message, count);
    for (size_t i = 0; i < count; i++) {
        const char *role = messages[i].role ? messages[i].role : "";
        bool known = false;
        for (size_t k = 0; k < sizeof roles / sizeof *roles; k++)
            known |= strcmp(role, roles[k]) == 0;
        FAM_FAIL_IF(!known, FAM_STATUS_INVALID_ARGUMENT,
                    "chat: message %zu: role: found \"%.40s\", need system, user or assistant", i, role);
        FAM_FAIL_IF(!messages[i].content, FAM_STATUS_INVALID_ARGUMENT,
                    "chat: message %zu: content: found none, need text", i);
    }
done:
    return status;
}

fam_status fam_chat_render(const fam_chat_format *format, const fam_message *messages, size_t count,
                           size_t first_message, bool add_generation_prompt, fam_chat_sink *sink, void *context,
                           fam_error *error)
{
    fam_status status = FAM_OK;
    const family *rules = format->rules;
    FAM_TRY(check_messages(messages, count, first_message, error));
    if (first_message == 0 && count > 0 && format->default_system && strcmp(messages[0].role, "system") != 0) {
        fam_message system = {"system", format->default_system};
        FAM_TRY(render_parts(rules->message, &system, false, sink, context, error));
    }
    if (first_message > 0 && strcmp(messages[first_message - 1].role, "assistant") == 0)
        FAM_TRY(render_parts(rules->message, &messages[first_message - 1], true, sink, context, error));
    for (size_t i = first_message; i < count; i++)
        FAM_TRY(render_parts(rules->message, &messages[i], false, sink, context, error));
    if (add_generation_prompt)
        FAM_TRY(render_parts(rules->opening, NULL, false, sink, context, error));
done:
    return status;
}

/* ---- to ids ---- */

typedef struct chat_encoder {
    const fam_tokenizer *tokenizer;
    fam_encoder *encoder;
    fam_token_sink *sink;
    void *context;
} chat_encoder;

/* Text between two special tokens is one text, however many parts it has, so that ids are those of the whole rendering.
 */
static fam_status encode_part(void *context, const char *text, size_t size, bool special, fam_error *error)
{
    chat_encoder *chat = context;
    if (!special)
        return fam_encoder_feed(chat->encoder, text, size, chat->sink, chat->context, error);
    int32_t id = fam_tokenizer_find(chat->tokenizer, text, size);
    if (id < 0 || fam_tokenizer_kind(chat->tokenizer, id) < FAM_TOKEN_ADDED)
        return fam_error_set(error, FAM_STATUS_UNSUPPORTED,
                             "%s: chat template: found no special token %.*s, need a vocabulary that has it",
                             chat->tokenizer->name, (int)size, text);
    return fam_encoder_put(chat->encoder, id, chat->sink, chat->context, error);
}

fam_status fam_chat_encode(const fam_tokenizer *tokenizer, const char *template_name, const fam_message *messages,
                           size_t count, size_t first_message, bool add_generation_prompt, fam_token_sink *sink,
                           void *context, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_chat_format *format = NULL;
    chat_encoder chat = {.tokenizer = tokenizer, .sink = sink, .context = context};
    FAM_TRY(fam_chat_format_create(&format, tokenizer->memory, tokenizer->name, template_name, tokenizer->chat_template,
                                   error));
    FAM_TRY(fam_encoder_create(&chat.encoder, tokenizer, false, error));
    FAM_TRY(fam_chat_render(format, messages, count, first_message, add_generation_prompt, encode_part, &chat, error));
    FAM_TRY(fam_encoder_finish(chat.encoder, sink, context, error));
done:
    fam_encoder_free(chat.encoder);
    fam_chat_format_free(format);
    return status;
}
