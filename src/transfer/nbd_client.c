/* SPDX-License-Identifier: BSD-2-Clause */
#include "transfer/nbd_client.h"

#include <errno.h>
#include <libnbd.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CONNECTIONS 64u
#define WINDOW_BYTES (UINT64_C(1) << 30) /* of one question about status */
#define ALLOCATION "base:allocation"

/* The answer of one context: runs from `start` on. */
struct runs {
	struct run {
		uint64_t end;
		uint32_t flags;
	} *list;
	size_t count, room, at;
	bool selected;
};

struct nbd_client {
	struct nbd_handle *handles[MAX_CONNECTIONS];
	/* Who waits for answers of a handle is alone with it. */
	pthread_mutex_t waits[MAX_CONNECTIONS];
	uint32_t count;
	uint64_t size;
	char *uri, *dirty_name;
	/* Of the last answer: [start, end) is known. */
	uint64_t start, end;
	struct runs allocation, dirty;
	bool can_zero, can_flush;
};

static int failed(const char *uri, const char *what, uint64_t offset,
		  struct tide_error *err)
{
	int code = nbd_get_errno();
	const char *why = nbd_get_error();

	return tide_error_set(err, code > 0 ? -code : -EIO, "nbd", offset,
			      "%.80s: %s: %s", uri, what,
			      why ? why : "the server gave no reason");
}

static bool all_done(int ret)
{
	return ret >= 0;
}

/* Greeted, and in the options; the caller says what it wants and goes. */
static struct nbd_handle *greet(const char *uri)
{
	struct nbd_handle *h = nbd_create();

	if (!h)
		return NULL;
	/*
	 * Nobody looks at the memory of a read that failed, so that it need not
	 * be zeroed before. A strange server's errors are to be heard, not
	 * guessed at.
	 */
#if LIBNBD_HAVE_NBD_SET_PREAD_INITIALIZE
	nbd_set_pread_initialize(h, false);
#endif
	if (nbd_set_uri_allow_local_file(h, true) < 0 ||
	    nbd_set_opt_mode(h, true) < 0 || nbd_connect_uri(h, uri) < 0) {
		nbd_close(h);
		return NULL;
	}
	return h;
}

static struct nbd_handle *connect_one(const char *uri,
				      const struct nbd_client_options *o,
				      bool status)
{
	struct nbd_handle *h = greet(uri);

	if (!h)
		return NULL;
	if ((!o->export || all_done(nbd_set_export_name(h, o->export))) &&
	    (!status || all_done(nbd_add_meta_context(h, ALLOCATION))) &&
	    (!status || !o->dirty ||
	     all_done(nbd_add_meta_context(h, o->dirty))) &&
	    all_done(nbd_opt_go(h)))
		return h;
	nbd_close(h);
	return NULL;
}

static int first_connection(struct nbd_client *s,
			    const struct nbd_client_options *o,
			    struct tide_error *err)
{
	struct nbd_handle *h = connect_one(s->uri, o, true);
	int64_t size;

	if (!h)
		return failed(s->uri, "connecting", TIDE_NO_OFFSET, err);
	s->handles[s->count++] = h;
	size = nbd_get_size(h);
	if (size < 0)
		return failed(s->uri, "asking for the size", TIDE_NO_OFFSET,
			      err);
	s->size = (uint64_t)size;
	s->allocation.selected = nbd_can_meta_context(h, ALLOCATION) > 0;
	s->can_zero = nbd_can_zero(h) > 0;
	s->can_flush = nbd_can_flush(h) > 0;
	if (o->write && nbd_is_read_only(h))
		return tide_error_set(err, -EROFS, "nbd", TIDE_NO_OFFSET,
				      "%.120s is for reading only", s->uri);
	if (!o->dirty)
		return 0;
	s->dirty.selected = nbd_can_meta_context(h, o->dirty) > 0;
	s->dirty_name = strdup(o->dirty);
	if (!s->dirty.selected)
		return tide_error_set(err, -ENOENT, "nbd", TIDE_NO_OFFSET,
				      "%.80s has no context %.100s", s->uri,
				      o->dirty);
	return s->dirty_name ? 0 : -ENOMEM;
}

int nbd_client_open(const char *uri,
		    const struct nbd_client_options *o,
		    struct nbd_client **out, struct tide_error *err)
{
	struct nbd_client *s = calloc(1, sizeof(*s));
	int ret;

