/*
 * cli/signals.c: see signals.h. Handlers use only what is safe in them.
 */
#include "signals.h"

#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fam/status.h"

/* The same signal so soon after the first is the same wish: `timeout` and terminals send one to the process and one to
 * its group. */
static const long long SAME_NANOSECONDS = 200000000;

static volatile sig_atomic_t stop_asked;
static struct timespec asked_at; /* written before stop_asked is set, which is the signal */

static void on_stop(int number)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (!stop_asked) {
        asked_at = now;
        stop_asked = number;
        return;
    }
    if (number != stop_asked ||
        (now.tv_sec - asked_at.tv_sec) * 1000000000LL + (now.tv_nsec - asked_at.tv_nsec) > SAME_NANOSECONDS)
        _exit(EXIT_INTERRUPTED);
}

static void on_bus_error(int number)
{
    (void)number;
    static const char line[] = "fam: a mapped file shrank or failed while it was read\n";
    ssize_t ignored = write(STDERR_FILENO, line, sizeof line - 1);
    (void)ignored;
    _exit(5);
}

void signals_install(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_handler = on_stop; /* no SA_RESTART: waiting for input must end */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = on_bus_error;
    sigaction(SIGBUS, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
    sigaction(SIGXFSZ, &action, NULL); /* a file grown too large is an error of write, told like others */
}

void signals_stop_on_usr1(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_handler = on_stop;
    sigaction(SIGUSR1, &action, NULL);
}

bool signals_stop_asked(void)
{
    return stop_asked != 0;
}

void signals_forget(void)
{
    stop_asked = 0;
}
