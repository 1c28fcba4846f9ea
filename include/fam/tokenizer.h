/*
 * fam/tokenizer.h: text to token ids and back, as streams.
 *
 * A tokenizer is immutable and may be shared by threads; an encoder or decoder belongs to one thread at a time.
 */
#ifndef FAM_TOKENIZER_H
#define FAM_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fam/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fam_tokenizer fam_tokenizer;

/* Opens only the tokenizer of a model: a Hugging Face directory, its tokenizer.json, or a GGUF file. */
FAM_API fam_status fam_tokenizer_open(fam_tokenizer **out, const char *model_path, fam_error *error);
/* Frees what fam_tokenizer_open made (never one that belongs to an engine). NULL is allowed. */
FAM_API void fam_tokenizer_free(fam_tokenizer *tokenizer);

FAM_API int64_t fam_tokenizer_vocab_size(const fam_tokenizer *tokenizer); /* ids are 0 to this minus 1 */
FAM_API int32_t fam_tokenizer_bos(const fam_tokenizer *tokenizer);        /* -1 if there is none */
FAM_API int32_t fam_tokenizer_eos(const fam_tokenizer *tokenizer);        /* -1 if there is none */
FAM_API bool fam_tokenizer_adds_bos(const fam_tokenizer *tokenizer);      /* a text begins with BOS */
/* Whether generation ends at this id (end of text, end of turn). */
FAM_API bool fam_tokenizer_is_end(const fam_tokenizer *tokenizer, int32_t id);
/* The id whose text is exactly this (special tokens too), or -1. */
FAM_API int32_t fam_tokenizer_find(const fam_tokenizer *tokenizer, const char *text, size_t length);
/* The bytes of a token, not NUL-terminated, owned by the tokenizer; NULL for an id that is out of range. Special tokens
 * give the bytes of their text. */
FAM_API const char *fam_tokenizer_bytes(const fam_tokenizer *tokenizer, int32_t id, size_t *length);
FAM_API bool fam_tokenizer_is_special(const fam_tokenizer *tokenizer, int32_t id);

/* ---- text to ids ----------------------------------------------------------------------------------------------------- */

/* Receives ids as they are certain; returns false to stop (the call then returns FAM_STATUS_CANCELLED). */
typedef bool fam_token_sink(void *context, const int32_t *ids, size_t count);

typedef struct fam_encoder fam_encoder;

/* parse_special: text of special tokens becomes those tokens; otherwise it is text like any other. BOS is never added.
 * tokenizer NULL (a model without one): INVALID_ARGUMENT. */
FAM_API fam_status fam_encoder_create(fam_encoder **out, const fam_tokenizer *tokenizer, bool parse_special,
                                      fam_error *error);
FAM_API void fam_encoder_free(fam_encoder *encoder); /* NULL is allowed */
/* Pieces of any size; the ids are those of the whole text, wherever it is cut. finish emits what was held back, and the
 * encoder is then ready for another text. Broken UTF-8 goes through byte by byte. Memory: about the longest word. After a
 * failure or a stop by the sink the encoder repeats that status and can only be freed. */
FAM_API fam_status fam_encoder_feed(fam_encoder *encoder, const char *text, size_t size, fam_token_sink *sink,
                                    void *context, fam_error *error);
FAM_API fam_status fam_encoder_finish(fam_encoder *encoder, fam_token_sink *sink, void *context, fam_error *error);
/* Bytes for which the vocabulary has no token are left out of the ids. How many there were since the encoder was made,
 * and the byte offset of the first (untouched if there was none). */
FAM_API uint64_t fam_encoder_dropped(const fam_encoder *encoder, uint64_t *first_offset);

/* ---- ids to text ----------------------------------------------------------------------------------------------------- */

typedef struct fam_decoder fam_decoder;

/* show_special: special tokens give their text; otherwise nothing. tokenizer NULL: INVALID_ARGUMENT. */
FAM_API fam_status fam_decoder_create(fam_decoder **out, const fam_tokenizer *tokenizer, bool show_special,
                                      fam_error *error);
FAM_API void fam_decoder_free(fam_decoder *decoder); /* NULL is allowed */
/* Adds a token. *text (owned by the decoder, valid until the next call) is what can be shown now: a character is never
 * split; *length may be 0. An id out of range: FAM_STATUS_INVALID_ARGUMENT. */
FAM_API fam_status fam_decoder_feed(fam_decoder *decoder, int32_t id, const char **text, size_t *length,
                                    fam_error *error);
/* What is still held back: an unfinished character, as it is. */
FAM_API void fam_decoder_finish(fam_decoder *decoder, const char **text, size_t *length);

/* ---- chat ------------------------------------------------------------------------------------------------------------ */

typedef struct fam_message {
    const char *role;    /* "system", "user", "assistant" */
    const char *content; /* NUL-terminated */
} fam_message;

/* Renders messages with the model's own chat template (template_name NULL) or a built-in one ("chatml") and gives their
 * ids to the sink. Text of special tokens inside a message is text. An unknown template: FAM_STATUS_UNSUPPORTED. BOS is
 * part of the result if the template has it.
 * first_message: how many of the messages the model has seen (a conversation that goes on): only those from there on are
 * given, exactly as they stand in the rendering of the whole. If the last one seen is the assistant's, it is taken to
 * have been generated, with its end token but without what the template puts behind that: this then comes first.
 * add_generation_prompt: end with the assistant's opening. */
FAM_API fam_status fam_chat_encode(const fam_tokenizer *tokenizer, const char *template_name,
                                   const fam_message *messages, size_t count, size_t first_message,
                                   bool add_generation_prompt, fam_token_sink *sink, void *context, fam_error *error);

#ifdef __cplusplus
}
#endif

#endif
