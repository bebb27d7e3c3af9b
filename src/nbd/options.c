/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The handshake: greeting, the client's flags, then options until one of them
 * starts transmission.
 *
 * An option is read as a whole before it is answered; one that is unknown, or
 * longer than any sensible one, is skipped and answered with an error, and the
 * client may continue. Only wrong magic, and an EXPORT_NAME that cannot be
 * served (the protocol has no way to say so), end the connection. If TLS is
 * required, only STARTTLS and ABORT are answered before it, and nothing that
 * was negotiated before TLS counts after it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "disk/disk.h"
#include "nbd/conn.h"
#include "nbd/loop.h"

/* Room for a name and some queries of the greatest length. */
#define LONGEST_OPTION 65536u
#define PREFERRED_BLOCK_BYTES 4096u

static void step_head(struct nbd_conn *c);

void nbd_option_next(struct nbd_conn *c)
{
	free(c->option_data);
	c->option_data = NULL;
	if (c->phase == NBD_PHASE_OPTIONS)
		nbd_conn_expect(c, c->head, sizeof(struct nbd_option_head),
				step_head);
}

static void step_flags(struct nbd_conn *c)
{
	uint64_t flags = tide__get_be(c->head, 4);

	if (flags & ~(uint64_t)(NBD_HANDSHAKE_FIXED | NBD_HANDSHAKE_NO_ZEROES)) {
		nbd_conn_close(c, "set handshake flags that were not offered");
		return;
	}
	c->fixed = flags & NBD_HANDSHAKE_FIXED;
	c->no_zeroes = flags & NBD_HANDSHAKE_NO_ZEROES;
	nbd_options_begin(c);
}

void nbd_options_greet(struct nbd_conn *c)
{
	struct nbd_greeting g;

	tide__put_be(g.magic, NBD_GREETING_MAGIC, 8);
	tide__put_be(g.option_magic, NBD_OPTION_MAGIC, 8);
	tide__put_be(g.flags, NBD_HANDSHAKE_FIXED | NBD_HANDSHAKE_NO_ZEROES, 2);
	c->phase = NBD_PHASE_FLAGS;
	nbd_put_bytes(c, &g, sizeof(g));
	nbd_conn_expect(c, c->head, 4, step_flags);
}

void nbd_options_begin(struct nbd_conn *c)
{
	c->phase = NBD_PHASE_OPTIONS;
	c->headers = NBD_SIMPLE;
	nbd_conn_deselect(c);
	nbd_option_next(c);
}

/* The caller's reference is the connection's. */
static void transmit(struct nbd_conn *c, struct nbd_export *e)
{
	if (c->phase != NBD_PHASE_OPTIONS) {
		nbd_export_put(e);
		return;	/* closed: there was no memory for an answer */
	}
	c->export = e;
	/* A selection is for one export; for another one it is none. */
	if (c->selected_for != e)
		nbd_conn_deselect(c);
	c->phase = NBD_PHASE_TRANSMISSION;
	nbd_count_opened(c);
	nbd_loop_log(c, "opened", NULL);
	nbd_conn_set_deadline(c, 0);
	free(c->option_data);
	c->option_data = NULL;
	nbd_requests_begin(c);
}

/*
 * With a reference. Who may not see an export is told what is told of one that
 * is not there.
 */
struct nbd_export *nbd_option_export(struct nbd_conn *c, const uint8_t *name,
				     size_t length)
{
	struct nbd_exports *x = &c->loop->common->exports;
	struct nbd_export *e = nbd_exports_find(x, &c->peer, name, length);
	struct nbd_export *hidden =
		e ? NULL : nbd_exports_find(x, NULL, name, length);
	char text[300];

	if (hidden) {
		snprintf(text, sizeof(text), "asked for '%.255s', which is not "
			 "for it", hidden->name);
		nbd_loop_log(c, "denied", text);
		nbd_count_denied(c, hidden);
	}
	nbd_export_put(hidden);
	return e;
}

static uint16_t flags_for(const struct nbd_conn *c, const struct nbd_export *e)
{
	return nbd_export_flags(e, c->headers != NBD_SIMPLE,
				c->headers == NBD_EXTENDED);
}

static void run_export_name(struct nbd_conn *c)
{
	struct nbd_export_name_reply reply = { 0 };
	struct nbd_export *e = nbd_option_export(c, c->option_data,
						 c->option_length);

	if (!e || c->headers == NBD_EXTENDED) {
		nbd_conn_close(c, e ? "wants EXPORT_NAME with extended headers"
				    : "asks for an export that is not here");
		nbd_export_put(e);
		return;
	}
	tide__put_be(reply.size, tide_disk_size(e->disk), 8);
	tide__put_be(reply.flags, flags_for(c, e), 2);
	nbd_put_bytes(c, &reply,
		      c->no_zeroes ? offsetof(struct nbd_export_name_reply,
					      zeroes)
				   : sizeof(reply));
	transmit(c, e);
}

