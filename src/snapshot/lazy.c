/* SPDX-License-Identifier: BSD-2-Clause */
#include "snapshot/lazy.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "sources/uffd_abi.h"

#define PIECE_PAGES 16u
/*
 * A run that records waits so long for the guest's first fault, then until none
 * came for the second time; never longer than the third behind the first fault.
 */
#define FIRST_FAULT_NS UINT64_C(10000000000)
#define REST_NS UINT64_C(200000000)
#define RECORD_NS UINT64_C(5000000000)
#define HUGE_BYTES (2u << 20)
#define EVENT_PAGEFAULT 0x12
#define EVENT_REMOVE 0x15
#define EVENT_UNMAP 0x16
#define ABSENT 0
#define PRESENT 1
#define GONE 2		/* zeroes: given back, or never anything else */

struct serving {
	struct lazy *l;
	/* A byte a 4 KiB page of each region. */
	unsigned char *state[LAZY_MAX_REGIONS];
	uint64_t absent;
	size_t region;		/* where prefetching goes on */
	uint64_t page;
	size_t order_at;
	unsigned char *bytes;	/* HUGE_BYTES of room */
	uint64_t start_ns;
	uint64_t first_fault_ns, last_fault_ns;	/* 0: none came */
	bool over;
	struct tide_error *err;
};

static int fail(struct serving *s, int ret, const char *what)
{
	return tide_error_set(s->err, ret, "lazy", TIDE_NO_OFFSET, "%s: %s",
			      what, strerror(-ret));
}

static void set_state(struct serving *s, size_t r, uint64_t page,
		      uint64_t count, unsigned char state)
{
	for (uint64_t i = page; i < page + count; i++) {
		if (s->state[r][i] == ABSENT && state != ABSENT)
			s->absent--;
		s->state[r][i] = state;
	}
	if (!s->absent && !s->l->stats.complete_ns)
		s->l->stats.complete_ns = tide__now_ns() - s->start_ns;
}

/* What the kernel says of a copy: 0 done, or -errno that matters. */
static int judge(struct serving *s, int error)
{
	if (error == ESRCH || error == ENOENT) {
		s->over = true;	/* the process, or the mapping, is gone */
		return 0;
	}
	return -error;
}

static void wake(struct serving *s, uint64_t address, uint64_t bytes)
{
	struct tide__uffdio_range range = { address, bytes };

	ioctl(s->l->uffd, TIDE__UFFDIO_WAKE, &range);
}

static int put_once(struct serving *s, uint64_t address, uint64_t bytes,
		    const unsigned char *from)
{
	struct tide__uffdio_copy c = { .dst = address, .len = bytes,
				       .src = (uintptr_t)from };
	struct tide__uffdio_zeropage z = { .range = { address, bytes } };

	return from ? ioctl(s->l->uffd, TIDE__UFFDIO_COPY, &c)
		    : ioctl(s->l->uffd, TIDE__UFFDIO_ZEROPAGE, &z);
}

/*
 * @bytes, in pages of @page_bytes, from @from, or zeroes (NULL). Where some
 * are there already it goes page by page. -EAGAIN: an event must be read first;
 * some pages may be there, so the same call again finishes it.
 */
static int put(struct serving *s, uint64_t address, uint64_t bytes,
	       uint64_t page_bytes, const unsigned char *from)
{
	int ret;

	if (!put_once(s, address, bytes, from))
		return 0;
	if (errno != EEXIST)
		return judge(s, errno);
	if (bytes == page_bytes) {
		wake(s, address, bytes);
		return 0;
	}
	for (uint64_t at = 0; at < bytes && !s->over; at += page_bytes) {
		ret = put(s, address + at, page_bytes, page_bytes,
			  from ? from + at : NULL);
		if (ret)
			return ret;
	}
	return 0;
}

/*
 * Bring in @count pages of one state, ABSENT or GONE. Pages of hugetlbfs come
 * whole. A failure to read the chain is final: no page is ever made up.
 */
static int bring(struct serving *s, size_t r, uint64_t page, uint64_t count)
{
	const struct lazy_region *g = &s->l->region[r];
	uint64_t address = g->address + page * SNAP_PAGE;
	uint64_t from = g->offset_bytes / SNAP_PAGE + page;
	bool gone = s->state[r][page] == GONE, small;
	int ret = 0;

	small = g->page_bytes == SNAP_PAGE;
	if (small && (gone || snap_chain_zeroes(s->l->chain, from) >= count)) {
		ret = put(s, address, count * SNAP_PAGE, SNAP_PAGE, NULL);
	} else {
		if (gone)
			memset(s->bytes, 0, count * SNAP_PAGE);
		else
			ret = snap_chain_read(s->l->chain, from, count,
					      s->bytes, s->err);
		if (ret)
			return ret;
		ret = put(s, address, count * SNAP_PAGE, g->page_bytes,
			  s->bytes);
	}
	if (ret == -EAGAIN)
		return ret;
	if (ret)
		return fail(s, ret, "a page cannot be brought in");
	set_state(s, r, page, count, PRESENT);
	return 0;
}

