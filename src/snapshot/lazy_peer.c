/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Firecracker's side of a page fault socket, as its documentation of snapshots
 * has it: it connects, sends one message, and keeps the socket open. Never
 * tried against the real program here; the tests have a peer of their own.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "snapshot/lazy.h"

#define MESSAGE 65536

static int bad(const char *what, struct tide_error *err)
{
	return tide_error_set(err, -EPROTO, "lazy", TIDE_NO_OFFSET,
			      "the page fault socket's peer: %s", what);
}

/* The text, and the first descriptor; others are closed. */
static ssize_t receive(int peer, char *text, int *fd)
{
	union {
		char bytes[CMSG_SPACE(8 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { text, MESSAGE };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1,
			      .msg_control = control.bytes,
			      .msg_controllen = sizeof(control.bytes) };
	ssize_t n;

	do
		n = recvmsg(peer, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return n;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c;
	     c = CMSG_NXTHDR(&msg, c)) {
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int one;

			memcpy(&one, CMSG_DATA(c) + i * sizeof(int),
			       sizeof(one));
			if (*fd < 0)
				*fd = one;
			else
				close(one);
		}
	}
	return n;
}

static bool take(const json_t *from, const char *key, uint64_t *to)
{
	const json_t *value = json_object_get(from, key);
	json_int_t n = json_integer_value(value);

	*to = (uint64_t)n;
	return json_is_integer(value) && n >= 0;
}

static int take_region(struct lazy *l, const json_t *from,
		       struct tide_error *err)
{
	uint64_t all = snap_chain_header(l->chain)->pages * SNAP_PAGE;
	struct lazy_region *r = &l->region[l->regions];

	/* Older ones have page_size_kib only, which is in bytes as well. */
	if (!take(from, "base_host_virt_addr", &r->address) ||
	    !take(from, "size", &r->bytes) ||
	    !take(from, "offset", &r->offset_bytes) ||
	    (!take(from, "page_size", &r->page_bytes) &&
	     !take(from, "page_size_kib", &r->page_bytes)))
		return bad("a region lacks a number", err);
	if (r->page_bytes != SNAP_PAGE && r->page_bytes != 2u << 20)
		return bad("pages are of 4 KiB or 2 MiB", err);
	if (!r->bytes || (r->address | r->bytes | r->offset_bytes) %
	    r->page_bytes || r->address + r->bytes < r->address)
		return bad("a region is not aligned", err);
	if (r->offset_bytes > all || r->bytes > all - r->offset_bytes)
		return bad("a region is not in the snapshot's memory", err);
	l->regions++;
	return 0;
}

int lazy_accept(struct lazy *l, int peer, struct tide_error *err)
{
	char *text = malloc(MESSAGE);
	json_t *list, *one;
	ssize_t n;
	size_t i;
	int ret = 0;

	if (!text)
		return tide_error_set(err, -ENOMEM, "lazy", TIDE_NO_OFFSET,
				      "no memory");
	l->uffd = -1;
	l->peer = peer;
	l->regions = 0;
	n = receive(peer, text, &l->uffd);
	list = n > 0 ? json_loadb(text, (size_t)n, 0, NULL) : NULL;
	free(text);
	if (l->uffd < 0)
		ret = bad("it sent no userfaultfd", err);
	else if (!json_is_array(list) || !json_array_size(list) ||
		 json_array_size(list) > LAZY_MAX_REGIONS)
		ret = bad("it sent no list of regions", err);
	json_array_foreach(list, i, one)
		if (!ret)
			ret = take_region(l, one, err);
	json_decref(list);
	if (ret && l->uffd >= 0) {
		close(l->uffd);
		l->uffd = -1;
	}
	return ret;
}

int lazy_order_read(const char *path, uint64_t pages, uint64_t **out,
		    size_t *count, struct tide_error *err)
{
	FILE *f = fopen(path, "rbe");
	unsigned char word[8];
	struct stat st;
	size_t n = 0;
	uint64_t *order;

	if (!f || fstat(fileno(f), &st) < 0 || st.st_size > INT32_MAX) {
		int ret = f ? -EFBIG : -errno;

		if (f)
			fclose(f);
		return tide_error_set(err, ret, "lazy", TIDE_NO_OFFSET,
				      "%s: %s", path, strerror(-ret));
	}
	order = calloc((size_t)st.st_size / 8 + 1, sizeof(*order));
	while (order && n < (size_t)st.st_size / 8 &&
	       fread(word, 8, 1, f) == 1) {
		/* It is a hint: what cannot be is left out. */
		order[n] = tide__get_le(word, 8);
		n += order[n] < pages;
	}
	fclose(f);
	if (!order)
		return tide_error_set(err, -ENOMEM, "lazy", TIDE_NO_OFFSET,
				      "no memory");
	*out = order;
	*count = n;
	return 0;
}
