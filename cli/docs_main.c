/*
 * cli/docs_main.c: fam_docs markdown|manual|completion: the option table as a file, on standard output.
 */
#include <stdio.h>
#include <string.h>

#include "help.h"

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*write)(FILE *out);
    } forms[] = {{"markdown", help_write_markdown}, {"manual", help_write_manual}, {"completion", help_write_completion}};
    for (size_t i = 0; argc == 2 && i < sizeof forms / sizeof *forms; i++) {
        if (strcmp(argv[1], forms[i].name) == 0) {
            forms[i].write(stdout);
            return fclose(stdout) == 0 ? 0 : 5;
        }
    }
    fprintf(stderr, "fam_docs: need one of markdown, manual, completion\n");
    return 2;
}
