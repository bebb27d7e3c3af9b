/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QEMU's monitor: answers matched by id, events told to who wants them. Several
 * requests may be on their way; QEMU takes them in order, and so are their
 * answers to be waited for. A monitor serves one client; libvirt's guests have
 * a second one only if they were told to.
 */
#ifndef TIDE_VMM_QMP_H
#define TIDE_VMM_QMP_H

#include <jansson.h>

#include "tidemark/error.h"

struct qmp {
	int fd;
	unsigned int id;
	/* Of events, while an answer is waited for; NULL: passed over. */
	void (*event)(void *opaque, const char *name, const json_t *event);
	void *opaque;
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
/* The same in two steps: *@id of what was sent, then its answer. */
int qmp_send(struct qmp *q, const char *command, json_t *arguments, int fd,
	     unsigned int *id, struct tide_error *err);
int qmp_await(struct qmp *q, unsigned int id, json_t **answer,
	      struct tide_error *err);
/* One event, if any comes within @ms: 0, -ETIMEDOUT, ... */
int qmp_await_event(struct qmp *q, int ms, struct tide_error *err);

#endif
