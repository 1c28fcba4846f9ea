/*
 * session/save.c: a session into a file and back. The container is format/session_file.h's matter; here is what its
 * sections mean. Restoring verifies everything before the session is touched.
 */
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include "base/float16.h"
#include "format/session_file.h"
#include "session/internal.h"
#include "session/open_tokenizer.h"

static fam_session_header describe(const fam_session *session)
{
    const fam_engine *engine = session->engine;
    const fam_model *model = engine->model;
    const fam_model_config *config = &model->config;
    fam_session_header header = {.dtype = model->backend->dtype,
                                 .mode = model->window.mode,
                                 .state_norm = model->state_norm,
                                 .positions = model->window.positions,
                                 .with_residual = session->timeline->with_residual,
                                 .layers = config->layers,
                                 .hidden_size = config->hidden_size,
                                 .kv_heads = config->kv_heads,
                                 .head_dim = config->head_dim,
                                 .vocab_size = config->vocab_size,
                                 .block_size = model->window.block_size,
                                 .memory_segments = model->window.memory_segments,
                                 .fam_length = model->window.fam_length,
                                 .window = model->window.window,
                                 .context = engine->context,
                                 .position = session->timeline->position,
                                 .offset = session->timeline->offset};
    memcpy(header.model, engine->fingerprint, sizeof header.model);
    fam_tokenizer_fingerprint_bytes(engine->tokenizer, header.tokenizer);
    return header;
}

/* Visible rows of keys and values of all layers and heads, in bytes. */
static uint64_t ring_bytes_at(const fam_model *model, int64_t position)
{
    const fam_model_config *config = &model->config;
    uint64_t rows = (uint64_t)(position - fam_ring_first(&model->window, position));
    return 2 * rows * (uint64_t)(config->layers * config->kv_heads * config->head_dim) *
           fam_dtype_bytes(model->backend->dtype);
}

static void section_lengths(uint64_t out[FAM_SECTION_COUNT], const fam_session *session, int64_t position)
{
    const fam_model *model = session->engine->model;
    const fam_model_config *config = &model->config;
    out[FAM_SECTION_STATE] = (uint64_t)(config->layers * model->window.fam_length * config->hidden_size) * sizeof(float);
    out[FAM_SECTION_RING] = ring_bytes_at(model, position);
    out[FAM_SECTION_HIDDEN] = position > 0 ? (uint64_t)config->hidden_size * sizeof(float) : 0;
    out[FAM_SECTION_SAMPLER] = fam_sampler_packed_bytes(session->sampler);
    out[FAM_SECTION_NOTE] = session->note_size;
}

static bool all_finite_f32(const uint8_t *data, uint64_t bytes)
{
    for (uint64_t i = 0; i + 4 <= bytes; i += 4) {
        uint32_t bits;
        memcpy(&bits, data + i, 4);
        if ((bits & 0x7f800000u) == 0x7f800000u)
            return false;
    }
    return true;
}

static bool all_finite(const uint8_t *data, uint64_t bytes, fam_dtype dtype)
{
    if (dtype == FAM_DTYPE_F32)
        return all_finite_f32(data, bytes);
    for (uint64_t i = 0; i + 2 <= bytes; i += 2) {
        uint16_t bits;
        memcpy(&bits, data + i, 2);
        if ((bits & 0x7f80u) == 0x7f80u)
            return false;
    }
    return true;
}

/* ---- saving ------------------------------------------------------------------------------------------------------- */

enum { COPY_BYTES = 1 << 16 };

typedef struct saving {
    fam_backend *backend;
    fam_session_writer *writer;
    uint8_t *buffer; /* COPY_BYTES */
} saving;

/* What could not be restored must not replace a file that can. */
static fam_status write_finite(const saving *s, const void *data, size_t bytes, fam_dtype dtype, fam_error *error)
{
    if (!all_finite(data, bytes, dtype))
        return fam_error_set(error, FAM_STATUS_FAILED, "session: found NaN or infinity, need finite numbers to save it");
    return fam_session_writer_write(s->writer, data, bytes, error);
}