static bool find(const struct serving *s, uint64_t address, size_t *r,
		 uint64_t *page)
{
	for (size_t i = 0; i < s->l->regions; i++) {
		const struct lazy_region *g = &s->l->region[i];

		if (address < g->address || address - g->address >= g->bytes)
			continue;
		*r = i;
		*page = (address - g->address) / g->page_bytes *
			(g->page_bytes / SNAP_PAGE);
		return true;
	}
	return false;
}

void lazy_remember(struct lazy *l, uint64_t page)
{
	if (l->touched_count == l->touched_room) {
		size_t room = l->touched_room ? 2 * l->touched_room : 1024;
		void *more = realloc(l->touched, room * sizeof(*l->touched));

		if (!more)
			return;
		l->touched = more;
		l->touched_room = room;
	}
	l->touched[l->touched_count++] = page;
}

static int serve_events(struct serving *s);

static int on_fault(struct serving *s, uint64_t address)
{
	struct lazy *l = s->l;
	uint64_t page, count;
	size_t r;
	int ret;

	s->last_fault_ns = tide__now_ns();
	if (!s->first_fault_ns)
		s->first_fault_ns = s->last_fault_ns;
	if (!find(s, address, &r, &page))
		return fail(s, -EPROTO, "a fault outside of every region");
	count = l->region[r].page_bytes / SNAP_PAGE;
	/*
	 * Two vCPUs met at one page, and it is there: the kernel says so. Or it
	 * was given back in a way that it tells nobody of (a hole in a memfd).
	 */
	if (s->state[r][page] == PRESENT) {
		set_state(s, r, page, count, GONE);
	} else {
		l->stats.faults++;
		lazy_remember(l, l->region[r].offset_bytes / SNAP_PAGE + page);
	}
	do {
		ret = bring(s, r, page, count);
		/* A balloon is at work: it goes first. */
		if (ret == -EAGAIN && serve_events(s))
			return s->err ? s->err->code : -EIO;
	} while (ret == -EAGAIN && !s->over);
	return ret == -EAGAIN ? 0 : ret;
}

static void on_remove(struct serving *s, uint64_t from, uint64_t to)
{
	for (size_t r = 0; r < s->l->regions; r++) {
		const struct lazy_region *g = &s->l->region[r];
		uint64_t start = from > g->address ? from : g->address;
		uint64_t end = to < g->address + g->bytes
				   ? to : g->address + g->bytes;

		if (start >= end)
			continue;
		s->l->stats.removed_pages += (end - start) / SNAP_PAGE;
		set_state(s, r, (start - g->address) / SNAP_PAGE,
			  (end - start) / SNAP_PAGE, GONE);
	}
}

/* All that is there to be read. */
static int serve_events(struct serving *s)
{
	struct {
		uint8_t event, pad[7];
		uint64_t first, second, third;
	} msg;
	int ret = 0;

	_Static_assert(sizeof(msg) == 32, "the kernel's layout");
	while (!ret && !s->over) {
		ssize_t n = read(s->l->uffd, &msg, sizeof(msg));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0
					       : fail(s, -errno, "userfaultfd");
		if (n != (ssize_t)sizeof(msg)) {
			s->over = true;
			return 0;
		}
		if (msg.event == EVENT_PAGEFAULT)
			ret = on_fault(s, msg.second);
		else if (msg.event == EVENT_REMOVE ||
			 msg.event == EVENT_UNMAP)
			on_remove(s, msg.first, msg.second);
	}
	return ret;
}

/* Absent pages from @page on, at most a piece, that lie together. */
static uint64_t piece(const struct serving *s, size_t r, uint64_t page)
{
	uint64_t pages = s->l->region[r].bytes / SNAP_PAGE, n = 0;
	uint64_t max = s->l->region[r].page_bytes > SNAP_PAGE
			    ? s->l->region[r].page_bytes / SNAP_PAGE
			    : PIECE_PAGES;

	while (n < max && page + n < pages &&
	       s->state[r][page + n] == ABSENT)
		n++;
	return n;
}

static bool find_ordered(struct serving *s, size_t *r, uint64_t *page)
{
	while (s->order_at < s->l->order_count) {
		uint64_t byte = s->l->order[s->order_at++] * SNAP_PAGE;

		for (size_t i = 0; i < s->l->regions; i++) {
			const struct lazy_region *g = &s->l->region[i];

			if (byte < g->offset_bytes ||
			    byte - g->offset_bytes >= g->bytes)
				continue;
			*r = i;
			*page = (byte - g->offset_bytes) / g->page_bytes *
				(g->page_bytes / SNAP_PAGE);
			/* Zeroes that will be touched are a fault, too. */
			if (s->state[i][*page] != PRESENT)
				return true;
		}
	}
	return false;
}

