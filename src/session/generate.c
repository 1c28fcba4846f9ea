/*
 * session/generate.c: drawing tokens one after the other, and the text that they make.
 */
#include "session/internal.h"

enum { DEFAULT_MAX_TOKENS = 256 };

void fam_generate_options_init(fam_generate_options *options)
{
    *options = (fam_generate_options){.size = sizeof *options, .max_tokens = DEFAULT_MAX_TOKENS};
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

/* The text side of one call of fam_session_generate. */
typedef struct speaker {
    const fam_generate_options *options;
    fam_decoder *decoder; /* NULL without a tokenizer */
} speaker;

/* Hands on what can be shown after a token; false: the caller wants to stop. */
static fam_status speak(speaker *s, int32_t token, bool *go_on, fam_error *error)
{
    fam_status status = FAM_OK;
    const char *text = "";
    size_t length = 0;
    if (s->decoder)
        FAM_TRY(fam_decoder_feed(s->decoder, token, &text, &length, error));
    if (s->options->on_text)
        *go_on = s->options->on_text(s->options->context, token, text, length);
done:
    return status;
}

/* What was held back to the end. */
static void speak_rest(speaker *s)
{
    const char *text = "";
    size_t length = 0;
    if (s->decoder)
        fam_decoder_finish(s->decoder, &text, &length);
    if (length > 0 && s->options->on_text)
        s->options->on_text(s->options->context, -1, text, length);
}

static fam_status generate_tokens(fam_session *session, speaker *s, fam_generate_result *result, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_tokenizer *tokenizer = session->engine->tokenizer;
    bool go_on = true;
    while (result->tokens < s->options->max_tokens) {
        int32_t token;
        FAM_TRY(fam_session_sample(session, &token, error));
        FAM_TRY(fam_session_read(session, &token, 1, NULL, NULL, error));
        fam_sampler_generated(session->sampler, token);
        if (tokenizer && fam_tokenizer_is_end(tokenizer, token)) {
            result->reason = FAM_STOP_END_TOKEN;
            break;
        }
        result->tokens++;
        FAM_TRY(speak(s, token, &go_on, error));
        if (!go_on) {
            result->reason = FAM_STOP_CALLER;
            break;
        }
    }
    speak_rest(s);
done:
    return status;
}

fam_status fam_session_generate(fam_session *session, const fam_generate_options *given, fam_generate_result *out,
                                fam_error *error)
{
    fam_status status = FAM_OK;
    fam_generate_options options;
    fam_generate_result result = {.reason = FAM_STOP_LENGTH};
    speaker s = {.options = &options};
    const fam_tokenizer *tokenizer = session->engine->tokenizer;
    fam_generate_options_init(&options);
    if (given)
        FAM_TRY(fam_options_copy(&options, sizeof options, given, given->size, "generate options", error));
    FAM_FAIL_IF(options.max_tokens < 0, FAM_STATUS_INVALID_ARGUMENT, "max_tokens: found %lld, need 0 or more",
                (long long)options.max_tokens);
    if (tokenizer)
        FAM_TRY(fam_decoder_create(&s.decoder, tokenizer, options.show_special, error));
    status = generate_tokens(session, &s, &result, error);
done:
    if (out)
        *out = result;
    fam_decoder_free(s.decoder);
    return status;
}
