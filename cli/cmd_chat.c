/*
 * cli/cmd_chat.c: fam chat: a conversation, one message a line.
 *
 * Ctrl-C while a reply is written ends the reply; while a message is read, or at the prompt, it ends the conversation.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "conversation.h"
#include "message.h"
#include "model.h"
#include "note.h"
#include "output.h"
#include "reader.h"
#include "session_file.h"
#include "signals.h"

typedef struct chat_run {
    const cli_options *options;
    fam_engine *engine;
    fam_session *session;
    cli_note note;
    cli_conversation conversation;
    cli_reader reader;
    bool terminal;
    char *line, *reply; /* the message; what the model has written so far */
    size_t line_length, line_capacity, reply_length, reply_capacity;
    char ahead[4096]; /* bytes of standard input after the line */
    size_t ahead_start, ahead_count;
    fam_status reply_status;
    fam_error reply_error;
} chat_run;

static bool append(char **text, size_t *length, size_t *capacity, const char *more, size_t count)
{
    if (*length + count > *capacity) {
        size_t grown_capacity = 2 * (*length + count);
        char *grown = realloc(*text, grown_capacity);
        if (!grown)
            return false;
        *text = grown;
        *capacity = grown_capacity;
    }
    if (count > 0)
        memcpy(*text + *length, more, count);
    *length += count;
    return true;
}

/* One line of standard input without its newline. *end: there is none. CANCELLED after Ctrl-C. */
static fam_status read_line(chat_run *run, bool *end, fam_error *error)
{
    run->line_length = 0;
    *end = false;
    for (;;) {
        char *start = run->ahead + run->ahead_start, *newline = memchr(start, '\n', run->ahead_count);
        size_t count = newline ? (size_t)(newline - start) : run->ahead_count;
        if (!append(&run->line, &run->line_length, &run->line_capacity, start, count))
            return failure(error, FAM_STATUS_OUT_OF_MEMORY, "standard input: out of memory");
        count += newline != NULL;
        run->ahead_start += count;
        run->ahead_count -= count;
        if (newline)
            return FAM_OK;
        ssize_t got = signals_stop_asked() ? -1 : read(STDIN_FILENO, run->ahead, sizeof run->ahead);
        if (signals_stop_asked())
            return failure(error, FAM_STATUS_CANCELLED, "interrupted");
        if (got < 0 && errno != EINTR)
            return failure(error, FAM_STATUS_IO, "standard input: cannot read: %s", strerror(errno));
        run->ahead_start = 0;
        run->ahead_count = got > 0 ? (size_t)got : 0;
        if (got == 0) {
            *end = run->line_length == 0;
            return FAM_OK;
        }
    }
}

static bool on_text(void *context, int32_t token, const char *text, size_t length)
{
    chat_run *run = context;
    (void)token;
    fam_status status = FAM_OK;
    if (!append(&run->reply, &run->reply_length, &run->reply_capacity, text, length))
        status = failure(&run->reply_error, FAM_STATUS_OUT_OF_MEMORY, "the reply: out of memory");
    else if (length > 0)
        status = output_write(text, length, &run->reply_error);
    if (status == FAM_OK && length > 0)
        status = output_flush(&run->reply_error);
    run->reply_status = status;
    return status == FAM_OK;
}

static fam_status generate(chat_run *run, fam_stop_reason *reason, fam_error *error)
{
    const cli_options *options = run->options;
    fam_generate_options generating;
    fam_generate_options_init(&generating);
    const char **stop = calloc(options->count + 1, sizeof *stop);
    if (!stop)
        return failure(error, FAM_STATUS_OUT_OF_MEMORY, "the options: out of memory");
    generating.max_tokens = option_integer(options, OPTION_MAX_TOKENS);
    generating.stop_count = option_times(options, OPTION_STOP);
    for (size_t i = 0; i < generating.stop_count; i++)
        stop[i] = option_nth(options, OPTION_STOP, i)->text;
    generating.stop = stop;
    generating.on_text = on_text;
    generating.context = run;
    fam_generate_result result = {0, FAM_STOP_CALLER};
    fam_status status = fam_session_generate(run->session, &generating, &result, error);
    *reason = result.reason;
    free(stop);
    if (status == FAM_STATUS_CANCELLED) { /* the reply ends here, the conversation goes on */
        signals_forget();
        status = FAM_OK;
    }
    if (run->reply_status != FAM_OK) {
        *error = run->reply_error;
        status = run->reply_status;
    }
    return status;
}

