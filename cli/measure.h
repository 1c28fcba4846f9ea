/*
 * cli/measure.h: clock and memory of this process.
 */
#ifndef CLI_MEASURE_H
#define CLI_MEASURE_H

#include <stdint.h>

double measure_seconds(void);       /* monotonic */
int64_t measure_peak_bytes(void);   /* most memory resident so far: VmHWM */

#endif
