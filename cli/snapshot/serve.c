/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tidemark snapshot serve: the page fault handler of one restored microVM,
 * which runs before its memory is there.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/snapshot/common.h"
#include "cli/snapshot/files.h"
#include "snapshot/lazy.h"

static volatile sig_atomic_t ended;

static void on_signal(int signal)
{
	(void)signal;
	ended = 1;
}

static bool is_ended(void *opaque)
{
	(void)opaque;
	return ended;
}

static int fail(const char *path, struct tide_error *err)
{
	return tide_error_set(err, -errno, "lazy", TIDE_NO_OFFSET, "%s: %s",
			      path, strerror(errno));
}

/* One connection to a new socket at @path, which is gone afterwards. */
static int one_peer(const char *path, struct tide_error *err)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int listening, peer = -1, ret = 0;

	if (strlen(path) >= sizeof(at.sun_path))
		return tide_error_set(err, -ENAMETOOLONG, "lazy",
				      TIDE_NO_OFFSET, "%s: too long for a "
				      "socket's name", path);
	strncpy(at.sun_path, path, sizeof(at.sun_path) - 1);
	listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listening < 0 ||
	    bind(listening, (struct sockaddr *)&at, sizeof(at)) < 0)
		ret = fail(path, err);
	if (!ret) {
		if (listen(listening, 1) < 0)
			ret = fail(path, err);
		if (!ret)
			peer = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
		if (!ret && peer < 0)
			ret = fail(path, err);
		unlink(path);
	}
	if (listening >= 0)
		close(listening);
	return ret ? ret : peer;
}

static void show(const struct cli_parsed *p, const struct lazy *l)
{
	const struct lazy_stats *s = &l->stats;
	struct cli_json j;

	if (!cli_flag(p, "json")) {
		printf("%" PRIu64 " faults, %" PRIu64 " pages brought in "
		       "behind, complete after %.2f s\n", s->faults,
		       s->prefetched_pages, (double)s->complete_ns / 1e9);
		return;
	}
	cli_json_begin(&j, stdout);
	cli_json_object(&j, NULL);
	cli_json_number(&j, "faults", s->faults);
	cli_json_number(&j, "prefetched_pages", s->prefetched_pages);
	cli_json_number(&j, "removed_pages", s->removed_pages);
	cli_json_number(&j, "complete_us", s->complete_ns / 1000);
	cli_json_close(&j);
	cli_json_end(&j, p->command);
}

static int serve(const struct cli_parsed *p, struct snap_chain *c,
		 struct tide_error *err)
{
	const char *order_path = cli_text(p, "order");
	struct lazy l = { .chain = c, .uffd = -1, .peer = -1 };
	uint64_t *order = NULL;
	int ret = 0;

	if (order_path && !access(order_path, F_OK))
		ret = lazy_order_read(order_path, snap_chain_header(c)->pages,
				      &order, &l.order_count, err);
	l.order = order;
	l.record = order_path && !order;
	if (!ret) {
		int peer = one_peer(cli_text(p, "uffd"), err);

		ret = peer < 0 ? peer : lazy_accept(&l, peer, err);
	}
	if (!ret)
		ret = lazy_serve(&l, is_ended, NULL, err);
	/* The first run makes the order; later ones only use it. */
	if (!ret && l.record)
		ret = snapshot_write_order(&l, order_path, err);
	if (!ret)
		show(p, &l);
	free(order);
	lazy_close(&l);
	return ret;
}

static int run(const struct cli_parsed *p)
{
	struct sigaction act = { .sa_handler = on_signal };
	struct tide_error err;
	struct snap_chain c;
	int ret;

	if (p->argc != 2 || !cli_text(p, "uffd"))
		return cli_fail(p->command, CLI_USAGE,
				"it takes DIR NAME --uffd=SOCKET");
	ret = snap_chain_open(&c, p->argv[0], p->argv[1], &err);
	if (ret)
		return snapshot_failed(p->command, &err);
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	ret = serve(p, &c, &err);
	snap_chain_close(&c);
	return ret ? snapshot_failed(p->command, &err) : CLI_OK;
}

static const struct cli_option options[] = {
	{ "uffd", "SOCKET", CLI_TEXT, NULL,
	  "page fault socket, made here, to which one Firecracker connects" },
	{ "order", "FILE", CLI_TEXT, NULL,
	  "pages to bring in first, as an earlier run touched them; written if "
	  "it is not there" },
	OPT_JSON,
	OPT_END,
};

const struct cli_command cli_snapshot_serve = {
	.name = "snapshot serve",
	.summary = "Answer the page faults of a VM restored from a snapshot",
	.words = "DIR NAME",
	.options = options,
	.run = run,
};
