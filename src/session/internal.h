/*
 * session/internal.h: the structs behind the public engine and session; private to this folder.
 */
#ifndef FAM_SESSION_INTERNAL_H
#define FAM_SESSION_INTERNAL_H

#include "base/options.h"
#include "fam/fam.h"
#include "format/adapter.h"
#include "format/checkpoint.h"
#include "model/forward.h"
#include "session/sampler.h"

struct fam_engine {
    fam_memory memory; /* counts everything below */
    fam_checkpoint *checkpoint;
    fam_adapter *adapters[FAM_ADAPTERS_MAX];
    double adapter_scales[FAM_ADAPTERS_MAX];
    int adapter_count;
    fam_backend *backend;
    fam_model *model;
    fam_tokenizer *tokenizer; /* or NULL */
    const char *isa;
    int threads;
    int64_t context;         /* mode full: rows of the cache; else 0 */
    uint8_t fingerprint[16]; /* of the model and its adapters */
    fam_log *log;
    void *log_context;
};

struct fam_session {
    fam_engine *engine;
    fam_session_options options; /* start_state is not kept: see start_state below */
    int64_t span;
    fam_timeline *timeline;
    fam_workspace *workspace;
    float *start_state;  /* host [L, F, E], or NULL */
    float *hidden;       /* host [E]: the newest token's last hidden state; valid if has_hidden */
    bool has_hidden;
    float *logits;       /* host [V]; valid if has_logits */
    bool has_logits;
    fam_sampler *sampler;
    uint8_t *note;
    size_t note_size;
    const fam_probe *probe; /* for tests and tools, or NULL */
};

/* For tests: fam_engine_open with one allocation that fails, as fam_memory describes it; fail_at 0: none. */
typedef struct fam_engine_fault {
    size_t fail_at;
    bool fail_for_good;
    size_t bytes_left; /* what a failed opening has not released: 0 */
} fam_engine_fault;
fam_status fam_engine_open_faulty(fam_engine **out, const char *model_path, const fam_engine_options *options,
                                  fam_engine_fault *fault, fam_error *error);

/* Reads one span, tokens [n] that were checked, n <= session->span: nothing is asked or told. nll may be NULL. */
fam_status fam_session_read_span(fam_session *session, const int32_t *tokens, int64_t n, double *nll, fam_error *error);

/* INVALID_ARGUMENT, CONTEXT_FULL, or DEVICE: what keeps these tokens from being read. */
fam_status fam_session_check_tokens(const fam_session *session, const int32_t *tokens, size_t count, fam_error *error);

/* FAM_STATUS_DEVICE if an operator failed in the middle of a span, of its scores or of a beginning: the timeline is then
 * torn, until a reset or a restore succeeds. */
fam_status fam_session_check_whole(const fam_session *session, fam_error *error);

/* FAM_OK with session->logits filled; INVALID_ARGUMENT before the first token. */
fam_status fam_session_make_logits(fam_session *session, fam_error *error);

#endif