	if (s)
		s->uri = strdup(uri);
	if (!s || !s->uri) {
		free(s);
		return tide_error_set(err, -ENOMEM, "nbd", TIDE_NO_OFFSET,
				      "no memory to connect to %.120s", uri);
	}
	for (uint32_t i = 0; i < MAX_CONNECTIONS; i++)
		pthread_mutex_init(&s->waits[i], NULL);
	ret = first_connection(s, o, err);
	if (ret) {
		nbd_client_close(s);
		return ret;
	}
	/* More of them only where the server says that they are one disk. */
	while (s->count < o->connections && s->count < MAX_CONNECTIONS &&
	       nbd_can_multi_conn(s->handles[0]) > 0) {
		struct nbd_handle *h = connect_one(uri, o, false);

		if (!h)
			break; /* it has enough of us: go on with these */
		s->handles[s->count++] = h;
	}
	*out = s;
	return 0;
}

void nbd_client_close(struct nbd_client *s)
{
	if (!s)
		return;
	for (uint32_t i = 0; i < s->count; i++) {
		nbd_shutdown(s->handles[i], 0);
		nbd_close(s->handles[i]);
	}
	free(s->allocation.list);
	free(s->dirty.list);
	free(s->dirty_name);
	free(s->uri);
	free(s);
}

uint64_t nbd_client_size(const struct nbd_client *s)
{
	return s->size;
}

uint32_t nbd_client_connections(const struct nbd_client *s)
{
	return s->count;
}

/* --- block status ------------------------------------------------------- */

static int add_run(struct runs *r, uint64_t end, uint32_t flags)
{
	size_t room = r->room ? 2 * r->room : 1024;

	if (r->count && r->list[r->count - 1].flags == flags) {
		r->list[r->count - 1].end = end;
		return 0;
	}
	if (r->count == r->room) {
		struct run *more = realloc(r->list, room * sizeof(*more));

		if (!more)
			return -1;
		r->list = more;
		r->room = room;
	}
	r->list[r->count].end = end;
	r->list[r->count++].flags = flags;
	return 0;
}

static int on_extents(void *opaque, const char *name, uint64_t offset,
		      uint32_t *entries, size_t count, int *error)
{
	struct nbd_client *s = opaque;
	struct runs *r = s->dirty_name && !strcmp(name, s->dirty_name) ?
				 &s->dirty :
			 !strcmp(name, ALLOCATION) ? &s->allocation : NULL;

	for (size_t i = 0; r && i + 1 < count; i += 2) {
		offset += entries[i];
		if (offset > s->size)
			offset = s->size;
		if (add_run(r, offset, entries[i + 1])) {
			*error = ENOMEM;
			return -1;
		}
	}
	return 0;
}

static uint64_t reach(const struct runs *r, uint64_t otherwise)
{
	return r->selected && r->count ? r->list[r->count - 1].end : otherwise;
}

/*
 * Whoever receives takes all that has come, also what another one waits for in
 * poll: he would wait for ever. So nobody does while somebody is asking.
 */
static int ask_status(struct nbd_client *s, uint64_t offset, uint64_t length)
{
	int ret;

	pthread_mutex_lock(&s->waits[0]);
	ret = nbd_block_status(s->handles[0], length, offset,
			       (nbd_extent_callback){ .callback = on_extents,
						      .user_data = s }, 0);
	pthread_mutex_unlock(&s->waits[0]);
	return ret;
}

/* Ask what lies from @offset on. */
static int ask(struct nbd_client *s, uint64_t offset,
	       struct tide_error *err)
{
	uint64_t length = s->size - offset, end;

	if (length > WINDOW_BYTES)
		length = WINDOW_BYTES;
	s->allocation.count = s->allocation.at = 0;
	s->dirty.count = s->dirty.at = 0;
	s->start = offset;
	s->end = offset + length;
	if (!s->allocation.selected && !s->dirty.selected)
		return 0;
	if (ask_status(s, offset, length) < 0)
		return failed(s->uri, "asking what lies there", offset, err);
	end = reach(&s->allocation, s->end);
	if (end < s->end)
		s->end = end;
	end = reach(&s->dirty, s->end);
	if (end < s->end)
		s->end = end;
	if ((s->dirty.selected && !s->dirty.count) || s->end <= offset)
		return tide_error_set(err, -EPROTO, "nbd", offset,
				      "%.80s: the server's answer about offset "
				      "%llu says nothing of it", s->uri,
				      (unsigned long long)offset);
	return 0;
}

