/* SPDX-License-Identifier: BSD-2-Clause */
#include "snapshot/cloud_restore.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "snapshot/cloud_faults.h"
#include "vmm/cloud_give.h"

#define PIECE 256u	/* pages at once */

struct giving {
	struct snap_cloud *r;
	const char *path;
	void *blob;
	struct cloud_devices devices;
	struct cloud_config config;
	int memory[CLOUD_MAX_SLOTS];
	int fd;
	struct cloud_faults faults;
	struct tide_error *err;
};

/* What the VMM said of its memory is what the snapshot has of it. */
static int judge(const struct giving *g)
{
	const struct snap_header *h = snap_chain_header(g->r->chain);
	const struct snap_area *area = snap_chain_areas(g->r->chain);
	bool good = h->areas == g->config.slots;

	for (uint32_t i = 0; good && i < h->areas; i++)
		good = area[i].pages == g->config.slot[i].bytes / SNAP_PAGE;
	return good ? 0 : tide_error_set(g->err, -EBADMSG, "cloud",
					 TIDE_NO_OFFSET, "the snapshot's "
					 "memory is not what its "
					 "configuration says");
}

static int open_blob(struct giving *g)
{
	size_t n;
	int ret = snap_chain_devices(g->r->chain, &g->blob, &n, g->err);

	if (!ret)
		ret = cloud_unpack(&g->devices, g->blob, n, g->err);
	if (!ret)
		ret = cloud_config_read(&g->config, g->devices.config,
					g->devices.config_bytes, g->err);
	return ret ? ret : judge(g);
}

static int make_memory(struct giving *g)
{
	for (size_t i = 0; i < g->config.slots; i++) {
		const struct cloud_slot *s = &g->config.slot[i];

		g->memory[i] = memfd_create("tidemark", MFD_CLOEXEC);
		if (g->memory[i] < 0 ||
		    ftruncate(g->memory[i], (off_t)(s->offset + s->bytes)) < 0)
			return tide_error_set(g->err, -errno, "cloud",
					      TIDE_NO_OFFSET, "no memory for "
					      "a slot: %s", strerror(errno));
	}
	return 0;
}

/* Whole: all of it, before anything is given. */
static int fill_memory(struct giving *g)
{
	struct snap_chain *c = g->r->chain;
	const struct snap_area *area = snap_chain_areas(c);
	unsigned char *bytes = malloc(PIECE * SNAP_PAGE);
	int ret = bytes ? 0 : cloud_fail(-ENOMEM, "no memory", g->err);

	for (size_t i = 0; !ret && i < g->config.slots; i++) {
		uint64_t page = area[i].first_page;
		uint64_t end = page + area[i].pages;

		while (!ret && page < end) {
			uint64_t n = snap_chain_zeroes(c, page);

			if (!n) {
				n = end - page < PIECE ? end - page : PIECE;
				ret = cloud_write_pages(c, &g->config,
							g->memory, page, n,
							bytes, g->err);
			}
			page += n;
		}
	}
	free(bytes);
	return ret;
}

static int ask(struct giving *g, enum cloud_command command, const void *text,
	       uint64_t bytes)
{
	int ret = cloud_give_ask(g->fd, command, text, bytes, g->err);

	/* While it works at this it may need a page. */
	if (!ret && g->r->lazy)
		ret = cloud_faults_serve(&g->faults, g->fd, g->err);
	return ret ? ret : cloud_give_hear(g->fd, g->err);
}

static int give(struct giving *g)
{
	const struct cloud_devices *d = &g->devices;
	int ret = cloud_give(g->fd, CLOUD_START, NULL, 0, g->err);

	for (size_t i = 0; !ret && i < g->config.slots; i++)
		ret = cloud_give_memory(g->fd, g->config.slot[i].slot,
					g->memory[i], g->err);
	if (!ret)
		ret = cloud_give(g->fd, CLOUD_CONFIG, d->config,
				 d->config_bytes, g->err);
	if (!ret && g->r->lazy) {
		g->faults.fd = cloud_give_connect(g->path, true, g->err);
		ret = g->faults.fd < 0 ? g->faults.fd : 0;
	}
	if (!ret)
		ret = ask(g, CLOUD_STATE, d->state, d->state_bytes);
	if (!ret)
		ret = ask(g, g->r->paused ? CLOUD_COMPLETE_PAUSED
					  : CLOUD_COMPLETE, NULL, 0);
	return ret;
}

static int run(struct giving *g)
{
	uint64_t start = tide__now_ns();
	int ret = open_blob(g);

	if (!ret)
		ret = make_memory(g);
	g->faults.config = &g->config;
	g->faults.memory = g->memory;
	if (!ret)
		ret = g->r->lazy ? cloud_faults_init(&g->faults, g->err)
				 : fill_memory(g);
	if (!ret) {
		g->fd = cloud_give_connect(g->path, false, g->err);
		ret = g->fd < 0 ? g->fd : give(g);
	}
	g->r->running_ns = tide__now_ns() - start;
	if (g->fd >= 0)
		close(g->fd);
	if (!ret && g->r->lazy)
		ret = cloud_faults_serve(&g->faults, -1, g->err);
	return ret;
}

int snap_cloud_restore(struct snap_cloud *r, const char *path,
		       struct tide_error *err)
{
	struct giving g = { .r = r, .path = path, .fd = -1, .err = err,
			    .faults = { .r = r, .fd = -1 } };
	int ret;

	for (size_t i = 0; i < CLOUD_MAX_SLOTS; i++)
		g.memory[i] = -1;
	ret = run(&g);
	cloud_faults_fini(&g.faults);
	for (size_t i = 0; i < CLOUD_MAX_SLOTS; i++)
		if (g.memory[i] >= 0)
			close(g.memory[i]);
	free(g.blob);
	return ret;
}