static bool find_next(struct serving *s, size_t *r, uint64_t *page)
{
	for (; s->region < s->l->regions; s->region++, s->page = 0) {
		uint64_t pages = s->l->region[s->region].bytes / SNAP_PAGE;

		while (s->page < pages &&
		       s->state[s->region][s->page] != ABSENT)
			s->page++;
		if (s->page == pages)
			continue;
		*r = s->region;
		*page = s->page;
		return true;
	}
	return false;
}

/*
 * Of what is known to be touched, only the neighbours that come with it: others
 * may be a chunk each to unpack, and the guest is not far behind.
 */
static uint64_t ordered_piece(const struct serving *s, size_t r, uint64_t page)
{
	const struct lazy_region *g = &s->l->region[r];
	uint64_t max = piece(s, r, page), n;

	if (s->state[r][page] == GONE)
		return g->page_bytes / SNAP_PAGE;
	if (g->page_bytes > SNAP_PAGE)
		return max;
	n = snap_chain_together(s->l->chain, g->offset_bytes / SNAP_PAGE +
				page);
	return n < max ? n : max;
}

/* One piece of what is missing. */
static int prefetch(struct serving *s)
{
	uint64_t page, n;
	size_t r;
	int ret;

	if (find_ordered(s, &r, &page))
		n = ordered_piece(s, r, page);
	else if (find_next(s, &r, &page))
		n = piece(s, r, page);
	else
		return 0;
	if (!n)
		return 0;
	ret = bring(s, r, page, n);
	if (!ret)
		s->l->stats.prefetched_pages += n;
	return ret == -EAGAIN ? 0 : ret;
}

/* Does prefetching still wait for what the guest touches by itself? */
static bool hold_back(const struct serving *s)
{
	uint64_t now = tide__now_ns();

	if (!s->l->record)
		return false;
	if (!s->first_fault_ns)
		return now - s->start_ns < FIRST_FAULT_NS;
	return now - s->last_fault_ns < REST_NS &&
	       now - s->first_fault_ns < RECORD_NS;
}

static int loop(struct serving *s, bool (*stop)(void *opaque), void *opaque)
{
	int ret = 0;

	while (!ret && !s->over && !(stop && stop(opaque))) {
		struct pollfd p[2] = { { s->l->uffd, POLLIN, 0 },
				       { s->l->peer, POLLRDHUP, 0 } };
		bool busy = s->absent && !hold_back(s);

		if (poll(p, 2, busy ? 0 : s->absent ? 10 : 100) < 0 && errno != EINTR)
			return fail(s, -errno, "poll");
		if (p[0].revents & POLLIN)
			ret = serve_events(s);
		else if (p[1].revents || p[0].revents & (POLLERR | POLLHUP))
			s->over = true;
		else if (busy)
			ret = prefetch(s);
	}
	return ret;
}

/* What is zeroes and was never there comes by itself, when it is touched. */
static void skip_zeroes(struct serving *s, size_t r)
{
	const struct lazy_region *g = &s->l->region[r];
	uint64_t pages = g->bytes / SNAP_PAGE, n;

	if (g->page_bytes != SNAP_PAGE)
		return;
	for (uint64_t page = 0; page < pages; page += n ? n : 1) {
		n = snap_chain_zeroes(s->l->chain, g->offset_bytes /
				      SNAP_PAGE + page);
		if (n > pages - page)
			n = pages - page;
		if (n)
			set_state(s, r, page, n, GONE);
	}
}

int lazy_serve(struct lazy *l, bool (*stop)(void *opaque), void *opaque,
	       struct tide_error *err)
{
	struct serving s = { .l = l, .err = err, .start_ns = tide__now_ns() };
	int ret = 0;

	s.bytes = malloc(HUGE_BYTES);
	for (size_t r = 0; r < l->regions; r++) {
		uint64_t pages = l->region[r].bytes / SNAP_PAGE;

		s.state[r] = calloc(pages, 1);
		s.absent += pages;
		if (!s.state[r])
			ret = -ENOMEM;
	}
	if (!s.bytes)
		ret = -ENOMEM;
	for (size_t r = 0; !ret && r < l->regions; r++)
		skip_zeroes(&s, r);
	ret = ret ? fail(&s, ret, "lazy restore") : loop(&s, stop, opaque);
	for (size_t r = 0; r < l->regions; r++)
		free(s.state[r]);
	free(s.bytes);
	return ret;
}

void lazy_close(struct lazy *l)
{
	if (l->uffd >= 0)
		close(l->uffd);
	if (l->peer >= 0)
		close(l->peer);
	free(l->touched);
	l->uffd = l->peer = -1;
	l->touched = NULL;
}