/* The run at @offset, which seldom moves back within an answer. */
static const struct run *run_at(struct runs *r, uint64_t offset)
{
	if (r->at && r->list[r->at - 1].end > offset)
		r->at = 0;
	while (r->at < r->count && r->list[r->at].end <= offset)
		r->at++;
	return r->at < r->count ? &r->list[r->at] : NULL;
}

int nbd_client_at(struct nbd_client *s, uint64_t offset,
		  uint64_t *length_bytes, uint32_t *flags,
		  struct tide_error *err)
{
	const struct run *a, *d;
	uint64_t end;
	int ret = 0;

	if (offset < s->start || offset >= s->end)
		ret = ask(s, offset, err);
	if (ret)
		return ret;
	a = run_at(&s->allocation, offset);
	d = run_at(&s->dirty, offset);
	end = s->end;
	if (a && a->end < end)
		end = a->end;
	if (d && d->end < end)
		end = d->end;
	*length_bytes = end - offset;
	/* Bit 1 of base:allocation: it reads as zeroes. */
	*flags = (a && a->flags & 2 ? EXTENT_ZERO : 0) |
		 (!d || d->flags & 1 ? EXTENT_DIRTY : 0);
	return 0;
}

int nbd_client_ping(struct nbd_client *s, struct tide_error *err)
{
	int ret = 0;

	for (uint32_t i = 0; i < s->count && !ret; i++) {
		uint8_t byte;

		/* Any answer will do, an error of the disk's, too. */
		if (nbd_pread(s->handles[i], &byte, 1, 0, 0) < 0 &&
		    (nbd_aio_is_dead(s->handles[i]) ||
		     nbd_aio_is_closed(s->handles[i])))
			ret = failed(s->uri, "asking whether the server is "
				     "still there", TIDE_NO_OFFSET, err);
	}
	return ret;
}

/* --- transfer ----------------------------------------------------------- */

static struct nbd_handle *handle_of(struct nbd_client *s, uint32_t worker)
{
	return s->handles[worker % s->count];
}

/* Of its connection; who waits for an answer there is alone with it. */
static pthread_mutex_t *take(struct nbd_client *s, uint32_t worker)
{
	pthread_mutex_t *alone = &s->waits[worker % s->count];

	pthread_mutex_lock(alone);
	return alone;
}

int nbd_client_read(struct nbd_client *s, uint32_t worker,
		    uint64_t offset, void *buf, uint64_t length,
		    struct tide_error *err)
{
	pthread_mutex_t *alone = take(s, worker);
	int ret = 0;

	if (nbd_pread(handle_of(s, worker), buf, length, offset, 0) < 0)
		ret = failed(s->uri, "reading", offset, err);
	pthread_mutex_unlock(alone);
	return ret;
}

/* Reads, or writes, of several pieces at once. */
struct batch {
	struct nbd_client *s;
	struct nbd_handle *handle;
	const struct piece *list;
	size_t count;
	bool writes;
	int64_t cookies[PUMP_BATCH];
};

static int batch_failed(const struct batch *b, size_t i,
			struct tide_error *err)
{
	return failed(b->s->uri, b->writes ? "writing" : "reading",
		      b->list[i].offset_bytes, err);
}

static int64_t ask_for(const struct batch *b, const struct piece *p)
{
	if (b->writes)
		return nbd_aio_pwrite(b->handle, p->buf, p->length_bytes,
				      p->offset_bytes, NBD_NULL_COMPLETION, 0);
	return nbd_aio_pread(b->handle, p->buf, p->length_bytes,
			     p->offset_bytes, NBD_NULL_COMPLETION, 0);
}

static int submit(struct batch *b, struct tide_error *err)
{
	int ret = 0;

	for (size_t i = 0; i < b->count; i++) {
		const struct piece *p = &b->list[i];

		b->cookies[i] = -1;
		if (ret || p->kind != PIECE_DATA ||
		    (!b->writes && p->fetched))
			continue;
		b->cookies[i] = ask_for(b, p);
		if (b->cookies[i] < 0)
			ret = batch_failed(b, i, err);
	}
	return ret;
}

