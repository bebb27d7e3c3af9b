/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lazy restore through the page fault socket, with a peer of the test's own
 * that does what Firecracker's documentation says: connect, one message with
 * the regions and the userfaultfd, then run and fault, with a balloon at work.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "folder.h"
#include "seed.h"
#include "snapshot/folder.h"
#include "snapshot/lazy.h"
#include "snapshot/write.h"
#include "sources/uffd_abi.h"

#define PAGES 2048
#define LOW 700		/* pages of the first region */
#define BYTES (PAGES * SNAP_PAGE)

static struct tide_error err;
static char folder[FOLDER_BYTES];
static unsigned char model[BYTES];

struct server {
	struct lazy lazy;
	struct snap_chain chain;
	int peer, ret;
};

static void make_chain(void)
{
	struct snap_area area = { .pages = PAGES };
	uint64_t seed = 9;

	assert_int_equal(folder_make(folder, "/tmp"), 0);
	for (int n = 0; n < 3; n++) {
		struct snap_header h = { .pages = PAGES, .areas = 1,
					 .sequence = (uint64_t)n };
		char name[8];
		struct snap_writer w;

		h.id.byte[0] = (unsigned char)(n + 1);
		h.parent.byte[0] = (unsigned char)n;
		snprintf(name, sizeof(name), "s%d", n);
		assert_int_equal(snap_writer_open(&w, folder, name, false, &h,
						  &area, &err), 0);
		for (uint64_t p = 0; p < PAGES; p++) {
			uint64_t what = seed_below(&seed, n ? 20 : 4);

			if (what < 2)
				memset(model + p * SNAP_PAGE, (int)(what *
				       (1 + seed_below(&seed, 255))),
				       SNAP_PAGE);
			if (!n || what < 2)
				snap_writer_pages(&w, p, 1, model + p *
						  SNAP_PAGE, &err);
		}
		snap_writer_round(&w, &err);
		if (snap_writer_commit(&w, false, &err))
			fail_msg("%s", err.text);
	}
}

static void *serve(void *opaque)
{
	struct server *s = opaque;

	s->ret = lazy_accept(&s->lazy, s->peer, &err);
	if (!s->ret)
		s->ret = lazy_serve(&s->lazy, NULL, NULL, &err);
	return NULL;
}

