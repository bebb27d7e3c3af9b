/* SPDX-License-Identifier: BSD-2-Clause */
/* tidemark snapshot restore --cloud-hypervisor. */
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/snapshot/common.h"
#include "cli/snapshot/files.h"
#include "snapshot/cloud_restore.h"

static int show(const struct cli_parsed *p, const struct snap_cloud *r)
{
	const struct lazy_stats *s = &r->lazily.stats;
	struct cli_json j;

	if (!cli_flag(p, "json")) {
		printf("%s after %.1f ms", r->paused ? "there" : "runs",
		       (double)r->running_ns / 1e6);
		if (r->lazy)
			printf("; %" PRIu64 " faults, %" PRIu64 " pages brought "
			       "in behind, all there after %.2f s", s->faults,
			       s->prefetched_pages,
			       (double)s->complete_ns / 1e9);
		putchar('\n');
		return CLI_OK;
	}
	cli_json_begin(&j, stdout);
	cli_json_object(&j, NULL);
	cli_json_number(&j, "running_us", r->running_ns / 1000);
	cli_json_number(&j, "faults", s->faults);
	cli_json_number(&j, "prefetched_pages", s->prefetched_pages);
	cli_json_number(&j, "complete_us", s->complete_ns / 1000);
	cli_json_close(&j);
	return cli_json_end(&j, p->command);
}

static bool is_well_put(const struct cli_parsed *p)
{
	bool lazy = cli_flag(p, "lazy");

	return p->argc == 2 && !cli_text(p, "memory") &&
	       !cli_text(p, "devices") && !cli_text(p, "pid") &&
	       !cli_text(p, "qmp") && (lazy || !cli_text(p, "order"));
}

static int restore(const struct cli_parsed *p, struct snap_cloud *r,
		   struct tide_error *err)
{
	const char *order_path = cli_text(p, "order");
	uint64_t *order = NULL;
	int ret = 0;

	if (order_path && !access(order_path, F_OK))
		ret = lazy_order_read(order_path,
				      snap_chain_header(r->chain)->pages,
				      &order, &r->lazily.order_count, err);
	r->lazily.order = order;
	r->lazily.record = order_path && !order;
	if (!ret)
		ret = snap_cloud_restore(r, cli_text(p, "cloud-hypervisor"),
					 err);
	/* The first run makes the order; later ones only use it. */
	if (!ret && r->lazily.record)
		ret = snapshot_write_order(&r->lazily, order_path, err);
	free(r->lazily.touched);
	free(order);
	return ret;
}

int snapshot_restore_cloud(const struct cli_parsed *p)
{
	struct snap_cloud r = { .lazy = cli_flag(p, "lazy"),
				.paused = cli_flag(p, "paused") };
	struct tide_error err;
	struct snap_chain c;
	int ret;

	if (!is_well_put(p))
		return cli_fail(p->command, CLI_USAGE, "--cloud-hypervisor "
				"takes DIR NAME, and --lazy [--order=FILE], "
				"--paused, --json");
	tide_error_clear(&err);
	ret = snap_chain_open(&c, p->argv[0], p->argv[1], &err);
	if (ret)
		return snapshot_failed(p->command, &err);
	r.chain = &c;
	ret = restore(p, &r, &err);
	snap_chain_close(&c);
	return ret ? snapshot_failed(p->command, &err) : show(p, &r);
}
