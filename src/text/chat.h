/*
 * text/chat.h: conversations as a model was taught to read them. Only the built-in formats of chat.c are used; the
 * Jinja template of a model serves to tell which of them is meant, and what its default system prompt is.
 * fam_chat_encode of fam/tokenizer.h is made of this.
 */
#ifndef FAM_TEXT_CHAT_H
#define FAM_TEXT_CHAT_H

#include "text/tokenizer.h"

typedef struct fam_chat_format fam_chat_format;

/* `name`: a built-in format ("chatml"), or NULL for what `template_text` (the model's Jinja template; NULL: it has
 * none) asks for. If both are given and the template is of that format, its default system prompt is kept. `where`
 * names the model in messages. UNSUPPORTED: the template, or its lack, is not known, with the option to choose a
 * format; INVALID_ARGUMENT: no format has that name. */
fam_status fam_chat_format_create(fam_chat_format **out, fam_memory *memory, const char *where, const char *name,
                                  const char *template_text, fam_error *error);
void fam_chat_format_free(fam_chat_format *format); /* NULL is allowed */

const char *fam_chat_format_name(const fam_chat_format *format);
/* What is put before a conversation that has no system message; NULL if nothing is. */
const char *fam_chat_format_default_system(const fam_chat_format *format);

/* Takes a part of the rendering. `special`: it is the text of one special token; otherwise no special token is in it,
 * whatever it looks like. */
typedef fam_status fam_chat_sink(void *context, const char *text, size_t size, bool special, fam_error *error);

/* Renders as fam_chat_encode says. INVALID_ARGUMENT: a role other than system, user and assistant, a message without
 * content, first_message > count. */
fam_status fam_chat_render(const fam_chat_format *format, const fam_message *messages, size_t count,
                           size_t first_message, bool add_generation_prompt, fam_chat_sink *sink, void *context,
                           fam_error *error);

#endif
