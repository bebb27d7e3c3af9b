/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See serve_metrics.h. All figures are taken first, into one structure of plain
 * numbers; a metric of the table says where in it its number lies, and what
 * there is one of: the server, a disk, a command of a disk, a kind of error.
 */
#include "cli/serve_metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/text.h"

struct server_figures {
	struct nbd_figures nbd;
	uint64_t one, started_s, log_lost;
};

/* Of a disk: what its export counted, and what its tracker says. */
struct disk_figures {
	struct nbd_counts counts;
	const char *name;
	uint64_t size_bytes, writable, tracked;
	uint64_t failing, lost, granularity_bytes, epoch, deltas, points;
	uint64_t dirty_bytes, safety_bytes, active_regions, region_bytes;
	uint64_t intents, first_writes, commits;
};

enum scope {
	OF_SERVER,
	OF_REFUSAL, /* label reason */
	OF_STAGE, /* label stage */
	OF_DISK, /* label export */
	OF_TRACKER, /* the same, of disks that are tracked */
	OF_COMMAND, /* labels export, command */
	OF_ERROR, /* labels export, error */
};

struct metric {
	const char *name;
	const char *type;
	enum scope scope;
	size_t offset; /* of a uint64_t in the scope's structure, or an array */
	const char *help;
	bool seconds; /* of nanoseconds */
};

#define SERVER(f) offsetof(struct server_figures, f)
#define DISK(f) offsetof(struct disk_figures, f)
#define GAUGE "gauge"
#define COUNTER "counter"

