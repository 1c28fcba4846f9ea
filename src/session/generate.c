/*
 * session/generate.c: drawing tokens one after the other, and the text that they make.
 */
#include "session/internal.h"
#include "text/stop.h"

enum { DEFAULT_MAX_TOKENS = 256 };

void fam_generate_options_init_sized(fam_generate_options *options, size_t size)
{
    const fam_generate_options defaults = {.max_tokens = DEFAULT_MAX_TOKENS};
    fam_options_give(options, size, &defaults, sizeof defaults);
}

fam_status fam_session_set_sampling(fam_session *session, const fam_sampling *given, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_sampling sampling;
    fam_sampling_init(&sampling);
    FAM_TRY(fam_options_copy(&sampling, sizeof sampling, given, given->size, "sampling", error));
    FAM_TRY(fam_sampler_set(session->sampler, &sampling, error));
done:
    return status;
}

fam_status fam_session_sample(fam_session *session, int32_t *token, fam_error *error)
{
    fam_status status = FAM_OK;
    FAM_TRY(fam_session_make_logits(session, error));
    FAM_TRY(fam_sampler_draw(session->sampler, token, session->logits, error));
done:
    return status;
}

/* The text side of one call of fam_session_generate: tokens to characters to what lies before a stop string. */
typedef struct speaker {
    const fam_generate_options *options;
    fam_decoder *decoder; /* both NULL without a tokenizer */
    fam_stop *stop;
    bool stopped, refused; /* a stop string came; the caller wants no more */
} speaker;

static void show(speaker *s, int32_t token, const char *text, size_t length)
{
    if (s->options->on_text && !s->options->on_text(s->options->context, token, text, length))
        s->refused = true;
}

/* Hands on what can be shown after a token. */
static fam_status speak(speaker *s, int32_t token, fam_error *error)
{
    fam_status status = FAM_OK;
    const char *text = "", *ready = "";
    size_t length = 0, ready_length = 0;
    if (s->decoder) {
        FAM_TRY(fam_decoder_feed(s->decoder, token, &text, &length, error));
        FAM_TRY(fam_stop_feed(s->stop, text, length, &ready, &ready_length, &s->stopped, error));
    }
    show(s, token, ready, ready_length);
done:
    return status;
}

/* What was held back to the end: an unfinished character, the beginning of a stop string that did not come. */
static fam_status speak_rest(speaker *s, fam_error *error)
{
    fam_status status = FAM_OK;
    const char *text = "", *ready = "";
    size_t length = 0, ready_length = 0;
    if (!s->decoder || s->stopped || s->refused)
        return FAM_OK;
    fam_decoder_finish(s->decoder, &text, &length);
    FAM_TRY(fam_stop_feed(s->stop, text, length, &ready, &ready_length, &s->stopped, error));
    if (ready_length > 0)
        show(s, -1, ready, ready_length);
    fam_stop_finish(s->stop, &ready, &ready_length);
    if (ready_length > 0 && !s->stopped)
        show(s, -1, ready, ready_length);
done:
    return status;
}

/* One more token; *over if it ends the text. Whether to go on is asked before anything is drawn, so that a text which is
 * stopped and continued equals one that was not. */
static fam_status generate_token(fam_session *session, speaker *s, fam_generate_result *result, bool *over,
                                 fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_session_options *options = &session->options;
    const fam_tokenizer *tokenizer = session->engine->tokenizer;
    int32_t token = 0;
    FAM_FAIL_IF(options->cancelled && options->cancelled(options->context), FAM_STATUS_CANCELLED,
                "cancelled after %lld tokens", (long long)result->tokens);
    FAM_TRY(fam_session_check_tokens(session, &token, 1, error)); /* room for one, whichever is drawn */
    FAM_TRY(fam_session_sample(session, &token, error));
    FAM_TRY(fam_session_accept(session, token, error));
    *over = tokenizer && fam_tokenizer_is_end(tokenizer, token);
    if (!*over) {
        result->tokens++;
        FAM_TRY(speak(s, token, error));
    }
done:
    return status;
}

static fam_status generate_tokens(fam_session *session, speaker *s, fam_generate_result *result, fam_error *error)
{
    fam_status status = FAM_OK, rest;
    bool over = false;
    while (status == FAM_OK && result->tokens < s->options->max_tokens && !over && !s->stopped && !s->refused)
        status = generate_token(session, s, result, &over, error);
    rest = speak_rest(s, status == FAM_OK ? error : NULL); /* also after a failure: those tokens were read */
    if (status == FAM_OK)
        status = rest;
    result->reason = status != FAM_OK ? FAM_STOP_FAILURE
                     : s->stopped     ? FAM_STOP_STRING
                     : s->refused     ? FAM_STOP_CALLER
                     : over           ? FAM_STOP_END_TOKEN
                                      : FAM_STOP_LENGTH;
    return status;
}

fam_status fam_session_generate(fam_session *session, const fam_generate_options *given, fam_generate_result *out,
                                fam_error *error)
{
    fam_status status = FAM_OK;
    fam_generate_options options;
    fam_generate_result result = {.reason = FAM_STOP_FAILURE};
    speaker s = {.options = &options};
    const fam_tokenizer *tokenizer = session->engine->tokenizer;
    fam_generate_options_init(&options);
    if (given)
        FAM_TRY(fam_options_copy(&options, sizeof options, given, given->size, "generate options", error));
    FAM_FAIL_IF(options.max_tokens < 0, FAM_STATUS_INVALID_ARGUMENT, "max_tokens: found %lld, need 0 or more",
                (long long)options.max_tokens);
    FAM_FAIL_IF(!tokenizer && options.stop_count > 0, FAM_STATUS_INVALID_ARGUMENT,
                "stop: found %zu strings, need none (the model has no tokenizer)", options.stop_count);
    if (tokenizer) {
        FAM_TRY(fam_decoder_create(&s.decoder, tokenizer, options.show_special, error));
        FAM_TRY(fam_stop_create(&s.stop, &session->engine->memory, options.stop, options.stop_count, error));
    }
    status = generate_tokens(session, &s, &result, error);
done:
    if (out)
        *out = result;
    fam_decoder_free(s.decoder);
    fam_stop_free(s.stop);
    return status;
}
