/*
 * text/tokenizer.h: byte-level BPE tokenizers, from a GGUF file or a tokenizer.json; what fam/tokenizer.h offers, and
 * what other rooms need besides.
 *
 * Ids equal those of the `tokenizers` package. Text is bytes: broken UTF-8 goes through. A fam_tokenizer is immutable
 * and shared by threads. Encoders and decoders allocate from the memory of their tokenizer.
 */
#ifndef FAM_TEXT_TOKENIZER_H
#define FAM_TEXT_TOKENIZER_H

#include "base/memory.h"
#include "fam/tokenizer.h"

struct fam_gguf;

typedef void fam_tokenizer_warn(void *context, const char *line);

/* From the metadata of a GGUF file: tokenizer.ggml.model "gpt2" with pre "smollm", "gpt-2" or "llama-bpe" ("default", or
 * none, is taken as "gpt-2" with a warning). The file may be closed afterwards. BAD_FORMAT, UNSUPPORTED (another tokenizer,
 * named), OUT_OF_MEMORY. `warn` may be NULL. */
fam_status fam_tokenizer_from_gguf(fam_tokenizer **out, fam_memory *memory, const struct fam_gguf *gguf,
                                   fam_tokenizer_warn *warn, void *warn_context, fam_error *error);

/* From a tokenizer.json (model BPE, byte-level). `config_path`: the tokenizer_config.json beside it, NULL if there is
 * none; a chat_template.jinja in the folder of tokenizer.json goes before the template in it. */
fam_status fam_tokenizer_from_json(fam_tokenizer **out, fam_memory *memory, const char *path, const char *config_path,
                                   fam_error *error);
/* The same from texts in memory; `name` and `config_name` stand for the paths in messages; config may be NULL. */
fam_status fam_tokenizer_parse_json(fam_tokenizer **out, fam_memory *memory, const char *name, const char *text,
                                    size_t size, const char *config_name, const char *config, size_t config_size,
                                    fam_error *error);

/* As fam_tokenizer_open, within the caller's memory: a directory with tokenizer.json, that file, or a GGUF file.
 * NOT_FOUND when a directory has no tokenizer.json. */
fam_status fam_tokenizer_from_path(fam_tokenizer **out, fam_memory *memory, const char *path, fam_tokenizer_warn *warn,
                                   void *warn_context, fam_error *error);

typedef enum fam_token_kind {
    FAM_TOKEN_NONE, /* the id has no token (padding); never emitted */
    FAM_TOKEN_NORMAL,
    FAM_TOKEN_ADDED,  /* found in the text before merging */
    FAM_TOKEN_SPECIAL /* control: <|im_start|> and the like */
} fam_token_kind;

fam_token_kind fam_tokenizer_kind(const fam_tokenizer *tokenizer, int32_t id);
/* The token as the vocabulary writes it ("Ġthe"); not NUL-terminated; NULL for an id out of range or without a token.
 */
const char *fam_tokenizer_token_text(const fam_tokenizer *tokenizer, int32_t id, size_t *length);
/* The end-of-turn token that GGUF may name beside eos; -1 if there is none. */
int32_t fam_tokenizer_eot(const fam_tokenizer *tokenizer);
/* Ids after which a generated text or turn is over: eos, eot and special tokens known for it (<|im_end|>, ...). */
const int32_t *fam_tokenizer_end_ids(const fam_tokenizer *tokenizer, size_t *count);

/* The Jinja text of the chat template, NULL if the model has none. */
const char *fam_tokenizer_chat_template(const fam_tokenizer *tokenizer);
/* How many of the 256 bytes have no token (SmolLM2: 21). */
int fam_tokenizer_missing_bytes(const fam_tokenizer *tokenizer);
/* A hash of all that decides ids: sessions are bound to it. */
uint64_t fam_tokenizer_fingerprint(const fam_tokenizer *tokenizer);
/* MISMATCH unless every token has a row in a model whose embedding has `rows` rows. */
fam_status fam_tokenizer_check_rows(const fam_tokenizer *tokenizer, int64_t rows, fam_error *error);

/* Ends the text so far, then hands over `id`. INVALID_ARGUMENT for an id without a token. */
fam_status fam_encoder_put(fam_encoder *encoder, int32_t id, fam_token_sink *sink, void *context, fam_error *error);
/* Forgets text, counts and failure. */
void fam_encoder_reset(fam_encoder *encoder);
/* How many bytes were fed, and how many of them wait for more text. */
uint64_t fam_encoder_fed(const fam_encoder *encoder);
size_t fam_encoder_held(const fam_encoder *encoder);

/* A whole text at once: *ids (released with fam_free; never NULL on success) and *count. */
fam_status fam_tokenizer_encode(int32_t **ids, size_t *count, fam_memory *memory, const fam_tokenizer *tokenizer,
                                const char *text, size_t size, bool parse_special, fam_error *error);
/* A whole row of ids at once: *text (NUL-terminated, released with fam_free) and *size. */
fam_status fam_tokenizer_decode(char **text, size_t *size, fam_memory *memory, const fam_tokenizer *tokenizer,
                                const int32_t *ids, size_t count, bool show_special, fam_error *error);

#endif
