/*
 * cli/help_files.c: the option table as files: docs/COMMANDS.md, the manual page, the completion for bash.
 */
#include <string.h>

#include "help.h"

void help_write_markdown(FILE *out)
{
    fprintf(out, "# Commands\n\nWritten by `build/cli/fam_docs markdown` from the option table (cli/options.c); a test keeps "
                 "it equal.\n\n```\n");
    help_write_program(out);
    fprintf(out, "```\n");
    for (int id = 0; id < VERB_COUNT; id++) {
        fprintf(out, "\n## fam %s\n\n```\n", verb_get((verb_id)id)->name);
        help_write_verb(out, (verb_id)id);
        fprintf(out, "```\n");
    }
}

/* A dash that is typed is \-, a line that begins with a dot or an apostrophe needs \& before it. */
static void write_roff(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '-')
            fputs("\\-", out);
        else if (*text == '\\')
            fputs("\\e", out);
        else if (*text == '\n')
            fputs(text[1] == '\n' ? (text++, "\n.PP\n") : "\n", out);
        else if (strncmp(text, "…", strlen("…")) == 0)
            fputs("...", out), text += strlen("…") - 1;
        else
            fputc(*text, out);
    }
}

static void write_roff_option(FILE *out, const option_info *option)
{
    fprintf(out, ".TP\n\\fB\\-\\-");
    write_roff(out, option->name);
    fprintf(out, "\\fR");
    if (option->value_name) {
        fprintf(out, " \\fI");
        write_roff(out, option->value_name);
        fprintf(out, "\\fR");
    }
    fputc('\n', out);
    fprintf(out, "\\&");
    write_roff(out, option->help);
    if (option->fallback) {
        fprintf(out, " (default ");
        write_roff(out, option->fallback);
        fputc(')', out);
    }
    if (option->repeatable)
        fprintf(out, "; may be given several times");
    fputc('\n', out);
}

void help_write_manual(FILE *out)
{
    fprintf(out, ".TH FAM 1 \"\" \"fam\" \"User Commands\"\n.SH NAME\nfam \\- language models that read without end in "
                 "constant memory (TransformerFAM)\n.SH SYNOPSIS\n.B fam\n.I VERB\n\\&...\n.SH DESCRIPTION\n"
                 "MODEL is a GGUF file or a Hugging Face directory (config.json; model.safetensors, or shards with their "
                 "index; tokenizer.json).\n");
    for (int id = 0; id < VERB_COUNT; id++) {
        const verb_info *verb = verb_get((verb_id)id);
        fprintf(out, ".SH FAM %s\n.B fam %s\n.I %s%s\n[options]: %s.\n.PP\n", verb->name, verb->name, verb->argument,
                verb->several ? " ..." : "", verb->summary);
        write_roff(out, verb->details);
        fputc('\n', out);
        for (int option = 0; option < OPTION_COUNT; option++) {
            if (option_of_verb((option_id)option, (verb_id)id))
                write_roff_option(out, option_get((option_id)option));
        }
        fprintf(out, ".PP\nExample:\n.PP\n.RS\n.EX\n");
        write_roff(out, verb->example);
        fprintf(out, "\n.EE\n.RE\n");
    }
    fprintf(out, ".SH EXIT STATUS\n0 done; 1 another failure; 2 wrong usage; 3 a file that is wrong or not supported; 4 out "
                 "of memory; 5 a file is missing or cannot be read or written; 130 interrupted.\n");
}

void help_write_completion(FILE *out)
{
    fprintf(out, "# bash completion for fam, written from its option table\n_fam()\n{\n"
                 "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} words=\n"
                 "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        words='");
    for (int id = 0; id < VERB_COUNT; id++)
        fprintf(out, "%s ", verb_get((verb_id)id)->name);
    fprintf(out, "--help --version'\n        COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n        return\n    fi\n"
                 "    case $previous in\n");
    for (int option = 0; option < OPTION_COUNT; option++) {
        const option_info *info = option_get((option_id)option);
        if (info->kind != KIND_CHOICE && info->kind != KIND_CHOICES)
            continue;
        fprintf(out, "    --%s) words='", info->name);
        for (const char *p = info->value_name; *p; p++)
            fputc(*p == '|' ? ' ' : *p, out);
        fprintf(out, "'; COMPREPLY=($(compgen -W \"$words\" -- \"$current\")); return ;;\n");
    }
    fprintf(out, "    esac\n    case ${COMP_WORDS[1]} in\n");
    for (int id = 0; id < VERB_COUNT; id++) {
        fprintf(out, "    %s) words='", verb_get((verb_id)id)->name);
        for (int option = 0; option < OPTION_COUNT; option++) {
            if (option_of_verb((option_id)option, (verb_id)id))
                fprintf(out, "--%s ", option_get((option_id)option)->name);
        }
        fprintf(out, "' ;;\n");
    }
    fprintf(out, "    esac\n    case $current in\n"
                 "    -*) COMPREPLY=($(compgen -W \"$words\" -- \"$current\")) ;;\n"
                 "    *) COMPREPLY=($(compgen -f -- \"$current\")) ;;\n    esac\n}\ncomplete -o filenames -F _fam fam\n");
}
