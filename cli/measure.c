/*
 * cli/measure.c: see measure.h.
 */
#include "measure.h"

#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

double measure_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int64_t measure_peak_bytes(void)
{
    char line[256];
    long long kilobytes = -1;
    FILE *file = fopen("/proc/self/status", "re");
    while (file && kilobytes < 0 && fgets(line, sizeof line, file)) {
        if (sscanf(line, "VmHWM: %lld kB", &kilobytes) != 1)
            kilobytes = -1;
    }
    if (file)
        fclose(file);
    if (kilobytes >= 0)
        return kilobytes * 1024;
    struct rusage usage; /* no /proc: the same figure, except that it outlives exec */
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (int64_t)usage.ru_maxrss * 1024 : 0;
}