/* -1: this kernel lets us not. */
static int make_uffd(void)
{
	struct tide__uffdio_api api = { .api = TIDE__UFFD_API,
					.features = 1 << 3 };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK |
			      TIDE__UFFD_USER_MODE_ONLY);

	if (fd >= 0 && ioctl(fd, TIDE__UFFDIO_API, &api) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static void send_message(int to, const char *text, int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { { 0 } };
	struct iovec iov = { (void *)text, strlen(text) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		struct cmsghdr *c = &control.align;

		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	assert_int_equal(sendmsg(to, &msg, 0), strlen(text));
}

static char *map_region(int uffd, uint64_t pages)
{
	struct tide__uffdio_register reg = { .mode = 1 };
	char *at = mmap(NULL, pages * SNAP_PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(at != MAP_FAILED);
	reg.range = (struct tide__uffdio_range){ (uintptr_t)at,
						 pages * SNAP_PAGE };
	assert_int_equal(ioctl(uffd, TIDE__UFFDIO_REGISTER, &reg), 0);
	return at;
}

struct guest {
	char *low, *high;
	uint64_t seed;
	int wrong;
};

static const char *page_at(const struct guest *g, uint64_t p)
{
	return p < LOW ? g->low + p * SNAP_PAGE
		       : g->high + (p - LOW) * SNAP_PAGE;
}

/* Touches pages in an order of its own: each is what the model says. */
static void *run_guest(void *opaque)
{
	struct guest *g = opaque;

	for (int i = 0; i < 3000; i++) {
		uint64_t p = seed_below(&g->seed, PAGES - 100);

		if (memcmp(page_at(g, p), model + p * SNAP_PAGE, SNAP_PAGE))
			g->wrong++;
	}
	return NULL;
}

/* One guest of a snapshot, start to end; what it cost. */
static void one_guest(const uint64_t *order, size_t count, uint64_t **touched,
		      size_t *touched_count, struct lazy_stats *stats)
{
	struct guest g[2] = { { .seed = 1 }, { .seed = 2 } };
	struct server s = { .lazy = { .uffd = -1, .order = order,
				      .order_count = count } };
	int ends[2], uffd = make_uffd();
	pthread_t server, vcpu[2];
	char text[512];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	g[0].low = map_region(uffd, LOW);
	g[0].high = map_region(uffd, PAGES - LOW);
	g[1].low = g[0].low;
	g[1].high = g[0].high;
	if (snap_chain_open(&s.chain, folder, "s2", &err))
		fail_msg("%s", err.text);
	s.lazy.chain = &s.chain;
	s.peer = ends[0];
	pthread_create(&server, NULL, serve, &s);
	snprintf(text, sizeof(text), "[{\"base_host_virt_addr\":%llu,\"size\":"
		 "%llu,\"offset\":0,\"page_size\":4096,\"page_size_kib\":4096},"
		 "{\"base_host_virt_addr\":%llu,\"size\":%llu,\"offset\":%llu,"
		 "\"page_size_kib\":4096}]",
		 (unsigned long long)(uintptr_t)g[0].low, LOW * 4096ull,
		 (unsigned long long)(uintptr_t)g[0].high,
		 (PAGES - LOW) * 4096ull, LOW * 4096ull);
	send_message(ends[1], text, uffd);
	for (int v = 0; v < 2; v++)
		pthread_create(&vcpu[v], NULL, run_guest, &g[v]);
	/* A balloon takes the last pages and gives them back, as zeroes. */
	for (uint64_t p = PAGES - 100; p < PAGES; p++) {
		char *at = (char *)page_at(g, p);

		if (p % 2)
			assert_memory_equal(at, model + p * SNAP_PAGE,
					    SNAP_PAGE);
		assert_int_equal(madvise(at, SNAP_PAGE, MADV_DONTNEED), 0);
		assert_true(at[17] == 0 && at[4000] == 0);
		at[17] = 3;
		assert_int_equal(at[17], 3);
	}
	for (int v = 0; v < 2; v++) {
		pthread_join(vcpu[v], NULL);
		assert_int_equal(g[v].wrong, 0);
	}
	for (uint64_t p = 0; p < PAGES - 100; p++)
		assert_memory_equal(page_at(g, p), model + p * SNAP_PAGE,
				    SNAP_PAGE);
	for (int i = 0; i < 15000 && !s.lazy.stats.complete_ns; i++)
		usleep(2000);
	close(ends[1]);
	pthread_join(server, NULL);
	if (s.ret)
		fail_msg("%s", err.text);
	*stats = s.lazy.stats;
	*touched = s.lazy.touched;
	*touched_count = s.lazy.touched_count;
	s.lazy.touched = NULL;
	assert_true(stats->complete_ns > 0);
	assert_true(stats->removed_pages >= 100);
	lazy_close(&s.lazy);
	snap_chain_close(&s.chain);
	close(uffd);
	munmap(g[0].low, LOW * SNAP_PAGE);
	munmap(g[0].high, (PAGES - LOW) * SNAP_PAGE);
}

static void guests_run_before_their_memory_is_there(void **state)
{
	struct lazy_stats first, second;
	uint64_t *touched, *again;
	size_t n, m;

	(void)state;
	make_chain();
	one_guest(NULL, 0, &touched, &n, &first);
	/* What was recorded are faults, each page once, none prefetched. */
	assert_true(n <= first.faults && n > 0);
	one_guest(touched, n, &again, &m, &second);
	print_message("# %llu faults and %llu pages prefetched; with the order "
		      "of the first run %llu\n",
		      (unsigned long long)first.faults,
		      (unsigned long long)first.prefetched_pages,
		      (unsigned long long)second.faults);
	free(touched);
	free(again);
	folder_remove(folder);
}

static void refused(const char *text, int fd, const char *why)
{
	struct snap_chain c;
	struct lazy l = { .chain = &c, .uffd = -1 };
	int ends[2];

	assert_int_equal(snap_chain_open(&c, folder, "s2", &err), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	send_message(ends[1], text, fd);
	assert_int_equal(lazy_accept(&l, ends[0], &err), -EPROTO);
	if (!strstr(err.text, why))
		fail_msg("%s (wanted: %s)", err.text, why);
	assert_int_equal(l.uffd, -1);
	lazy_close(&l);
	close(ends[1]);
	snap_chain_close(&c);
}

static void what_no_peer_may_say(void **state)
{
	int fd = make_uffd();

	(void)state;
	make_chain();
	refused("[{}]", -1, "no userfaultfd");
	refused("rubbish", fd, "no list");
	refused("[]", fd, "no list");
	refused("[{\"size\":4096}]", fd, "lacks a number");
	refused("[{\"base_host_virt_addr\":4096,\"size\":-4096,\"offset\":0,"
		"\"page_size\":4096}]", fd, "lacks a number");
	refused("[{\"base_host_virt_addr\":4096,\"size\":4096,\"offset\":0,"
		"\"page_size\":1}]", fd, "pages are of");
	refused("[{\"base_host_virt_addr\":4097,\"size\":4096,\"offset\":0,"
		"\"page_size\":4096}]", fd, "not aligned");
	refused("[{\"base_host_virt_addr\":4096,\"size\":8388608,"
		"\"offset\":4096,\"page_size\":4096}]", fd, "not in the");
	close(fd);
	folder_remove(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guests_run_before_their_memory_is_there),
		cmocka_unit_test(what_no_peer_may_say),
	};
	int fd = make_uffd();

	if (fd < 0) {
		printf("1..0 # SKIP userfaultfd: %s\n", strerror(errno));
		return 0;
	}
	close(fd);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