static fam_status write_device(const saving *s, void *device, size_t bytes, fam_dtype dtype, fam_error *error)
{
    for (size_t at = 0; at < bytes;) {
        size_t n = bytes - at < COPY_BYTES ? bytes - at : COPY_BYTES;
        s->backend->ops->read(s->backend, s->buffer, (char *)device + at, n);
        fam_status status = write_finite(s, s->buffer, n, dtype, error);
        if (status != FAM_OK)
            return status;
        at += n;
    }
    return FAM_OK;
}

static fam_status write_state(void *context, void *device, size_t bytes, fam_error *error)
{
    return write_device(context, device, bytes, FAM_DTYPE_F32, error);
}

static fam_status write_ring(void *context, void *device, size_t bytes, fam_error *error)
{
    const saving *s = context;
    return write_device(s, device, bytes, s->backend->dtype, error);
}

fam_status fam_session_save(const fam_session *session, const char *path, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_memory *memory = &session->engine->memory;
    saving s = {.backend = session->engine->backend};
    uint8_t *sampler = NULL;
    uint64_t lengths[FAM_SECTION_COUNT];
    const fam_session_header header = describe(session);
    section_lengths(lengths, session, session->timeline->position);

    FAM_TRY(fam_session_check_whole(session, error));
    FAM_TRY_ALLOC(s.buffer, fam_alloc(memory, COPY_BYTES), path);
    FAM_TRY_ALLOC(sampler, fam_alloc(memory, lengths[FAM_SECTION_SAMPLER]), path);
    fam_sampler_pack(session->sampler, sampler);
    FAM_TRY(fam_session_writer_begin(&s.writer, memory, path, &header, lengths, error));
    FAM_TRY(fam_timeline_visit(session->timeline, write_state, write_ring, &s, error));
    FAM_TRY(write_finite(&s, session->hidden, lengths[FAM_SECTION_HIDDEN], FAM_DTYPE_F32, error));
    FAM_TRY(fam_session_writer_write(s.writer, sampler, lengths[FAM_SECTION_SAMPLER], error));
    FAM_TRY(fam_session_writer_write(s.writer, session->note, session->note_size, error));
    fam_session_writer *writer = s.writer;
    s.writer = NULL; /* commit frees it */
    FAM_TRY(fam_session_writer_commit(writer, error));
done:
    fam_session_writer_abort(s.writer);
    fam_free(memory, s.buffer);
    fam_free(memory, sampler);
    return status;
}

/* ---- restoring ---------------------------------------------------------------------------------------------------- */

static fam_status check_same(const char *path, const char *what, int64_t found, int64_t need, fam_error *error)
{
    if (found == need)
        return FAM_OK;
    return fam_error_set(error, FAM_STATUS_MISMATCH,
                         "%s: session of other settings: %s: found %" PRId64 ", need %" PRId64, path, what, found,
                         need);
}

/* The same for settings that have names. */
static fam_status check_named(const char *path, const char *what, const char *(*name)(int), int64_t found, int64_t need,
                              fam_error *error)
{
    const char *found_name = found >= 0 && found < INT_MAX ? name((int)found) : NULL, *need_name = name((int)need);
    if (found == need || !found_name || !need_name)
        return check_same(path, what, found, need, error);
    return fam_error_set(error, FAM_STATUS_MISMATCH, "%s: session of other settings: %s: found %s, need %s", path, what,
                         found_name, need_name);
}

static const char *dtype_name(int dtype)
{
    return dtype == FAM_DTYPE_F32 ? "f32" : dtype == FAM_DTYPE_BF16 ? "bf16" : NULL;
}