static const struct metric metrics[] = {
	{ "tidemark_up", GAUGE, OF_SERVER, SERVER(one), "1; with the version",
	  false },
	{ "tidemark_start_time_seconds", GAUGE, OF_SERVER, SERVER(started_s),
	  "When the server was started, since 1970", false },
	{ "tidemark_loops", GAUGE, OF_SERVER, SERVER(nbd.loops),
	  "Event loops, each a thread", false },
	{ "tidemark_connections", GAUGE, OF_SERVER, SERVER(nbd.connections),
	  "Clients that are connected", false },
	{ "tidemark_connections_total", COUNTER, OF_SERVER,
	  SERVER(nbd.accepted), "Clients that were let in", false },
	{ "tidemark_connections_refused_total", COUNTER, OF_REFUSAL,
	  SERVER(nbd.refused), "Clients that were not", false },
	{ "tidemark_connections_dropped_total", COUNTER, OF_STAGE,
	  SERVER(nbd.dropped),
	  "Connections that the server closed; the log has the reasons",
	  false },
	{ "tidemark_in_flight_bytes", GAUGE, OF_SERVER,
	  SERVER(nbd.in_flight_bytes),
	  "Memory that requests and unread answers hold", false },
	{ "tidemark_in_flight_limit_bytes", GAUGE, OF_SERVER,
	  SERVER(nbd.in_flight_limit_bytes), "And may hold at most", false },
	{ "tidemark_log_lost_lines_total", COUNTER, OF_SERVER,
	  SERVER(log_lost),
	  "Lines that the log's file or pipe did not take in time", false },
	{ "tidemark_export_size_bytes", GAUGE, OF_DISK, DISK(size_bytes),
	  "The disk's size", false },
	{ "tidemark_export_writable", GAUGE, OF_DISK, DISK(writable),
	  "1: clients may write", false },
	{ "tidemark_export_opened_total", COUNTER, OF_DISK,
	  DISK(counts.opened), "Connections that opened the export", false },
	{ "tidemark_export_denied_total", COUNTER, OF_DISK,
	  DISK(counts.denied),
	  "Times that who may not see the export asked for it", false },
	{ "tidemark_requests_total", COUNTER, OF_COMMAND,
	  DISK(counts.requests), "Requests that were answered", false },
	{ "tidemark_request_seconds_total", COUNTER, OF_COMMAND,
	  DISK(counts.request_ns),
	  "Time from a request's head to its answer, summed up", true },
	{ "tidemark_request_bytes_total", COUNTER, OF_COMMAND,
	  DISK(counts.bytes),
	  "Length of what was read, written, zeroed and trimmed", false },
	{ "tidemark_read_bytes_uncopied_total", COUNTER, OF_DISK,
	  DISK(counts.uncopied),
	  "Of what was read: sent from the page cache as it lay there", false },
	{ "tidemark_request_errors_total", COUNTER, OF_ERROR,
	  DISK(counts.errors), "Requests that were answered by an error",
	  false },
	{ "tidemark_tracking", GAUGE, OF_DISK, DISK(tracked),
	  "1: what changes on the disk is tracked", false },
	{ "tidemark_tracking_failing", GAUGE, OF_TRACKER, DISK(failing),
	  "1: the store fails, and the control socket says how", false },
	{ "tidemark_tracking_power_loss_would_lose", GAUGE, OF_TRACKER,
	  DISK(lost), "1: a power cut would now lose marks (power mode)",
	  false },
	{ "tidemark_tracking_granularity_bytes", GAUGE, OF_TRACKER,
	  DISK(granularity_bytes), "Of the blocks that are tracked", false },
	{ "tidemark_tracking_points", GAUGE, OF_TRACKER, DISK(points),
	  "Checkpoints and bitmaps", false },
	{ "tidemark_tracking_deltas", GAUGE, OF_TRACKER, DISK(deltas),
	  "Epochs that are kept for them", false },
	{ "tidemark_tracking_epoch", COUNTER, OF_TRACKER, DISK(epoch),
	  "The epoch that runs", false },
	{ "tidemark_tracking_dirty_bytes", GAUGE, OF_TRACKER,
	  DISK(dirty_bytes), "Dirty in the epoch that runs", false },
	{ "tidemark_tracking_safety_bytes", GAUGE, OF_TRACKER,
	  DISK(safety_bytes), "Dirty only because power was lost", false },
	{ "tidemark_tracking_active_regions", GAUGE, OF_TRACKER,
	  DISK(active_regions), "Regions that are named in the log (power mode)",
	  false },
	{ "tidemark_tracking_region_bytes", GAUGE, OF_TRACKER,
	  DISK(region_bytes), "Size of one (power mode)", false },
	{ "tidemark_tracking_intent_blocks_total", COUNTER, OF_TRACKER,
	  DISK(intents), "Durable blocks of the log (power mode)", false },
	{ "tidemark_tracking_first_writes_total", COUNTER, OF_TRACKER,
	  DISK(first_writes), "Writes that waited for one (power mode)",
	  false },
	{ "tidemark_tracking_commits_total", COUNTER, OF_TRACKER,
	  DISK(commits), "Catalogs that were written to the store", false },
};

#define METRICS (sizeof(metrics) / sizeof(*metrics))

static void take_tracker(struct disk_figures *f, struct cbt *c)
{
	struct cbt_status s;

	cbt_status(c, &s);
	f->tracked = 1;
	f->failing = s.lost || *s.trouble;
	f->lost = s.lost;
	f->granularity_bytes = s.granularity_bytes;
	f->epoch = s.epoch;
	f->deltas = s.deltas;
	f->points = s.points;
	f->dirty_bytes = s.live_bytes;
	f->safety_bytes = s.safety_bytes;
	f->active_regions = s.active_regions;
	f->region_bytes = s.region_bytes;
	f->intents = s.intents;
	f->first_writes = s.first_writes;
	f->commits = s.commits;
}

static void take_disk(struct disk_figures *f, const struct serve_metrics *m,
		      const struct serve_disk *d)
{
	f->name = d->name;
	f->size_bytes = tide_disk_size(d->disk);
	f->writable = !d->export->read_only;
	nbd_server_counts(m->server, d->export, &f->counts);
	if (d->cbt)
		take_tracker(f, d->cbt);
}

