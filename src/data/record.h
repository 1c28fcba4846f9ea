/*
 * data/record.h: one line of a JSONL file as tokens, each with what it is trained for.
 *
 * Exactly one of: {"text": ...}, {"prompt": ..., "completion": ...}, {"messages": [{"role": ..., "content": ...},
 * ...]}. Other keys are ignored. Texts are not empty. A conversation: at most one system message, at its beginning,
 * then user and assistant in turn, the user first; at least one answer.
 *
 * A prompt and its completion are encoded apart, as they are when a model is asked and answers; so are an answer and
 * what stands before it in a conversation. Text of special tokens is text.
 */
#ifndef FAM_DATA_RECORD_H
#define FAM_DATA_RECORD_H

#include "data/id_list.h"

struct fam_chat_format;

enum { FAM_MESSAGES_MAX = 4096 /* of a conversation */ };

enum {
    FAM_TOKEN_TRAINED = 1, /* weighs something */
    FAM_TOKEN_ANSWER = 2   /* of a completion or an assistant's message */
};

/* Tokens with FAM_TOKEN_* flags. */
typedef struct fam_document {
    fam_id_list ids;
    uint8_t *flags; /* [flag_capacity >= ids.count] */
    size_t flag_capacity;
    bool whole; /* a prompt with its completion, or a conversation: not cut without need */
} fam_document;

void fam_document_init(fam_document *document, fam_memory *memory);
void fam_document_clear(fam_document *document); /* empty; a large one's memory is given back */
void fam_document_destroy(fam_document *document);
/* Gives the ids that were put since the last call these flags. */
fam_status fam_document_mark(fam_document *document, unsigned flags, size_t from, fam_error *error);

/* What reading records needs besides; chat is made when the first conversation comes. */
typedef struct fam_record_reader {
    fam_memory *memory;
    const fam_tokenizer *tokenizer;
    fam_encoder *encoder;
    struct fam_chat_format *chat;
} fam_record_reader;

fam_status fam_record_reader_create(fam_record_reader *out, fam_memory *memory, const fam_tokenizer *tokenizer,
                                    fam_error *error);
void fam_record_reader_destroy(fam_record_reader *reader);

/* Fills the document, with BOS if the tokenizer adds one, and EOS if it has one (a conversation ends itself).
 * BAD_FORMAT: "column 7: found ..., need ...", without the file and line, which the caller knows. UNSUPPORTED: a
 * conversation, and no chat template that is known. After a failure the document is empty. */
fam_status fam_record_read(fam_document *document, fam_record_reader *reader, const char *line, size_t size,
                           fam_error *error);

#endif