static void run_abort(struct nbd_conn *c)
{
	nbd_option_reply(c, NBD_REP_ACK, NULL, 0);
	nbd_conn_end(c);
}

static void list_one(void *opaque, const struct nbd_export *e)
{
	uint8_t data[4 + NBD_LONGEST_STRING];
	size_t length = strlen(e->name);
	struct nbd_conn *c = opaque;

	if (!nbd_export_is_for(e, &c->peer))
		return;
	tide__put_be(data, length, 4);
	memcpy(data + 4, e->name, length);
	nbd_option_reply(c, NBD_REP_SERVER, data, (uint32_t)(4 + length));
}

static void run_list(struct nbd_conn *c)
{
	nbd_exports_each(&c->loop->common->exports, list_one, c);
	nbd_option_ack(c);
}

static void put_text_info(struct nbd_conn *c, enum nbd_info type,
			  const char *text)
{
	uint8_t data[2 + NBD_LONGEST_STRING];
	size_t length = strnlen(text, NBD_LONGEST_STRING);

	tide__put_be(data, type, 2);
	memcpy(data + 2, text, length);
	nbd_option_reply(c, NBD_REP_INFO, data, (uint32_t)(2 + length));
}

static void put_info(struct nbd_conn *c, const struct nbd_export *e,
		     uint16_t type)
{
	struct nbd_info_block_size size;

	if (type == NBD_INFO_NAME) {
		put_text_info(c, NBD_INFO_NAME, e->name);
	} else if (type == NBD_INFO_DESCRIPTION && e->description) {
		put_text_info(c, NBD_INFO_DESCRIPTION, e->description);
	} else if (type == NBD_INFO_BLOCK_SIZE) {
		tide__put_be(size.type, type, 2);
		tide__put_be(size.minimum, 1, 4);
		tide__put_be(size.preferred, PREFERRED_BLOCK_BYTES, 4);
		tide__put_be(size.maximum, NBD_LARGEST_PAYLOAD, 4);
		nbd_option_reply(c, NBD_REP_INFO, &size, sizeof(size));
	}
}

static void put_export_info(struct nbd_conn *c, const struct nbd_export *e)
{
	struct nbd_info_export info;

	tide__put_be(info.type, NBD_INFO_EXPORT, 2);
	tide__put_be(info.size, tide_disk_size(e->disk), 8);
	tide__put_be(info.flags, flags_for(c, e), 2);
	nbd_option_reply(c, NBD_REP_INFO, &info, sizeof(info));
}

/* {u32 length, name, u16 count, u16 types[count]}, nothing after it. */
static bool parse_go(const struct nbd_conn *c, uint32_t *name_length,
		     uint32_t *count)
{
	const uint8_t *data = c->option_data;
	uint32_t length = c->option_length;

	if (length < 6)
		return false;
	*name_length = (uint32_t)tide__get_be(data, 4);
	if (*name_length > NBD_LONGEST_STRING || *name_length > length - 6)
		return false;
	*count = (uint32_t)tide__get_be(data + 4 + *name_length, 2);
	return length - 6 - *name_length == 2 * *count;
}

static void run_go(struct nbd_conn *c)
{
	uint32_t name_length, count, asked = 0;
	struct nbd_export *e;

	if (!parse_go(c, &name_length, &count)) {
		nbd_option_fail(c, NBD_REP_ERR_INVALID,
				"the lengths in this option do not add up");
		return;
	}
	e = nbd_option_export(c, c->option_data + 4, name_length);
	if (!e) {
		nbd_option_fail(c, NBD_REP_ERR_UNKNOWN,
				"there is no export of that name");
		return;
	}
	/* Each once, however often it was asked for. */
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *types = c->option_data + 6 + name_length;
		uint64_t type = tide__get_be(types + 2 * i, 2);

		if (type < 32)
			asked |= 1u << type;
	}
	for (uint16_t type = 0; type < 32; type++)
		if (asked >> type & 1)
			put_info(c, e, type);
	put_export_info(c, e);
	if (c->option == NBD_OPT_INFO) {
		nbd_option_ack(c);
		nbd_export_put(e);
		return;
	}
	nbd_option_reply(c, NBD_REP_ACK, NULL, 0);
	transmit(c, e);
}

