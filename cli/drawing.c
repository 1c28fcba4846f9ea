/*
 * cli/drawing.c: see drawing.h.
 */
#include "drawing.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "gnuplot.h"
#include "message.h"
#include "numbers.h"

static const char font[] = "Helvetica,Arial,Liberation Sans,sans-serif";

static const struct {
    const char *colour;
    int mark;
} series[DRAWING_COLOURS] = {{"0072B2", 7},  {"D55E00", 5}, {"009E73", 9}, {"CC79A7", 13},
                             {"E69F00", 11}, {"56B4E9", 6}, {"000000", 4}, {"8C6D31", 8}};

const char *drawing_colour(size_t i)
{
    return series[i % DRAWING_COLOURS].colour;
}

int drawing_mark(size_t i)
{
    return series[i % DRAWING_COLOURS].mark;
}

int drawing_dash(size_t i)
{
    return (int)(i % 4) + 1;
}

fam_status drawing_begin(drawing *d, fam_error *error)
{
    memset(d, 0, sizeof *d);
    d->script = open_memstream(&d->text, &d->text_size);
    if (!d->script)
        return failure(error, FAM_STATUS_OUT_OF_MEMORY, "plots: out of memory");
    fputs("set encoding utf8\n", d->script);
    return FAM_OK;
}

bool drawing_full(const drawing *d)
{
    return d->count == DRAWING_PICTURES;
}

static bool name_taken(const drawing *d, const char *name)
{
    for (size_t i = 0; i < d->count; i++) {
        if (strcmp(d->pictures[i].name, name) == 0)
            return true;
    }
    return false;
}

void drawing_picture(drawing *d, const char *name, int width, int height, const char *title)
{
    picture *p = &d->pictures[d->count];
    snprintf(p->name, sizeof p->name, "%s", name);
    for (int n = 2; name_taken(d, p->name); n++)
        snprintf(p->name, sizeof p->name, "%.36s_%d", name, n);
    d->count++;
    p->title = strdup(title);
    d->no_memory |= !p->title;
    fprintf(
        d->script,
        "reset\n"
        "set terminal svg size %d,%d dynamic enhanced font '%s,14' background '#ffffff' name '%s'\n"
        "set border 3 linecolor rgb '#555555' linewidth 1\n"
        "set tics nomirror out scale 0.6,0.3 textcolor rgb '#333333'\n"
        "set grid xtics ytics back linetype 1 linecolor rgb '#e4e4e4' linewidth 1\n"
        "set key tmargin left horizontal Left reverse noenhanced samplen 1.6 textcolor rgb '#222222'\n"
        "set xlabel noenhanced offset 0,0.3 textcolor rgb '#222222'\nset ylabel noenhanced textcolor rgb '#222222'\n"
        "set style fill solid noborder\n",
        width, height, font, p->name);
}

void drawing_note(drawing *d, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    picture *p = &d->pictures[d->count - 1];
    free(p->note);
    p->note = strdup(text);
    d->no_memory |= !p->note;
}

/* ---- axes ------------------------------------------------------------------------------------------------------- */

static const double LARGEST = 1e300, LEAST = 1e-300; /* gnuplot reckons with more than that in vain */

void drawing_y_range(drawing *d, double low, double high)
{
    low = isnan(low) ? 0 : fmax(fmin(low, LARGEST), -LARGEST);
    high = isnan(high) ? 1 : fmax(fmin(high, LARGEST), -LARGEST);
    double room = fmax(1e-6 * fmax(fabs(low), fabs(high)), low == 0 ? LEAST : 1e-12);
    if (!(high - low > room))
        high = low == 0 && !(high > 0) ? 1 : low + room;
    fprintf(d->script, "set yrange [%.12g:%.12g]\n", low, high);
}

bool drawing_wants_log(double low, double high)
{
    return low > 0 && high / low >= 20;
}

void drawing_log_axis(drawing *d, drawing_axis axis, double low, double high)
{
    char letter = axis == DRAWING_X ? 'x' : 'y';
    low = fmin(fmax(low, LEAST), LARGEST / 10);
    high = fmin(fmax(high, low * 1.01), LARGEST);
    int first = (int)floor(log10(low)), last = (int)ceil(log10(high));
    bool between = last - first <= 4;
    int stride = (last - first) / 8 + 1;
    fprintf(d->script, "set logscale %c\nset %crange [%.9g:%.9g]\nset %ctics (", letter, letter, low, high, letter);
    const char *comma = "";
    for (int decade = first; decade <= last; decade++) {
        for (int step = 0; step < 3; step++) {
            double value = pow(10, decade) * (step == 0 ? 1 : step == 1 ? 2 : 5);
            if (value < low * (1 - 1e-9) || value > high * (1 + 1e-9) || (step > 0 && !between) ||
                (decade - first) % stride != 0)
                continue;
            if (decade >= -3 && decade <= 5)
                fprintf(d->script, "%s'%.9g' %.9g", comma, value, value);
            else if (step == 0)
                fprintf(d->script, "%s'10^{%d}' %.9g", comma, decade, value);
            else
                fprintf(d->script, "%s'%d·10^{%d}' %.9g", comma, step == 1 ? 2 : 5, decade, value);
            comma = ", ";
        }
    }
    fputs(")\n", d->script);
}

