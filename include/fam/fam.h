/*
 * fam/fam.h: TransformerFAM (Hwang et al. 2024, arXiv:2404.09173): Transformers that read without end in constant memory.
 *
 * An engine holds a model: weights, settings, adapters; immutable once open, shared by threads. A session is one
 * timeline on it: what was read so far, in a ring of recent keys and values and, in mode fam, the feedback state. Feed a
 * session tokens in pieces of any size; read logits, or generate; save it, restore it, clone it.
 *
 *     fam_engine_open ── fam_session_create ── fam_session_feed ── fam_session_generate ── fam_session_save
 *
 * Letters in shapes: V vocabulary, E hidden size, L layers, F FAM length, T tokens.
 *
 * Every fallible call returns a fam_status and takes a `fam_error *` (may be NULL); see fam/status.h. Options structs
 * are set to their defaults by `_init` of the same name, which also notes the size that the program was built with, so that
 * programs built against an older header go on working. Strings in options are copied or only read during the call.
 */
#ifndef FAM_FAM_H
#define FAM_FAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fam/modes.h"
#include "fam/status.h"
#include "fam/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

#define FAM_VERSION_MAJOR 0
#define FAM_VERSION_MINOR 1
#define FAM_VERSION_PATCH 0

/* The version of the library that is running, "0.1.0". Thread-safe. */
FAM_API const char *fam_version(void);

/* ---- engine ---------------------------------------------------------------------------------------------------------- */

typedef struct fam_engine fam_engine;

typedef enum fam_log_level { FAM_LOG_INFO, FAM_LOG_WARNING } fam_log_level;

/* One line, no newline. May be called by any thread that is inside a call of the library. */
typedef void fam_log(void *context, fam_log_level level, const char *line);

typedef struct fam_adapter_option {
    const char *path; /* a PEFT directory, FAM files beside it */
    double scale;     /* multiplies the adapter's own scale; 1 as trained */
} fam_adapter_option;

typedef struct fam_engine_options {
    size_t size;         /* of this struct; set by fam_engine_options_init */
    const char *device;  /* "cpu" (the default, also NULL) */
    int threads;         /* FAM_AUTO: as many as the process may use processors */
    int dtype;           /* enum fam_dtype; FAM_AUTO: bf16 where the processor computes in it, else f32 */
    const char *isa;     /* force a level of kernels: "portable", "avx2", "avx512", "avx512vnni", "avx512bf16", "amx";
                            NULL: the best of this machine */
    /* Settings; FAM_AUTO: what the last adapter, else the model says, else full, block 1024, no segments, the rows of
     * the prompt, none, last, window 1024. */
    int mode;            /* enum fam_mode */
    int state_norm;      /* enum fam_state_norm */
    int fam_positions;   /* enum fam_positions */
    int64_t block_size, memory_segments, fam_length, window;
    int64_t context;     /* mode full: tokens that the cache holds; FAM_AUTO: the model's context length */
    const fam_adapter_option *adapters;
    size_t adapter_count;
    const char *const *ignored_config_keys; /* accepted although they would change the result */
    size_t ignored_config_key_count;
    fam_log *log;        /* may be NULL */
    void *log_context;
} fam_engine_options;

#define fam_engine_options_init(options) fam_engine_options_init_sized((options), sizeof *(options))
FAM_API void fam_engine_options_init_sized(fam_engine_options *options, size_t size);

/* Opens a Hugging Face directory or a GGUF file. options may be NULL. Statuses: NOT_FOUND, IO, BAD_FORMAT, UNSUPPORTED,
 * MISMATCH (an adapter of another model), INVALID_ARGUMENT, OUT_OF_MEMORY. */
FAM_API fam_status fam_engine_open(fam_engine **out, const char *model_path, const fam_engine_options *options,
                                   fam_error *error);
/* Its sessions must be freed before. NULL is allowed. */
FAM_API void fam_engine_free(fam_engine *engine);

typedef struct fam_engine_info {
    const char *family, *container; /* "llama"; "gguf" or "safetensors" */
    const char *device, *isa;       /* "cpu"; the level of kernels in use */
    fam_dtype dtype;
    int threads;
    int64_t vocab_size, hidden_size, intermediate_size, layers, heads, kv_heads, head_dim, context_length;
    int64_t parameters;             /* of the base model */
    fam_mode mode;
    fam_state_norm state_norm;
    enum fam_positions fam_positions; /* `enum`: C++ would not take the bare name here */
    int64_t block_size, memory_segments, fam_length, window; /* fam_length is 0 but in mode fam */
    int64_t context;                /* tokens that mode full can hold; 0 in the other modes */
    size_t adapter_count;
    uint8_t fingerprint[16];        /* of the weights, the adapters and their scales */
} fam_engine_info;

/* Strings in it belong to the engine. Thread-safe. */
FAM_API void fam_engine_info_get(const fam_engine *engine, fam_engine_info *out);

