/*
 * data/options.c: see options.h.
 */
#include "data/options.h"

#include <stddef.h>

const char *fam_data_kind_name(int kind)
{
    static const char *const names[] = {
        [FAM_DATA_PASSKEY] = "passkey",     [FAM_DATA_PASSKEY_LANDMARK] = "passkey_landmark",
        [FAM_DATA_NEEDLE] = "needle",       [FAM_DATA_RECALL] = "recall",
        [FAM_DATA_OVERWRITE] = "overwrite", [FAM_DATA_TEXT] = "text",
        [FAM_DATA_JSONL] = "jsonl"};
    return kind >= 0 && kind < (int)(sizeof names / sizeof *names) ? names[kind] : NULL;
}
