/*
 * data/options.c: the names of the kinds of data, for all who read or write them.
 */
#include "data/options.h"

#include <stddef.h>

const char *fam_data_kind_name(int kind)
{
    static const char *const names[] = {"passkey", "passkey_landmark", "needle", "recall", "overwrite", "text",
                                        "jsonl"};
    return kind >= 0 && kind < (int)(sizeof names / sizeof *names) ? names[kind] : NULL;
}
