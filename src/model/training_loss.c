/*
 * model/training_loss.c: everything after the last layer, both ways: final norm, head, loss. Some rows' logits at a
 * time. They are made a second time on the way back, unless all rows' are still there.
 */
#include "model/training_private.h"

/* The last layer's output. */
static float *final_rows(const fam_training *t, int64_t row)
{
    return fam_training_x(t, t->model->config.layers, row);
}

static void make_logits(fam_training *t, int64_t row, int64_t n)
{
    const fam_model *model = t->model;
    t->exec->backend->ops->rms_norm(t->exec, t->logit_rows, final_rows(t, row), model->final_norm,
                                    model->config.rms_norm_eps, n, model->config.hidden_size);
    fam_linear_job head = {.linear = &model->head, .out = t->logits};
    fam_linear_forward(t->exec, &head, 1, t->logit_rows, n, NULL);
}

/* Notes what came out for some rows; the last of a sequence predicts nothing. */
static void note_rows(fam_training *t, int64_t row, int64_t n, double *loss_sum, double *weight_sum)
{
    for (int64_t r = 0; r < n; r++) {
        int64_t b, i;
        fam_training_place(t, row + r, &b, &i);
        if (i + 1 == t->tokens)
            continue;
        int64_t at = b * t->tokens + i + 1;
        t->nll[at] = (float)t->row_nll[r];
        t->hits[at] = t->row_best[r] == t->targets[row + r];
        *loss_sum += (double)t->weights[row + r] * t->row_nll[r];
        *weight_sum += (double)t->weights[row + r];
    }
}

fam_status fam_training_loss(fam_training *t, double *loss_sum, double *weight_sum, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_backend_ops *ops = t->exec->backend->ops;
    int64_t vocab = t->model->config.vocab_size, rows = t->sequences * t->tokens;
    *loss_sum = *weight_sum = 0;
    t->logits_there = false;
    for (int64_t row = 0; row < rows; row += t->logit_rows_max) {
        int64_t n = fam_min_i64(t->logit_rows_max, rows - row);
        make_logits(t, row, n);
        ops->cross_entropy(t->exec, t->row_nll, t->logits, t->targets + row, n, vocab);
        ops->row_best(t->exec, t->row_best, t->logits, n, vocab);
        FAM_TRY(ops->finish(t->exec, error));
        note_rows(t, row, n, loss_sum, weight_sum);
    }
    t->logits_there = rows <= t->logit_rows_max;
done:
    return status;
}

/* Row scales of the loss; false if none of the rows counts. */
static bool scale_rows(fam_training *t, int64_t row, int64_t n, double scale)
{
    bool any = false;
    for (int64_t r = 0; r < n; r++) {
        t->row_scale[r] = (float)(scale * (double)t->weights[row + r]);
        any = any || t->row_scale[r] != 0;
    }
    return any;
}

void fam_training_loss_back(fam_training *t, fam_gradients *gradients, double scale)
{
    const fam_model *model = t->model;
    const fam_backend_ops *ops = t->exec->backend->ops;
    int64_t width = model->config.hidden_size, rows = t->sequences * t->tokens;
    ops->zero(t->exec, t->dx, (size_t)(rows * width) * sizeof(float));
    for (int64_t row = 0; row < rows; row += t->logit_rows_max) {
        int64_t n = fam_min_i64(t->logit_rows_max, rows - row);
        if (!scale_rows(t, row, n, scale))
            continue;
        if (!t->logits_there)
            make_logits(t, row, n);
        t->logits_there = false; /* their gradients take their place */
        ops->cross_entropy_backward(t->exec, t->logits, t->logits, t->targets + row, t->row_scale, n,
                                    model->config.vocab_size);
        const fam_matmul_backward_job job = {
            .din = t->dnormed, .dweight = model->head_is_embeddings ? gradients->embeddings : gradients->head,
            .dout = t->logits, .in = t->logit_rows, .weight = model->head.weight,
            .overwrite = true};
        ops->matmul_backward(t->exec, &job, 1, n);
        ops->rms_norm_backward(t->exec, t->dx + row * width, gradients->final_norm, t->dnormed, final_rows(t, row),
                               model->final_norm, model->config.rms_norm_eps, n, width);
    }
}
