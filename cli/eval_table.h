/*
 * cli/eval_table.h: the results of fam eval, for people.
 */
#ifndef CLI_EVAL_TABLE_H
#define CLI_EVAL_TABLE_H

#include "fam/eval.h"

typedef struct eval_table {
    const char *task;
    int64_t asked;
    const char *const *names; /* of the systems */
    size_t systems;
    bool depths;              /* several: a matrix of length by depth for each system */
    const fam_eval_result *result;
} eval_table;

fam_status eval_table_print(const eval_table *table, fam_error *error);

#endif