char *drawing_count(char out[DRAWING_COUNT_BYTES], int64_t value)
{
    if (value > 0 && value % 1048576 == 0)
        snprintf(out, DRAWING_COUNT_BYTES, "%lldM", (long long)(value / 1048576));
    else if (value > 0 && value % 1024 == 0)
        snprintf(out, DRAWING_COUNT_BYTES, "%lldk", (long long)(value / 1024));
    else
        number_grouped(out, value);
    return out;
}

void drawing_marked_axis(drawing *d, drawing_axis axis, const int64_t *values, size_t count)
{
    char letter = axis == DRAWING_X ? 'x' : 'y', text[DRAWING_COUNT_BYTES];
    double low = (double)values[0], high = (double)values[count - 1], span = high > low ? log2(high / low) : 1;
    double margin = exp2(fmax(span * 0.06, 0.05)), last = -INFINITY;
    fprintf(d->script, "set logscale %c 2\nset %crange [%.9g:%.9g]\nset %ctics (", letter, letter, low / margin,
            high * margin, letter);
    const char *comma = "";
    for (size_t i = 0; i < count; i++) {
        double at = count > 1 ? log2((double)values[i] / low) / span : 0;
        if (at - last < (axis == DRAWING_X ? 0.07 : 0.05))
            continue;
        last = at;
        fprintf(d->script, "%s'%s' %lld", comma, drawing_count(text, values[i]), (long long)values[i]);
        comma = ", ";
    }
    fputs(")\n", d->script);
}

/* ---- from the script to documents ------------------------------------------------------------------------------- */

/* The ids that gnuplot gives are the same in every document; with the picture's name before them, several can stand
 * on one page. */
static void write_own_ids(FILE *out, const char *svg, const char *end, const char *name)
{
    static const char *const ids[] = {"gpPt", "gpDot", "gnuplot_canvas", "textbox", "greybox"};
    char unnamed[DRAWING_NAME_BYTES + 16];
    int unnamed_length = snprintf(unnamed, sizeof unnamed, "<title>%s_plot_", name);
    while (svg < end) {
        if (strncmp(svg, unnamed, (size_t)unnamed_length) ==
            0) { /* what a browser would show for a curve without a name */
            const char *close = strstr(svg, "</title>");
            svg = close ? close + strlen("</title>") : end;
            continue;
        }
        bool attribute = svg[0] == '#' || (strncmp(svg, "id=", 3) == 0 && svg[3]);
        size_t lead = !attribute ? 1 : svg[0] == '#' ? 1 : 4;
        fwrite(svg, 1, lead, out);
        svg += lead;
        for (size_t i = 0; attribute && i < sizeof ids / sizeof *ids; i++) {
            if (strncmp(svg, ids[i], strlen(ids[i])) == 0)
                fprintf(out, "%s_", name);
        }
    }
}

static bool take_document(picture *p, const char *from, const char *end)
{
    FILE *out = open_memstream(&p->svg, &p->svg_size);
    if (!out)
        return false;
    write_own_ids(out, from, end, p->name);
    return fclose(out) == 0;
}

/* gnuplot writes one document behind the other. */
static fam_status take_documents(drawing *d, const char *svg, size_t size, fam_error *error)
{
    static const char prolog[] = "<?xml ";
    const char *from = strstr(svg, prolog);
    size_t count = 0;
    if (strlen(svg) != size)
        from = NULL; /* a NUL in it */
    for (; from; count++) {
        const char *next = strstr(from + 1, prolog), *end = next ? next : svg + size;
        if (count == d->count)
            break;
        if (!strstr(from, "<svg") || !strstr(from, "</svg>"))
            return failure(error, FAM_STATUS_FAILED, "gnuplot: %s: found half a picture, need a whole one",
                           d->pictures[count].name);
        if (!take_document(&d->pictures[count], from, end))
            return failure(error, FAM_STATUS_OUT_OF_MEMORY, "plots: out of memory");
        from = next;
    }
    if (count != d->count || from)
        return failure(error, FAM_STATUS_FAILED, "gnuplot: found %zu pictures, need %zu", count, d->count);
    return FAM_OK;
}

fam_status drawing_finish(drawing *d, fam_error *error)
{
    char *svg = NULL;
    size_t size = 0;
    bool closed = fclose(d->script) == 0;
    d->script = NULL;
    if (!closed || d->no_memory)
        return failure(error, FAM_STATUS_OUT_OF_MEMORY, "plots: out of memory");
    if (d->count == 0)
        return FAM_OK;
    fam_status status = gnuplot_run(&svg, &size, d->text, d->text_size, error);
    if (status == FAM_OK)
        status = take_documents(d, svg, size, error);
    free(svg);
    return status;
}

void drawing_free(drawing *d)
{
    if (d->script)
        fclose(d->script);
    for (size_t i = 0; i < d->count; i++) {
        free(d->pictures[i].title);
        free(d->pictures[i].note);
        free(d->pictures[i].svg);
    }
    free(d->text);
    memset(d, 0, sizeof *d);
}
