/*
 * session/engine.h: what the rooms beside this one (training) may take from an open engine. Everything belongs to the
 * engine.
 */
#ifndef FAM_SESSION_ENGINE_H
#define FAM_SESSION_ENGINE_H

#include "fam/fam.h"
#include "format/adapter.h"
#include "format/checkpoint.h"
#include "model/model.h"

typedef struct fam_engine_parts {
    fam_memory *memory;
    const fam_checkpoint *checkpoint;
    fam_adapter *const *adapters;
    int adapter_count;
    const fam_tensor *prompt; /* the one in use; NULL but in mode fam */
    fam_model *model;         /* to be changed only by an owner of the engine that has no sessions on it */
} fam_engine_parts;

void fam_engine_parts_get(fam_engine *engine, fam_engine_parts *out);

#endif
