/*
 * fam/modes.h: the settings of TransformerFAM (arXiv:2404.09173), as enumerations with names.
 */
#ifndef FAM_MODES_H
#define FAM_MODES_H

#include "fam/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Which keys a token may see. */
typedef enum fam_mode {
    FAM_MODE_FULL, /* all tokens so far */
    FAM_MODE_SWA,  /* the last `window` tokens */
    FAM_MODE_BSWA, /* its own block so far and `memory_segments` whole blocks before it (paper, section 3) */
    FAM_MODE_FAM   /* what bswa sees, and the feedback activations of the block before */
} fam_mode;

/* How the feedback state is rescaled after every update. */
typedef enum fam_state_norm {
    FAM_STATE_NORM_NONE,    /* as in the paper */
    FAM_STATE_NORM_RMS,     /* every row to RMS 1 */
    FAM_STATE_NORM_RMS_INIT /* every row to the RMS it has in the layer's first state */
} fam_state_norm;

/* Where the state's rows sit for RoPE. */
typedef enum fam_positions {
    FAM_POSITIONS_LAST, /* the last F positions of the block they compressed (paper, B.2.1) */
    FAM_POSITIONS_ZERO, /* position 0 */
    FAM_POSITIONS_FLOAT /* equally spaced strictly between that block and the next */
} fam_positions;

/* The names above as files and options spell them ("bswa", "rms_init", "last"); NULL for a value outside the
 * enumeration, so that a loop from 0 sees them all. Thread-safe. */
FAM_API const char *fam_mode_name(int mode);
FAM_API const char *fam_state_norm_name(int state_norm);
FAM_API const char *fam_positions_name(int positions);

/* Arithmetic: what activations, keys and values are held in between operators. The state and the residual stream are
 * float32 under both. */
typedef enum fam_dtype { FAM_DTYPE_F32, FAM_DTYPE_BF16 } fam_dtype;

/* In an option of type int or int64_t: not set, take what the model or the library says. */
#define FAM_AUTO (-1)

#ifdef __cplusplus
}
#endif

#endif
