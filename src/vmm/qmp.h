/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QEMU's monitor: one request at a time, answers matched by id, events passed
 * over. A monitor serves one client; libvirt's guests have a second one only if
 * they were told to.
 */
#ifndef TIDE_VMM_QMP_H
#define TIDE_VMM_QMP_H

#include <jansson.h>

#include "tidemark/error.h"

struct qmp {
	int fd;
	unsigned int id;
	size_t used;
	char buffer[65536];
};

int qmp_open(struct qmp **out, const char *path, struct tide_error *err);
void qmp_close(struct qmp *q);
/*
 * @arguments (stolen; NULL: none), and @fd goes along unless it is -1. 0, and
 * *@answer is the caller's unless NULL; else what QEMU says.
 */
int qmp_ask(struct qmp *q, const char *command, json_t *arguments, int fd,
	    json_t **answer, struct tide_error *err);

#endif