/* The engine's tokenizer, or NULL if the model has none (or one that is not supported: see fam_tokenizer_open). */
FAM_API const fam_tokenizer *fam_engine_tokenizer(const fam_engine *engine);

/* Bytes that the library holds for this engine and its sessions now, and at the most so far; and the number of
 * allocations so far. Mapped files are not counted. Thread-safe. */
FAM_API void fam_engine_memory(const fam_engine *engine, uint64_t *bytes, uint64_t *peak_bytes, uint64_t *allocations);

/* Bytes that a run takes. weights: as decoding reads them, mapped; panels: the copies that long spans of text work
 * with, made at the first one; state, ring, scratch: of one session. */
typedef struct fam_memory_report {
    uint64_t weights, panels, state, ring, scratch, total;
} fam_memory_report;

/* ---- sessions -------------------------------------------------------------------------------------------------------- */

typedef struct fam_session fam_session;

typedef struct fam_session_options {
    size_t size;              /* of this struct; set by fam_session_options_init */
    int64_t span;             /* most tokens worked on at once; FAM_AUTO: a good size for the device */
    int64_t position_offset;  /* added to every token's position, 0 to 2^40 */
    const float *start_state; /* [L, F, E]: mode fam starts from this state instead of the learned one (and its first
                                 update then has the residual); NULL: the learned one */
    /* Asked at least once a block or span, whichever is longer, and once a token while generating; true: stop, with
     * FAM_STATUS_CANCELLED. May be NULL. */
    bool (*cancelled)(void *context);
    /* Told after each span how many of the tokens given to fam_session_feed or _score are done. While generating it is not
     * called: on_text hears of every token there. May be NULL. */
    void (*progress)(void *context, int64_t done, int64_t total);
    void *context;
} fam_session_options;

#define fam_session_options_init(options) fam_session_options_init_sized((options), sizeof *(options))
FAM_API void fam_session_options_init_sized(fam_session_options *options, size_t size);

/* What a session with these options would take, with the engine's weights; nothing is allocated. */
FAM_API fam_status fam_memory_estimate(const fam_engine *engine, const fam_session_options *options,
                                       fam_memory_report *out, fam_error *error);

/* All memory of a session is allocated here (the first long span adds the engine's panels). options may be NULL. */
FAM_API fam_status fam_session_create(fam_session **out, fam_engine *engine, const fam_session_options *options,
                                      fam_error *error);
/* A second timeline that has read the same: read once, ask many times. The original is not touched. */
FAM_API fam_status fam_session_clone(fam_session **out, const fam_session *session, fam_error *error);
FAM_API void fam_session_free(fam_session *session); /* NULL is allowed */

/* Back to the beginning, as after fam_session_create, without a note; keeps the sampling settings and reseeds. */
FAM_API void fam_session_reset(fam_session *session);

/* Reads tokens [count]. *consumed (may be NULL) is how many were read, also on failure or cancellation: the session is
 * then valid at that count. An id outside the vocabulary: INVALID_ARGUMENT, nothing read. Mode full beyond the cache:
 * CONTEXT_FULL, nothing read. DEVICE: an operator failed (a lost device), and the session is of no use: reading, scoring,
 * generating, saving and cloning are refused with DEVICE until it is reset or restored. */
FAM_API fam_status fam_session_feed(fam_session *session, const int32_t *tokens, size_t count, size_t *consumed,
                                    fam_error *error);

/* The same, and nll [count]: minus the natural logarithm of the probability of each token after those before it; NaN for
 * the very first token of a session. */
FAM_API fam_status fam_session_score(fam_session *session, const int32_t *tokens, size_t count, double *nll,
                                     size_t *consumed, fam_error *error);

/* Logits [V] float32 after the last token read; valid until the next call on the session. NULL before the first token. */
FAM_API const float *fam_session_logits(fam_session *session);

/* Tokens read or generated so far. */
FAM_API int64_t fam_session_position(const fam_session *session);

typedef struct fam_session_stats {
    int64_t tokens_read;      /* all */
    int64_t tokens_in_window; /* the newest ones, which the next token may see directly */
    int64_t tokens_in_memory; /* mode fam: those in complete blocks, which the state has seen */
    int64_t blocks;           /* complete blocks */
} fam_session_stats;

FAM_API void fam_session_stats_get(const fam_session *session, fam_session_stats *out);

/* Mode fam: copies the state [L, F, E] float32 after the last complete block into out; else INVALID_ARGUMENT. */
FAM_API fam_status fam_session_state(const fam_session *session, float *out, fam_error *error);

/* ---- generating ------------------------------------------------------------------------------------------------------ */

typedef struct fam_logit_bias {
    int32_t id;
    float bias; /* added to the logit; -INFINITY forbids */
} fam_logit_bias;

