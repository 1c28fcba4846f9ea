/*
 * base/modes.c: the names of the settings of fam/modes.h, for all who read or write them.
 */
#include "fam/modes.h"

#include <stddef.h>

const char *fam_mode_name(int mode)
{
    switch (mode) {
    case FAM_MODE_FULL:
        return "full";
    case FAM_MODE_SWA:
        return "swa";
    case FAM_MODE_BSWA:
        return "bswa";
    case FAM_MODE_FAM:
        return "fam";
    default:
        return NULL;
    }
}

const char *fam_state_norm_name(int state_norm)
{
    switch (state_norm) {
    case FAM_STATE_NORM_NONE:
        return "none";
    case FAM_STATE_NORM_RMS:
        return "rms";
    case FAM_STATE_NORM_RMS_INIT:
        return "rms_init";
    default:
        return NULL;
    }
}

const char *fam_positions_name(int positions)
{
    switch (positions) {
    case FAM_POSITIONS_LAST:
        return "last";
    case FAM_POSITIONS_ZERO:
        return "zero";
    case FAM_POSITIONS_FLOAT:
        return "float";
    default:
        return NULL;
    }
}
