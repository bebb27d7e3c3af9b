/* SPDX-License-Identifier: BSD-2-Clause */
#include "snapshot/cloud_faults.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "vmm/cloud_give.h"

#define PIECE_PAGES 16u
#define MOST_PAGES 256u
/* Of a page's state. */
#define ZEROES 1	/* a hole, which is written when it is asked for */
#define PRESENT 2
#define ASKED 4

int cloud_write_pages(struct snap_chain *chain,
		      const struct cloud_config *config, const int *memory,
		      uint64_t page, uint64_t count, unsigned char *bytes,
		      struct tide_error *err)
{
	const struct snap_area *area = snap_chain_areas(chain);
	uint32_t i = 0;
	uint64_t at;
	int ret = snap_chain_read(chain, page, count, bytes, err);

	while (page >= area[i].first_page + area[i].pages)
		i++;
	at = config->slot[i].offset + (page - area[i].first_page) * SNAP_PAGE;
	for (uint64_t n = count * SNAP_PAGE; !ret && n;) {
		ssize_t put = pwrite(memory[i], bytes, n, (off_t)at);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return cloud_fail(put ? -errno : -EIO,
					  "its memory cannot be written", err);
		at += (uint64_t)put;
		bytes += put;
		n -= (uint64_t)put;
	}
	return ret;
}

int cloud_faults_init(struct cloud_faults *f, struct tide_error *err)
{
	uint64_t pages = snap_chain_header(f->r->chain)->pages, n;

	f->state = calloc(pages, 1);
	f->bytes = malloc(MOST_PAGES * SNAP_PAGE);
	f->start_ns = tide__now_ns();
	if (!f->state || !f->bytes)
		return cloud_fail(-ENOMEM, "no memory", err);
	f->absent = pages;
	for (uint64_t page = 0; page < pages; page += n ? n : 1) {
		n = snap_chain_zeroes(f->r->chain, page);
		if (n > pages - page)
			n = pages - page;
		memset(f->state + page, ZEROES, n);
		f->absent -= n;
	}
	return 0;
}

void cloud_faults_fini(struct cloud_faults *f)
{
	free(f->state);
	free(f->bytes);
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
}

static bool is_missing(const struct cloud_faults *f, uint64_t page)
{
	return !(f->state[page] & PRESENT);
}

/* As long as one of these is there, there is something to do in between. */
static bool is_absent(const struct cloud_faults *f, uint64_t page)
{
	return !(f->state[page] & (PRESENT | ZEROES));
}

/* What is missing of [@page, +@count), each page once. */
static int bring(struct cloud_faults *f, uint64_t page, uint64_t count,
		 struct tide_error *err)
{
	uint64_t end = page + count;
	int ret = 0;

	while (!ret && page < end) {
		uint64_t n = 0;

		while (page + n < end && n < MOST_PAGES &&
		       is_missing(f, page + n))
			n++;
		if (n)
			ret = cloud_write_pages(f->r->chain, f->config,
						f->memory, page, n, f->bytes,
						err);
		for (uint64_t i = page; !ret && i < page + n; i++) {
			f->absent -= is_absent(f, i);
			f->state[i] |= PRESENT;
		}
		page += n ? n : 1;
	}
	if (!f->absent && !f->r->lazily.stats.complete_ns)
		f->r->lazily.stats.complete_ns = tide__now_ns() - f->start_ns;
	return ret;
}

static bool find(const struct cloud_faults *f, const struct cloud_fault *at,
		 uint64_t *page)
{
	const struct snap_area *area = snap_chain_areas(f->r->chain);

	for (size_t i = 0; i < f->config->slots; i++) {
		const struct cloud_slot *s = &f->config->slot[i];

		if (at->gpa < s->gpa || at->gpa - s->gpa > s->bytes ||
		    at->bytes > s->bytes - (at->gpa - s->gpa))
			continue;
		*page = area[i].first_page + (at->gpa - s->gpa) / SNAP_PAGE;
		return true;
	}
	return false;
}

/* Its own walk takes what is the lowest each time; what is not is a fault. */
static void note(struct cloud_faults *f, uint64_t page, uint64_t count)
{
	uint64_t pages = snap_chain_header(f->r->chain)->pages;
	struct lazy *l = &f->r->lazily;

	if (page != f->lowest) {
		l->stats.faults++;
		if (l->record)
			lazy_remember(l, page);
	}
	for (uint64_t i = page; i < page + count; i++)
		f->state[i] |= ASKED;
	while (f->lowest < pages && f->state[f->lowest] & ASKED)
		f->lowest++;
}

static int one_fault(struct cloud_faults *f, struct tide_error *err)
{
	struct cloud_fault at;
	uint64_t page = 0;
	int ret = cloud_fault_hear(f->fd, &at, err);

	f->over = !ret && at.over;
	if (f->over)
		return 0;
	if (!ret && !find(f, &at, &page))
		ret = cloud_fail(-EPROTO, "it asks for a page outside of its "
				 "memory", err);
	if (!ret) {
		note(f, page, at.bytes / SNAP_PAGE);
		ret = bring(f, page, at.bytes / SNAP_PAGE, err);
	}
	/* Whoever waits for a page that cannot be had is told so. */
	if (ret) {
		cloud_fault_answer(f->fd, false, NULL);
		return ret;
	}
	ret = cloud_fault_answer(f->fd, true, err);
	f->over = ret == -ECONNRESET;
	return f->over ? 0 : ret;
}

/* One piece of what is missing. */
static int prefetch(struct cloud_faults *f, struct tide_error *err)
{
	uint64_t pages = snap_chain_header(f->r->chain)->pages, n = 1;
	struct lazy *l = &f->r->lazily;
	const struct snap_area *area = snap_chain_areas(f->r->chain);
	int ret;

	while (f->order_at < l->order_count) {
		uint64_t page = l->order[f->order_at++];

		if (page < pages && is_missing(f, page))
			return bring(f, page, 1, err);
	}
	while (f->next < pages && !is_absent(f, f->next))
		f->next++;
	if (f->next == pages)
		return 0;
	while (f->next >= area->first_page + area->pages)
		area++;
	while (n < PIECE_PAGES && f->next + n < area->first_page + area->pages &&
	       is_absent(f, f->next + n))
		n++;
	l->stats.prefetched_pages += n;
	ret = bring(f, f->next, n, err);
	f->next += n;
	return ret;
}

int cloud_faults_serve(struct cloud_faults *f, int control,
		       struct tide_error *err)
{
	int ret = 0;

	while (!ret && !f->over) {
		struct pollfd p[2] = { { f->fd, POLLIN, 0 },
				       { control, POLLIN, 0 } };

		bool busy = f->absent && !f->gave_up;

		if (poll(p, 2, busy ? 0 : -1) < 0 && errno != EINTR)
			return cloud_fail(-errno, strerror(errno), err);
		if (p[0].revents)
			ret = one_fault(f, err);
		else if (p[1].revents)
			return 0;
		/* What cannot be had is said to whoever asks for it. */
		else if (busy)
			f->gave_up = prefetch(f, NULL) != 0;
	}
	return ret;
}