typedef struct fam_sampling {
    size_t size;               /* of this struct; set by fam_sampling_init */
    double temperature;        /* 0: the largest logit, ties to the lowest id */
    int64_t top_k;             /* 0: all */
    double top_p, min_p;       /* 1 and 0: all */
    double repetition_penalty; /* 1: none. Divides (or multiplies, if negative) logits of the last 1,024 tokens */
    double presence_penalty, frequency_penalty; /* 0: none. Over what was generated since the last feed */
    uint64_t seed;
    const fam_logit_bias *logit_bias; /* copied */
    size_t logit_bias_count;
} fam_sampling;

#define fam_sampling_init(sampling) fam_sampling_init_sized((sampling), sizeof *(sampling))
FAM_API void fam_sampling_init_sized(fam_sampling *sampling, size_t size);

/* Takes effect at once and reseeds the random numbers. The order is: bias, penalties, temperature, top-k, top-p, min-p. */
FAM_API fam_status fam_session_set_sampling(fam_session *session, const fam_sampling *sampling, fam_error *error);

/* Draws the next token from the logits; does not read it. Ids without a token, which pad some vocabularies, are never
 * drawn. INVALID_ARGUMENT before the first token. */
FAM_API fam_status fam_session_sample(fam_session *session, int32_t *token, fam_error *error);

/* Reads a token that was drawn: as fam_session_feed, but it counts as generated for the penalties. */
FAM_API fam_status fam_session_accept(fam_session *session, int32_t token, fam_error *error);

/* CALLER: on_text returned false. FAILURE: the call did not return FAM_OK (cancelled, say). */
typedef enum fam_stop_reason {
    FAM_STOP_LENGTH,
    FAM_STOP_END_TOKEN,
    FAM_STOP_STRING,
    FAM_STOP_CALLER,
    FAM_STOP_FAILURE
} fam_stop_reason;

typedef struct fam_generate_options {
    size_t size;             /* of this struct; set by fam_generate_options_init */
    int64_t max_tokens;      /* default 256 */
    const char *const *stop; /* generation ends before any of these strings */
    size_t stop_count;
    bool show_special;       /* special tokens give their text */
    /* Given every token and the text that can be shown now (may be empty; never a split character, never a stop string
     * or the beginning of one). token is -1 for text that was held back to the end. Returns false to stop. May be NULL. */
    bool (*on_text)(void *context, int32_t token, const char *text, size_t length);
    void *context;
} fam_generate_options;

#define fam_generate_options_init(options) fam_generate_options_init_sized((options), sizeof *(options))
FAM_API void fam_generate_options_init_sized(fam_generate_options *options, size_t size);

typedef struct fam_generate_result {
    int64_t tokens; /* generated, the end token not counted */
    fam_stop_reason reason;
} fam_generate_result;

/* Draws and reads tokens until an end token, a stop string or max_tokens. What was generated is part of the session, the
 * end token too. Works without a tokenizer if there are no stop strings (text is then always empty and no id ends it).
 * Cancelled or failed, all text of the tokens that were read has been given. result may be NULL. */
FAM_API fam_status fam_session_generate(fam_session *session, const fam_generate_options *options,
                                        fam_generate_result *result, fam_error *error);

/* ---- saving ---------------------------------------------------------------------------------------------------------- */

/* Bytes that the caller wants kept with the session (what of its input was consumed, say): copied, saved, restored and
 * cloned with it. At most 16 MiB. */
FAM_API fam_status fam_session_set_note(fam_session *session, const void *data, size_t size, fam_error *error);
FAM_API const void *fam_session_note(const fam_session *session, size_t *size); /* NULL if there is none */

/* Writes the session to a file, atomically: the old file is whole until the new one is. Versioned and checksummed. A new
 * file can be read by its owner only; one that is replaced keeps its permissions. */
FAM_API fam_status fam_session_save(const fam_session *session, const char *path, fam_error *error);

/* Restores a session that was created on an engine with the same model, adapters and settings (else MISMATCH). On
 * failure the session is as it was. Sampling settings, random numbers, note and position offset are the file's. Continued
 * with the same pieces, threads or not, on the same level of kernels, the result equals the uninterrupted one bit by bit. */
FAM_API fam_status fam_session_restore(fam_session *session, const char *path, fam_error *error);

typedef struct fam_session_file_info {
    uint32_t version;
    int64_t tokens_read, layers, hidden_size, vocab_size;
    fam_mode mode;
    int64_t block_size, memory_segments, fam_length, window;
    uint64_t file_bytes, state_bytes, ring_bytes, note_bytes;
} fam_session_file_info;

/* What a session file holds, with all checksums verified; needs no engine. */
FAM_API fam_status fam_session_file_inspect(const char *path, fam_session_file_info *out, fam_error *error);

/* ---- looking into files ---------------------------------------------------------------------------------------------- */

/* Describes a model, an adapter directory or a session file as one JSON object (what `fam inspect --json` prints less
 * the memory), released with fam_string_free. */
FAM_API fam_status fam_inspect(char **json, const char *path, fam_error *error);
FAM_API void fam_string_free(char *text); /* NULL is allowed */

#ifdef __cplusplus
}
#endif

#endif
