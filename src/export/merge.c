/*
 * export/merge.c: rows of a weight with the adapters' products added, in double, rounded once.
 */
#include <math.h>
#include <string.h>

#include "base/float16.h"
#include "export/private.h"

enum { PIECE_BYTES = 1 << 18 }; /* given to the sink at once, or one row if that is more */

/* One adapter's part in a matrix. */
typedef struct product {
    double *a; /* [rank, columns] */
    float *b;  /* [rank], one row of B */
    const fam_tensor *b_tensor;
    int64_t rank;
    double scale;
} product;

typedef struct merge {
    fam_exporter *exporter;
    const fam_export_item *item;
    const fam_tensor *out;
    int64_t rows, columns;
    float *values; /* [columns] */
    double *sums;  /* [columns] */
    product *products;
    int count;
} merge;

static size_t row_bytes(const fam_tensor *tensor, int64_t columns)
{
    size_t bytes = 0;
    fam_type_row_bytes(&bytes, tensor->type, columns); /* the file's reader saw that it is whole blocks */
    return bytes;
}

static void read_row(float *out, const fam_tensor *tensor, int64_t row, int64_t columns)
{
    fam_type_dequantize(out, tensor->data + (size_t)row * row_bytes(tensor, columns), tensor->type, columns);
}

/* ---- LoRA -------------------------------------------------------------------------------------------------------- */

static fam_status add_product(merge *m, const fam_tensor *a, const fam_tensor *b, double scale, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_memory *memory = &m->exporter->memory;
    product *p = &m->products[m->count++];
    *p = (product){.b_tensor = b, .rank = a->shape[0], .scale = scale};
    FAM_TRY_ALLOC(p->b, fam_alloc_array(memory, (size_t)p->rank, sizeof *p->b), m->exporter->out);
    FAM_TRY_ALLOC(p->a, fam_alloc_array(memory, (size_t)(p->rank * m->columns), sizeof *p->a), m->exporter->out);
    for (int64_t k = 0; k < p->rank; k++) {
        read_row(m->values, a, k, m->columns);
        for (int64_t i = 0; i < m->columns; i++)
            p->a[k * m->columns + i] = m->values[i];
    }
done:
    return status;
}

static fam_status find_products(merge *m, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_exporter *exporter = m->exporter;
    char module[256];
    const char *name = m->item->source->name, *end = strstr(name, ".weight");
    if (!end || m->rows == 1 || (size_t)(end - name) >= sizeof module)
        goto done;
    memcpy(module, name, (size_t)(end - name));
    module[end - name] = '\0';
    FAM_TRY_ALLOC(m->products, fam_alloc_array(&exporter->memory, (size_t)exporter->adapter_count, sizeof *m->products),
                  exporter->out);
    for (int i = 0; i < exporter->adapter_count; i++) {
        const fam_tensor *a, *b;
        if (fam_adapter_lora(exporter->adapters[i], module, &a, &b))
            FAM_TRY(add_product(m, a, b, exporter->options.adapters[i].scale * fam_adapter_scale(exporter->adapters[i]),
                                error));
    }
    exporter->merged += m->count > 0;
done:
    return status;
}

/* values = row `source` of the base + row `row` of the products. */
static void merge_row(merge *m, int64_t source, int64_t row)
{
    const int64_t columns = m->columns;
    read_row(m->values, m->item->source, source, columns);
    if (m->count == 0)
        return;
    for (int64_t i = 0; i < columns; i++)
        m->sums[i] = m->values[i];
    for (int p = 0; p < m->count; p++) {
        const product *each = &m->products[p];
        read_row(each->b, each->b_tensor, row, each->rank);
        for (int64_t k = 0; k < each->rank; k++) {
            const double factor = each->scale * each->b[k], *a = each->a + k * columns;
            double *sums = m->sums;
            for (int64_t i = 0; i < columns; i++)
                sums[i] += factor * a[i];
        }
    }
    for (int64_t i = 0; i < columns; i++)
        m->values[i] = (float)m->sums[i];
}

/* ---- rows in the new file ---------------------------------------------------------------------------------------- */

/* Row `index` of the new file is this row in Hugging Face's order. */
static int64_t hf_row(const merge *m, int64_t index)
{
    if (m->item->heads == 0 || m->exporter->format != FAM_EXPORT_GGUF)
        return index;
    int64_t size = m->rows / m->item->heads, head = index / size, at = index % size;
    return head * size + at / 2 + at % 2 * (size / 2);
}