/* All that was asked is answered, well or not: the memory is ours again. */
static int await(struct batch *b, struct tide_error *err)
{
	int ret = 0, done;

	for (size_t i = 0; i < b->count; i++) {
		if (b->cookies[i] < 0)
			continue;
		while (!(done = nbd_aio_command_completed(b->handle,
						(uint64_t)b->cookies[i])))
			if (nbd_poll(b->handle, -1) < 0)
				return batch_failed(b, i, err);
		if (done < 0 && !ret)
			ret = batch_failed(b, i, err);
	}
	return ret;
}

static int move(struct batch *b, uint32_t worker, struct tide_error *err)
{
	pthread_mutex_t *alone = take(b->s, worker);
	int ret, answered;

	b->handle = handle_of(b->s, worker);
	ret = submit(b, err);
	answered = await(b, ret ? NULL : err);
	pthread_mutex_unlock(alone);
	return ret ? ret : answered;
}

int nbd_client_fetch(struct nbd_client *s, uint32_t worker,
		     const struct piece *list, size_t count,
		     struct tide_error *err)
{
	struct batch b = { .s = s, .list = list, .count = count };

	return move(&b, worker, err);
}

int nbd_client_store(struct nbd_client *s, uint32_t worker,
		     const struct piece *list, size_t count,
		     struct tide_error *err)
{
	struct batch b = { .s = s, .list = list, .count = count,
			   .writes = true };

	return move(&b, worker, err);
}

int nbd_client_write(struct nbd_client *s, uint32_t worker,
		     uint64_t offset, const void *buf, uint64_t length,
		     struct tide_error *err)
{
	pthread_mutex_t *alone = take(s, worker);
	int ret = 0;

	if (nbd_pwrite(handle_of(s, worker), buf, length, offset, 0) < 0)
		ret = failed(s->uri, "writing", offset, err);
	pthread_mutex_unlock(alone);
	return ret;
}

int nbd_client_zero(struct nbd_client *s, uint32_t worker,
		    uint64_t offset, uint64_t length,
		    struct tide_error *err)
{
	pthread_mutex_t *alone;
	int ret = 0;

	if (!s->can_zero)
		return tide_error_set(err, -ENOTSUP, "nbd", offset,
				      "%.120s does not zero", s->uri);
	alone = take(s, worker);
	while (length && !ret) {
		uint64_t n = length < WINDOW_BYTES ? length : WINDOW_BYTES;

		if (nbd_zero(handle_of(s, worker), n, offset, 0) < 0)
			ret = failed(s->uri, "zeroing", offset, err);
		offset += n;
		length -= n;
	}
	pthread_mutex_unlock(alone);
	return ret;
}

int nbd_client_flush(struct nbd_client *s, struct tide_error *err)
{
	/* On every one: not all servers are one disk to all connections. */
	for (uint32_t i = 0; s->can_flush && i < s->count; i++)
		if (nbd_flush(s->handles[i], 0) < 0)
			return failed(s->uri, "flushing", TIDE_NO_OFFSET, err);
	return 0;
}

/* --- looking ------------------------------------------------------------ */

static int on_context(void *opaque, const char *name)
{
	char **control = opaque;
	size_t n = strlen(NBD_CLIENT_CONTROL);

	if (!*control && !strncmp(name, NBD_CLIENT_CONTROL, n))
		*control = strdup(name + n);
	return 0;
}

int nbd_client_look(const char *uri, char **export, char **control,
		    struct tide_error *err)
{
	struct nbd_handle *h = greet(uri);

	if (!h)
		return failed(uri, "connecting", TIDE_NO_OFFSET, err);
	*export = nbd_get_export_name(h);
	*control = NULL;
	/* A server that lists nothing is a stranger, no error. */
	if (nbd_add_meta_context(h, NBD_CLIENT_CONTROL) >= 0)
		nbd_opt_list_meta_context(h, (nbd_context_callback){
			.callback = on_context, .user_data = control });
	if (!*control)
		*control = strdup("");
	nbd_opt_abort(h);
	nbd_close(h);
	if (*export && *control)
		return 0;
	free(*export);
	free(*control);
	return tide_error_set(err, -ENOMEM, "nbd", TIDE_NO_OFFSET,
			      "no memory to look at %.120s", uri);
}