/* The file's session against this one's engine and settings. */
static fam_status check_belongs(const fam_session *session, const char *path, const fam_session_header *found,
                                fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_session_header need = describe(session);
    FAM_TRY(check_named(path, "dtype", dtype_name, found->dtype, need.dtype, error));
    FAM_TRY(check_named(path, "mode", fam_mode_name, found->mode, need.mode, error));
    FAM_TRY(check_same(path, "layers", found->layers, need.layers, error));
    FAM_TRY(check_same(path, "hidden_size", found->hidden_size, need.hidden_size, error));
    FAM_TRY(check_same(path, "kv_heads", found->kv_heads, need.kv_heads, error));
    FAM_TRY(check_same(path, "head_dim", found->head_dim, need.head_dim, error));
    FAM_TRY(check_same(path, "vocab_size", found->vocab_size, need.vocab_size, error));
    if (need.mode == FAM_MODE_BSWA || need.mode == FAM_MODE_FAM) {
        FAM_TRY(check_same(path, "block_size", found->block_size, need.block_size, error));
        FAM_TRY(check_same(path, "memory_segments", found->memory_segments, need.memory_segments, error));
    }
    if (need.mode == FAM_MODE_FAM) {
        FAM_TRY(check_same(path, "fam_length", found->fam_length, need.fam_length, error));
        FAM_TRY(check_named(path, "state_norm", fam_state_norm_name, found->state_norm, need.state_norm, error));
        FAM_TRY(check_named(path, "fam_positions", fam_positions_name, found->positions, need.positions, error));
    }
    if (need.mode == FAM_MODE_SWA)
        FAM_TRY(check_same(path, "window", found->window, need.window, error));
    FAM_FAIL_IF(memcmp(found->model, need.model, sizeof need.model) != 0, FAM_STATUS_MISMATCH,
                "%s: session of another model: found another fingerprint of weights, adapters or scales", path);
    FAM_FAIL_IF(memcmp(found->tokenizer, need.tokenizer, sizeof need.tokenizer) != 0, FAM_STATUS_MISMATCH,
                "%s: session of another tokenizer: found another fingerprint", path);
    FAM_FAIL_IF(need.mode == FAM_MODE_FULL && found->position > session->timeline->ring_rows, FAM_STATUS_CONTEXT_FULL,
                "%s: context: found %" PRId64 " tokens, need at most %" PRId64 " (--context makes room)", path,
                found->position, session->timeline->ring_rows);
done:
    return status;
}

static fam_status check_contents(const fam_session *session, const char *path, const fam_session_file *file,
                                 fam_error *error)
{
    fam_status status = FAM_OK;
    uint64_t need[FAM_SECTION_COUNT];
    fam_dtype dtype = session->engine->backend->dtype;
    FAM_FAIL_IF(file->header.mode == FAM_MODE_FAM && file->header.position >= file->header.block_size &&
                    file->header.with_residual == 0,
                FAM_STATUS_BAD_FORMAT, "%s: session file: with_residual: found 0 after %" PRId64 " tokens, need 1", path,
                file->header.position);
    section_lengths(need, session, file->header.position);
    for (int i = FAM_SECTION_STATE; i <= FAM_SECTION_HIDDEN; i++)
        FAM_FAIL_IF(file->length[i] != need[i], FAM_STATUS_BAD_FORMAT,
                    "%s: session file: section %d: found %" PRIu64 " bytes, need %" PRIu64, path, i, file->length[i],
                    need[i]);
    FAM_FAIL_IF(!all_finite_f32(file->section[FAM_SECTION_STATE], file->length[FAM_SECTION_STATE]) ||
                    !all_finite_f32(file->section[FAM_SECTION_HIDDEN], file->length[FAM_SECTION_HIDDEN]) ||
                    !all_finite(file->section[FAM_SECTION_RING], file->length[FAM_SECTION_RING], dtype),
                FAM_STATUS_BAD_FORMAT, "%s: session file: found NaN or infinity, need finite numbers", path);
done:
    return status;
}