static void run_structured(struct nbd_conn *c)
{
	if (c->headers == NBD_EXTENDED) {
		nbd_option_fail(c, NBD_REP_ERR_EXT_HEADER_REQD,
				"extended headers were agreed on already");
	} else if (c->headers == NBD_STRUCTURED) {
		nbd_option_fail(c, NBD_REP_ERR_INVALID,
				"structured replies were agreed on already");
	} else {
		c->headers = NBD_STRUCTURED;
		nbd_option_ack(c);
	}
}

static void run_extended(struct nbd_conn *c)
{
	if (c->headers == NBD_EXTENDED) {
		nbd_option_fail(c, NBD_REP_ERR_INVALID,
				"extended headers were agreed on already");
		return;
	}
	c->headers = NBD_EXTENDED;
	nbd_option_ack(c);
}

static void run_starttls(struct nbd_conn *c)
{
	if (!c->loop->common->security) {
		nbd_option_fail(c, NBD_REP_ERR_POLICY,
				"this server was started without TLS");
	} else if (c->tls) {
		nbd_option_fail(c, NBD_REP_ERR_INVALID,
				"this connection is under TLS already");
	} else {
		nbd_option_reply(c, NBD_REP_ACK, NULL, 0);
		free(c->option_data);
		c->option_data = NULL;
		nbd_conn_start_tls(c);
	}
}

struct option {
	void (*run)(struct nbd_conn *c);
	bool empty; /* it carries no data */
	bool before_tls; /* answered before a TLS that is required */
};

static const struct option options[] = {
	[NBD_OPT_EXPORT_NAME] = { .run = run_export_name },
	[NBD_OPT_ABORT] = { .run = run_abort, .before_tls = true },
	[NBD_OPT_LIST] = { .run = run_list, .empty = true },
	[NBD_OPT_STARTTLS] = { .run = run_starttls, .empty = true,
			       .before_tls = true },
	[NBD_OPT_INFO] = { .run = run_go },
	[NBD_OPT_GO] = { .run = run_go },
	[NBD_OPT_STRUCTURED_REPLY] = { .run = run_structured, .empty = true },
	[NBD_OPT_LIST_META_CONTEXT] = { .run = nbd_options_meta },
	[NBD_OPT_SET_META_CONTEXT] = { .run = nbd_options_meta },
	[NBD_OPT_EXTENDED_HEADERS] = { .run = run_extended, .empty = true },
};

static const struct option *option_of(const struct nbd_conn *c)
{
	if (c->option >= sizeof(options) / sizeof(options[0]) ||
	    !options[c->option].run)
		return NULL;
	return &options[c->option];
}

static void step_data(struct nbd_conn *c)
{
	option_of(c)->run(c);
}

static void step_skipped(struct nbd_conn *c)
{
	nbd_option_fail(c, c->error_type, c->error_text);
}

/* The error that the option gets whatever it carries; 0: none. */
static uint32_t refuse(const struct nbd_conn *c, const struct option *o,
		       const char **text)
{
	if (c->loop->common->tls_required && !c->tls && !(o && o->before_tls)) {
		*text = "TLS first: this server answers nothing without it";
		return NBD_REP_ERR_TLS_REQD;
	}
	if (!o) {
		*text = "this server does not know that option";
		return NBD_REP_ERR_UNSUP;
	}
	if (o->empty && c->option_length) {
		*text = "that option carries no data";
		return NBD_REP_ERR_INVALID;
	}
	if (c->option_length > LONGEST_OPTION) {
		*text = "that is more data than any option needs";
		return NBD_REP_ERR_TOO_BIG;
	}
	return 0;
}

static void skip(struct nbd_conn *c)
{
	if (c->option == NBD_OPT_EXPORT_NAME) {
		nbd_conn_close(c, c->error_text);
		return;
	}
	if (!c->option_length)
		step_skipped(c);
	else
		nbd_conn_expect(c, NULL, c->option_length, step_skipped);
}

static void step_head(struct nbd_conn *c)
{
	const struct nbd_option_head *head = (const void *)c->head;
	const struct option *o;

	if (tide__get_be(head->magic, 8) != NBD_OPTION_MAGIC) {
		nbd_conn_close(c, "sent something else than an option");
		return;
	}
	c->option = (uint32_t)tide__get_be(head->option, 4);
	c->option_length = (uint32_t)tide__get_be(head->length, 4);
	o = option_of(c);
	c->error_type = refuse(c, o, &c->error_text);
	if (c->error_type) {
		skip(c);
		return;
	}
	c->option_data = malloc(c->option_length ? c->option_length : 1);
	if (!c->option_data)
		nbd_conn_close(c, "no memory for an option");
	else if (!c->option_length)
		o->run(c);
	else
		nbd_conn_expect(c, c->option_data, c->option_length, step_data);
}
