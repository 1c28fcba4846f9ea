/*
 * cli/signals.h: what signals do to the program. The first SIGINT or SIGTERM asks it to stop and keep what was done, the
 * second ends it at once with 130 (the same one within a fifth of a second counts as the first). SIGBUS (a mapped file
 * shrank, or its disk failed) ends it with one line and 5. SIGPIPE is ignored, so that writing reports EPIPE.
 */
#ifndef CLI_SIGNALS_H
#define CLI_SIGNALS_H

#include <stdbool.h>

enum { EXIT_INTERRUPTED = 130 };

void signals_install(void);

/* SIGUSR1 asks for a stop too (training: what batch systems send before they end a job). */
void signals_stop_on_usr1(void);

/* Whether a stop was asked for. */
bool signals_stop_asked(void);

/* Forgets it (chat: the reply was stopped, the conversation goes on). */
void signals_forget(void);

#endif