typedef struct restoring {
    fam_backend *backend;
    const uint8_t *state, *ring;
} restoring;

static fam_status take_state(void *context, void *device, size_t bytes, fam_error *error)
{
    restoring *r = context;
    (void)error;
    r->backend->ops->write(r->backend, device, r->state, bytes);
    r->state += bytes;
    return FAM_OK;
}

static fam_status take_ring(void *context, void *device, size_t bytes, fam_error *error)
{
    restoring *r = context;
    (void)error;
    r->backend->ops->write(r->backend, device, r->ring, bytes);
    r->ring += bytes;
    return FAM_OK;
}

fam_status fam_session_restore(fam_session *session, const char *path, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_session_file file = {0};
    fam_memory *memory = &session->engine->memory;
    uint8_t *note = NULL, *sampler = NULL;
    FAM_TRY(fam_session_file_open(&file, path, error));
    FAM_TRY(check_belongs(session, path, &file.header, error));
    FAM_TRY(check_contents(session, path, &file, error));
    size_t note_size = file.length[FAM_SECTION_NOTE];
    if (note_size > 0) {
        FAM_TRY_ALLOC(note, fam_alloc(memory, note_size), path);
        memcpy(note, file.section[FAM_SECTION_NOTE], note_size);
    }
    /* a copy: another process may write to the file between the check and the use of its ids */
    size_t sampler_size = file.length[FAM_SECTION_SAMPLER];
    FAM_TRY_ALLOC(sampler, fam_alloc(memory, sampler_size), path);
    memcpy(sampler, file.section[FAM_SECTION_SAMPLER], sampler_size);
    FAM_TRY(fam_sampler_unpack(session->sampler, path, sampler, sampler_size, error));

    /* From here on nothing can fail but the device. */
    restoring r = {.backend = session->engine->backend, .state = file.section[FAM_SECTION_STATE],
                   .ring = file.section[FAM_SECTION_RING]};
    session->timeline->position = file.header.position;
    session->timeline->offset = file.header.offset;
    session->timeline->with_residual = file.header.with_residual != 0;
    session->timeline->torn = false;
    FAM_TRY(fam_timeline_visit(session->timeline, take_state, take_ring, &r, error));
    session->has_hidden = file.length[FAM_SECTION_HIDDEN] > 0;
    if (session->has_hidden)
        memcpy(session->hidden, file.section[FAM_SECTION_HIDDEN], file.length[FAM_SECTION_HIDDEN]);
    session->has_logits = false;
    fam_free(memory, session->note);
    session->note = note;
    session->note_size = note_size;
    note = NULL;
    FAM_TRY(fam_forward_project_state(session->workspace, session->timeline, error));
done:
    fam_free(memory, note);
    fam_free(memory, sampler);
    fam_session_file_close(&file);
    return status;
}

fam_status fam_session_file_inspect(const char *path, fam_session_file_info *out, fam_error *error)
{
    fam_session_file file;
    fam_status status = fam_session_file_open(&file, path, error);
    if (status != FAM_OK)
        return status;
    const fam_session_header *h = &file.header;
    *out = (fam_session_file_info){.version = file.version,
                                   .tokens_read = h->position,
                                   .layers = h->layers,
                                   .hidden_size = h->hidden_size,
                                   .vocab_size = h->vocab_size,
                                   .mode = (fam_mode)h->mode,
                                   .block_size = h->block_size,
                                   .memory_segments = h->memory_segments,
                                   .fam_length = h->fam_length,
                                   .window = h->window,
                                   .file_bytes = file.file_bytes,
                                   .state_bytes = file.length[FAM_SECTION_STATE],
                                   .ring_bytes = file.length[FAM_SECTION_RING],
                                   .note_bytes = file.length[FAM_SECTION_NOTE]};
    fam_session_file_close(&file);
    return FAM_OK;
}
