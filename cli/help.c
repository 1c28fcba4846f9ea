/*
 * cli/help.c: help texts from the option table. The forms for files (Markdown, manual page, completion) are in
 * help_files.c.
 */
#include "help.h"

#include <stdlib.h>
#include <string.h>

#include "fam/fam.h"
#include "message.h"
#include "output.h"

enum { WIDTH = 100, COLUMN = 26, INDENT = 2 };

void help_verb_names(char *out, size_t size)
{
    size_t length = 0;
    out[0] = '\0';
    for (int id = 0; id < VERB_COUNT && length < size; id++)
        length += (size_t)snprintf(out + length, size - length, "%s%s", id ? ", " : "", verb_get((verb_id)id)->name);
}

/* Characters, not bytes: the table has a few that are longer. */
static int text_width(const char *text, size_t length)
{
    int width = 0;
    for (size_t i = 0; i < length; i++)
        width += ((unsigned char)text[i] & 0xc0) != 0x80;
    return width;
}

/* Words of `text` in lines that begin at `indent`; the pen stands at `column`. */
static void write_wrapped(FILE *out, const char *text, int indent, int column)
{
    bool first = true;
    while (*text) {
        if (*text == '\n') { /* an empty line divides paragraphs */
            fprintf(out, "\n\n%*s", indent, "");
            text += strspn(text, "\n");
            column = indent;
            first = true;
            continue;
        }
        size_t length = strcspn(text, " \n");
        int width = text_width(text, length);
        if (!first && column + 1 + width > WIDTH) {
            fprintf(out, "\n%*s", indent, "");
            column = indent;
        } else if (!first) {
            fputc(' ', out);
            column++;
        }
        fwrite(text, 1, length, out);
        column += width;
        first = false;
        text += length;
        text += *text == ' ';
    }
    fputc('\n', out);
}

static void write_item(FILE *out, const char *name, const char *text)
{
    int width = INDENT + text_width(name, strlen(name));
    fprintf(out, "%*s%s", INDENT, "", name);
    if (width + 2 > COLUMN)
        fprintf(out, "\n%*s", COLUMN, "");
    else
        fprintf(out, "%*s", COLUMN - width, "");
    write_wrapped(out, text, COLUMN, COLUMN);
}

static void write_option(FILE *out, const option_info *info)
{
    char name[128], text[512];
    snprintf(name, sizeof name, "--%s%s%s", info->name, info->value_name ? " " : "",
             info->value_name ? info->value_name : "");
    int length = snprintf(text, sizeof text, "%s", info->help);
    if (info->fallback)
        length += snprintf(text + length, sizeof text - (size_t)length, " (default %s)", info->fallback);
    if (info->repeatable)
        snprintf(text + length, sizeof text - (size_t)length, "; may be given several times");
    write_item(out, name, text);
}

void help_write_verb(FILE *out, verb_id verb)
{
    const verb_info *info = verb_get(verb);
    fprintf(out, "fam %s %s%s [options]: ", info->name, info->argument, info->several ? " …" : "");
    write_wrapped(out, info->summary, 0, 0);
    fputc('\n', out);
    write_wrapped(out, info->details, 0, 0);
    const char *group = "";
    for (int id = 0; id < OPTION_COUNT; id++) {
        const option_info *option = option_get((option_id)id);
        if (!option_of_verb((option_id)id, verb))
            continue;
        if (strcmp(group, option->group) != 0)
            fprintf(out, "\n%s:\n", option->group);
        group = option->group;
        write_option(out, option);
    }
    fprintf(out, "\nExample:\n");
    for (const char *line = info->example; *line;) {
        size_t length = strcspn(line, "\n");
        fprintf(out, "  %.*s\n", (int)length, line);
        line += length + (line[length] == '\n');
    }
}

void help_write_program(FILE *out)
{
    fprintf(out, "fam VERB …: language models that read without end in constant memory (TransformerFAM)\n\nVerbs:\n");
    for (int id = 0; id < VERB_COUNT; id++) {
        char name[64];
        snprintf(name, sizeof name, "%s %s", verb_get((verb_id)id)->name, verb_get((verb_id)id)->argument);
        write_item(out, name, verb_get((verb_id)id)->summary);
    }
    fprintf(out, "\n`fam VERB --help` tells the options of a verb, `fam --version` the version.\n\n");
    write_wrapped(out,
                  "MODEL is a GGUF file or a Hugging Face directory (config.json; model.safetensors, or shards with their "
                  "index; tokenizer.json).",
                  0, 0);
    fprintf(out, "\nExit codes:\n");
    write_item(out, "0", "done");
    write_item(out, "1", "another failure");
    write_item(out, "2", "wrong usage");
    write_item(out, "3", "a file that is wrong or not supported");
    write_item(out, "4", "out of memory");
    write_item(out, "5", "a file is missing or cannot be read or written");
    write_item(out, "130", "interrupted");
}

/* Prints what `write` writes; returns the exit code. */
static int print(void (*write)(FILE *out, verb_id verb), verb_id verb)
{
    fam_error error = {FAM_STATUS_OUT_OF_MEMORY, "the help text: out of memory"};
    char *text = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&text, &size);
    if (!memory)
        return message_failure(&error);
    write(memory, verb);
    fam_status status = fclose(memory) == 0 ? FAM_OK : FAM_STATUS_OUT_OF_MEMORY;
    if (status == FAM_OK)
        status = output_write(text, size, &error);
    if (status == FAM_OK)
        status = output_close(&error);
    free(text);
    return status == FAM_OK ? 0 : message_failure(&error);
}

static void write_program(FILE *out, verb_id verb)
{
    (void)verb;
    help_write_program(out);
}

static void write_version(FILE *out, verb_id verb)
{
    (void)verb;
    fprintf(out, "fam %s\n", fam_version());
}

int help_print_program(void)
{
    return print(write_program, VERB_COUNT);
}

int help_print_version(void)
{
    return print(write_version, VERB_COUNT);
}

int help_print_verb(verb_id verb)
{
    return print(help_write_verb, verb);
}
