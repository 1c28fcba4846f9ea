/*
 * cli/main.c: the program fam: takes its arguments apart and hands over to a verb.
 */
#include <fcntl.h>
#include <unistd.h>

#include "commands.h"
#include "options.h"
#include "signals.h"

/* A standard stream that is closed is held by something that cannot be used, so that no file gets its number. */
static void hold_standard_streams(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0)
            (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : fd == STDOUT_FILENO ? O_RDONLY : O_WRONLY);
    }
}

int main(int argc, char **argv)
{
    static int (*const commands[VERB_COUNT])(const cli_options *options) = {
        [VERB_GENERATE] = cmd_generate, [VERB_CHAT] = cmd_chat,       [VERB_SCORE] = cmd_score,
        [VERB_TOKENIZE] = cmd_tokenize, [VERB_INSPECT] = cmd_inspect, [VERB_BENCH] = cmd_bench,
        [VERB_TRAIN] = cmd_train,
        [VERB_PLOT] = cmd_plot,
        [VERB_EXPORT] = cmd_export,
        [VERB_EVAL] = cmd_eval,
    };
    hold_standard_streams();
    signals_install();
    cli_options options;
    int result = options_parse(&options, argc - 1, argv + 1);
    if (result < 0)
        result = commands[options.verb](&options);
    options_free(&options);
    return result;
}