/* Reads what is new, writes the reply. */
static fam_status answer(chat_run *run, fam_error *error)
{
    fam_stop_reason reason = FAM_STOP_CALLER;
    run->reply_length = 0;
    run->reply_status = FAM_OK;
    fam_status status = conversation_read(&run->conversation, run->session, error);
    if (status == FAM_OK)
        status = generate(run, &reason, error);
    if (status == FAM_OK)
        status = output_write("\n", 1, error);
    if (status == FAM_OK)
        status = output_flush(error);
    if (status == FAM_OK)
        status = conversation_add(&run->conversation, "assistant", run->reply, run->reply_length, error);
    if (status == FAM_OK)
        status = conversation_end_reply(&run->conversation, run->session, reason == FAM_STOP_END_TOKEN, error);
    return status;
}

static fam_status converse(chat_run *run, fam_error *error)
{
    fam_status status = FAM_OK;
    bool end = false;
    if (run->terminal)
        message("one message a line; Ctrl-D leaves");
    if (conversation_waits(&run->conversation)) {
        message("the last message was not read to its end: it goes on");
        status = answer(run, error);
    }
    while (status == FAM_OK) {
        if (run->terminal && write(STDERR_FILENO, "> ", 2) < 0)
            run->terminal = false;
        status = read_line(run, &end, error);
        if (status != FAM_OK || end)
            break;
        if (run->line_length == 0)
            continue;
        status = conversation_add(&run->conversation, "user", run->line, run->line_length, error);
        if (status == FAM_OK)
            status = answer(run, error);
    }
    if (run->terminal && (end || status == FAM_STATUS_CANCELLED)) {
        ssize_t ignored = write(STDERR_FILENO, "\n", 1);
        (void)ignored;
    }
    return status;
}

static fam_status set_up(chat_run *run, fam_error *error)
{
    const cli_options *options = run->options;
    const char *path = option_text(options, OPTION_SESSION), *system = option_text(options, OPTION_SYSTEM);
    fam_session_options session_options;
    fam_status status = session_file_check(options, error);
    if (status == FAM_OK && option_integer(options, OPTION_MAX_TOKENS) == 0)
        status = failure(error, FAM_STATUS_INVALID_ARGUMENT, "--max-tokens: found 0, a conversation needs at least 1");
    if (status == FAM_OK)
        status = model_open(&run->engine, options, error);
    if (status == FAM_OK)
        status = model_tokenizer(&run->conversation.tokenizer, run->engine, options->argument, error);
    if (status != FAM_OK)
        return status;
    run->conversation.template_name = option_text(options, OPTION_CHAT_TEMPLATE);
    reader_session_options(&session_options, &run->reader);
    status = session_file_open(&run->session, run->engine, options, &session_options, error);
    if (status == FAM_OK)
        status = note_load(&run->note, run->session, path ? path : "the session", error);
    if (status == FAM_OK)
        status = conversation_load(&run->conversation, &run->note, path, error);
    if (status != FAM_OK)
        return status;
    if (system && conversation_count(&run->conversation) > 0)
        return failure(error, FAM_STATUS_INVALID_ARGUMENT, "--system: found a conversation that has begun in %s, need a "
                       "new one", path);
    if (system)
        status = conversation_add(&run->conversation, "system", system, strlen(system), error);
    return status == FAM_OK ? model_set_sampling(run->session, options, error) : status;
}

static fam_status keep(chat_run *run, fam_error *error)
{
    if (!run->session || !session_file_saves(run->options) || fam_session_position(run->session) == 0)
        return FAM_OK;
    fam_status status = conversation_store(&run->conversation, &run->note, run->session, error);
    if (status == FAM_OK)
        status = fam_session_save(run->session, option_text(run->options, OPTION_SESSION), error);
    return status;
}

int cmd_chat(const cli_options *options)
{
    chat_run run = {.options = options, .reader = {.quiet = true}};
    run.terminal = isatty(STDIN_FILENO) == 1 && isatty(STDERR_FILENO) == 1;
    fam_error error = {FAM_OK, ""}, other;
    fam_status status = set_up(&run, &error);
    if (status == FAM_OK) {
        status = converse(&run, &error);
        fam_status kept = keep(&run, &other);
        if (kept != FAM_OK) {
            if (status != FAM_OK && status != FAM_STATUS_CANCELLED)
                message("%s", error.message);
            error = other;
            status = kept;
        } else if (status == FAM_STATUS_CANCELLED) {
            message("interrupted%s", session_file_saves(options) ? "; the session is saved" : "");
        }
    }
    int result = fam_status_exit_code(status);
    if (status != FAM_OK && status != FAM_STATUS_CANCELLED)
        result = message_failure(&error);
    free(run.line);
    free(run.reply);
    conversation_free(&run.conversation);
    note_free(&run.note);
    fam_session_free(run.session);
    fam_engine_free(run.engine);
    return result;
}
