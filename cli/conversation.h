/*
 * cli/conversation.h: the messages of a conversation and how much of their rendering a session has read. Kept in the
 * session's note (note.h), so that the conversation goes on another day.
 */
#ifndef CLI_CONVERSATION_H
#define CLI_CONVERSATION_H

#include <jansson.h>

#include "fam/fam.h"
#include "note.h"

typedef struct cli_conversation {
    const fam_tokenizer *tokenizer;
    const char *template_name; /* NULL: the model's own */
    json_t *messages;          /* [{"role", "content"}] */
    size_t rendered;           /* messages that the session has read whole */
    int64_t partial;           /* ids of the next message that it has read (a reading was interrupted) */
} cli_conversation;

/* From the note, or empty. */
fam_status conversation_load(cli_conversation *out, const cli_note *note, const char *path, fam_error *error);
void conversation_free(cli_conversation *conversation);

/* Puts it into the note and the note into the session. The oldest messages lose their words when there are very many:
 * the session has read them, and only their number still matters. */
fam_status conversation_store(cli_conversation *conversation, cli_note *note, fam_session *session, fam_error *error);

/* Broken UTF-8 is replaced by U+FFFD. */
fam_status conversation_add(cli_conversation *conversation, const char *role, const char *content, size_t length,
                            fam_error *error);
size_t conversation_count(const cli_conversation *conversation);
/* Whether a message of the user has no reply yet. */
bool conversation_waits(const cli_conversation *conversation);

/* Feeds what the session has not read yet, with the assistant's opening. After CANCELLED it can be called again. */
fam_status conversation_read(cli_conversation *conversation, fam_session *session, fam_error *error);

/* After a reply was generated and added: feeds its end token unless the model has written that itself (`ended`). What
 * the template puts behind it comes with the next message. */
fam_status conversation_end_reply(cli_conversation *conversation, fam_session *session, bool ended, fam_error *error);

#endif