/* And that is this row of the base's file. */
static int64_t source_row(const merge *m, int64_t hf)
{
    if (m->item->heads == 0 || !fam_checkpoint_permuted(m->exporter->checkpoint))
        return hf;
    int64_t size = m->rows / m->item->heads, head = hf / size, at = hf % size;
    return head * size + at % (size / 2) * 2 + at / (size / 2);
}

/* Writes the row's numbers in the type of the new file; false if one is not finite there. */
static bool store_row(uint8_t *out, const merge *m)
{
    bool finite = true;
    for (int64_t i = 0; i < m->columns; i++) {
        uint16_t half;
        switch (m->out->type) {
        case FAM_TYPE_F16:
            half = fam_to_f16(m->values[i]);
            finite = finite && (half & 0x7c00) != 0x7c00;
            memcpy(out + 2 * i, &half, 2);
            break;
        case FAM_TYPE_BF16:
            half = fam_to_bf16(m->values[i]);
            finite = finite && (half & 0x7f80) != 0x7f80;
            memcpy(out + 2 * i, &half, 2);
            break;
        default:
            finite = finite && isfinite(m->values[i]);
            memcpy(out + 4 * i, &m->values[i], 4);
            break;
        }
    }
    return finite;
}

static fam_status give_rows(merge *m, fam_export_sink *sink, void *writer, uint8_t *piece, int64_t piece_rows,
                            fam_error *error)
{
    fam_status status = FAM_OK;
    fam_exporter *exporter = m->exporter;
    const fam_export_options *options = &exporter->options;
    const size_t bytes = row_bytes(m->out, m->columns);
    for (int64_t begin = 0; begin < m->rows; begin += piece_rows) {
        int64_t count = m->rows - begin < piece_rows ? m->rows - begin : piece_rows;
        for (int64_t i = 0; i < count; i++) {
            int64_t row = hf_row(m, begin + i);
            merge_row(m, source_row(m, row), row);
            FAM_FAIL_IF(!store_row(piece + (size_t)i * bytes, m), FAM_STATUS_BAD_FORMAT,
                        "%s: tensor %s: row %lld: found a number that is not finite in %s, need finite ones",
                        fam_checkpoint_path(exporter->checkpoint), m->item->source->name, (long long)row,
                        fam_type_name(m->out->type));
        }
        FAM_TRY(sink(writer, piece, (size_t)count * bytes, error));
        exporter->done += (uint64_t)count * bytes;
        if (options->progress)
            options->progress(options->context, exporter->done, exporter->total);
        FAM_FAIL_IF(options->cancelled && options->cancelled(options->context), FAM_STATUS_CANCELLED,
                    "%s: export: cancelled", exporter->out);
    }
done:
    return status;
}

fam_status fam_export_tensor(fam_exporter *exporter, int64_t index, fam_export_sink *sink, void *writer,
                             fam_error *error)
{
    fam_status status = FAM_OK;
    fam_memory *memory = &exporter->memory;
    const fam_tensor *out = &exporter->tensors[index];
    merge m = {.exporter = exporter, .item = &exporter->items[index], .out = out, .rows = 1};
    uint8_t *piece = NULL;
    m.columns = out->shape[out->n_dims - 1];
    if (out->n_dims == 2)
        m.rows = out->shape[0];
    size_t bytes = row_bytes(out, m.columns);
    int64_t piece_rows = bytes < PIECE_BYTES ? (int64_t)(PIECE_BYTES / bytes) : 1;
    FAM_TRY_ALLOC(m.values, fam_alloc_array(memory, (size_t)m.columns, sizeof *m.values), exporter->out);
    FAM_TRY_ALLOC(m.sums, fam_alloc_array(memory, (size_t)m.columns, sizeof *m.sums), exporter->out);
    FAM_TRY_ALLOC(piece, fam_alloc_array(memory, (size_t)piece_rows, bytes), exporter->out);
    FAM_TRY(find_products(&m, error));
    FAM_TRY(give_rows(&m, sink, writer, piece, piece_rows, error));
done:
    for (int i = 0; i < m.count; i++) {
        fam_free(memory, m.products[i].a);
        fam_free(memory, m.products[i].b);
    }
    fam_free(memory, m.products);
    fam_free(memory, m.values);
    fam_free(memory, m.sums);
    fam_free(memory, piece);
    return status;
}
