/* SPDX-License-Identifier: BSD-2-Clause */
/* tidemark snapshot restore --lazy. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/snapshot/common.h"
#include "cli/snapshot/files.h"
#include "snapshot/lazy_qemu.h"

static int show(const struct cli_parsed *p, const struct lazy_qemu *q)
{
	const struct lazy_stats *s = &q->lazy.stats;
	struct cli_json j;

	if (!cli_flag(p, "json")) {
		printf("runs after %.1f ms; %" PRIu64 " faults, %" PRIu64
		       " pages brought in behind, all there after %.2f s\n",
		       (double)q->running_ns / 1e6, s->faults,
		       s->prefetched_pages, (double)s->complete_ns / 1e9);
		return CLI_OK;
	}
	cli_json_begin(&j, stdout);
	cli_json_object(&j, NULL);
	cli_json_number(&j, "running_us", q->running_ns / 1000);
	cli_json_number(&j, "faults", s->faults);
	cli_json_number(&j, "prefetched_pages", s->prefetched_pages);
	cli_json_number(&j, "removed_pages", s->removed_pages);
	cli_json_number(&j, "complete_us", s->complete_ns / 1000);
	cli_json_close(&j);
	return cli_json_end(&j, p->command);
}

int snapshot_restore_lazily(const struct cli_parsed *p)
{
	const char *path = cli_text(p, "order"), *qmp = cli_text(p, "qmp");
	struct lazy_qemu q = { .running = false };
	uint64_t *order = NULL;
	struct tide_error err;
	struct snap_chain c;
	int ret;

	if (!qmp || !cli_text(p, "pid"))
		return cli_fail(p->command, CLI_USAGE,
				"--lazy takes --pid=PID --qmp=PATH");
	ret = snap_chain_open(&c, p->argv[0], p->argv[1], &err);
	if (ret)
		return snapshot_failed(p->command, &err);
	if (path && !access(path, F_OK))
		ret = lazy_order_read(path, snap_chain_header(&c)->pages,
				      &order, &q.lazy.order_count, &err);
	q.lazy.chain = &c;
	q.lazy.order = order;
	q.lazy.record = path && !order;
	if (!ret)
		ret = lazy_qemu_run(&q, (int)cli_number(p, "pid"), qmp, &err);
	/* The first run makes the order; later ones only use it. */
	if (!ret && q.lazy.record)
		ret = snapshot_write_order(&q.lazy, path, &err);
	free(q.lazy.touched);
	free(order);
	snap_chain_close(&c);
	return ret ? snapshot_failed(p->command, &err) : show(p, &q);
}
