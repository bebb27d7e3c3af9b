/* SPDX-License-Identifier: BSD-2-Clause */
/* For scripts: tls-files FOLDER makes what tls_files.h says. */
#include <stdio.h>

#include "tls_files.h"

int main(int argc, char **argv)
{
	if (argc == 2 && !tls_files_make(argv[1]))
		return 0;
	fprintf(stderr, "usage: tls-files FOLDER (that is not there)\n");
	return 1;
}
