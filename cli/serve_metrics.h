/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The figures of a server as Prometheus reads them: text, format 0.0.4. One
 * table has the name, type, labels and meaning of each; the list in
 * docs/serve.md is made from it (scripts/make-metrics).
 */
#ifndef CLI_SERVE_METRICS_H
#define CLI_SERVE_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "cli/serve_log.h"
#include "cli/serve_track.h"
#include "nbd/server.h"

struct serve_metrics {
	const struct nbd_server *server;
	const struct serve_disks *disks;
	const struct serve_log *log;
	uint64_t started_s; /* since 1970 */
};

#define SERVE_METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* The page, malloc'ed; NULL: no memory. @opaque: struct serve_metrics. */
char *serve_metrics_page(void *opaque, size_t *length);

#endif