/* A label's value: what a terminal may show, with the escapes of the format. */
static void put_label(FILE *to, const char *name, const char *value)
{
	char shown[1200];

	tide__text_show(shown, sizeof(shown), value, strlen(value));
	fprintf(to, "%s=\"", name);
	for (const char *at = shown; *at; at++) {
		if (*at == '"' || *at == '\\')
			fputc('\\', to);
		fputc(*at, to);
	}
	fputc('"', to);
}

static void put_value(FILE *to, const struct metric *m, uint64_t value)
{
	if (m->seconds)
		fprintf(to, " %" PRIu64 ".%09" PRIu64 "\n",
			value / 1000000000u, value % 1000000000u);
	else
		fprintf(to, " %" PRIu64 "\n", value);
}

struct labels {
	const char *label;
	uint32_t count;
	const char *(*word)(uint32_t i);
};

/* What there is several of in one structure; count 0: it is one. */
static struct labels labels_of(enum scope scope)
{
	switch (scope) {
	case OF_REFUSAL:
		return (struct labels){ "reason", NBD_REFUSALS,
					nbd_refusal_word };
	case OF_STAGE:
		return (struct labels){ "stage", NBD_STAGES, nbd_stage_word };
	case OF_COMMAND:
		return (struct labels){ "command", NBD_COUNTED_COMMANDS,
					nbd_command_word };
	case OF_ERROR:
		return (struct labels){ "error", NBD_COUNTED_ERRORS,
					nbd_error_word };
	default:
		return (struct labels){ 0 };
	}
}

/* The samples of @m that lie in @figures; @export NULL: the server's. */
static void put_samples(FILE *to, const struct metric *m, const void *figures,
			const char *export)
{
	const uint64_t *values =
		(const void *)((const char *)figures + m->offset);
	struct labels l = labels_of(m->scope);

	for (uint32_t i = 0; i < (l.count ? l.count : 1); i++) {
		fputs(m->name, to);
		if (export || l.count)
			fputc('{', to);
		if (export)
			put_label(to, "export", export);
		if (export && l.count)
			fputc(',', to);
		if (l.count)
			put_label(to, l.label, l.word(i));
		if (export || l.count)
			fputc('}', to);
		else if (m->offset == SERVER(one))
			fputs("{version=\"" TIDEMARK_VERSION "\"}", to);
		put_value(to, m, values[i]);
	}
}

static void put_metric(FILE *to, const struct metric *m,
		       const struct server_figures *server,
		       const struct disk_figures *disks, int count)
{
	bool of_server = m->scope == OF_SERVER || m->scope == OF_REFUSAL ||
			 m->scope == OF_STAGE;

	fprintf(to, "# HELP %s %s.\n# TYPE %s %s\n", m->name, m->help, m->name,
		m->type);
	if (of_server)
		put_samples(to, m, server, NULL);
	for (int i = 0; !of_server && i < count; i++)
		if (m->scope != OF_TRACKER || disks[i].tracked)
			put_samples(to, m, &disks[i], disks[i].name);
}

char *serve_metrics_page(void *opaque, size_t *length)
{
	const struct serve_metrics *m = opaque;
	int count = m->disks->count;
	struct disk_figures *disks =
		calloc((size_t)count + 1, sizeof(*disks));
	struct server_figures server = {
		.one = 1, .started_s = m->started_s,
		.log_lost = serve_log_lost(m->log),
	};
	char *page = NULL;
	FILE *to = disks ? open_memstream(&page, length) : NULL;

	if (!to) {
		free(disks);
		return NULL;
	}
	nbd_server_figures(m->server, &server.nbd);
	for (int i = 0; i < count; i++)
		take_disk(&disks[i], m, &m->disks->list[i]);
	for (size_t i = 0; i < METRICS; i++)
		put_metric(to, &metrics[i], &server, disks, count);
	free(disks);
	if (fclose(to)) {
		free(page);
		return NULL;
	}
	return page;
}
