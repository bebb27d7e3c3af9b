/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * LIST_META_CONTEXT and SET_META_CONTEXT.
 *
 * LIST answers what could be selected, by name or by a prefix with a colon;
 * its ids are 0 and mean nothing. SET replaces the connection's selection with
 * the contexts that are named exactly; an unknown name is no error, it is left
 * out of the answer. Ids are never reused on a connection: an old one cannot
 * come to mean another context.
 */
#include <string.h>

#include "base/bytes.h"
#include "nbd/conn.h"
#include "nbd/loop.h"

/* {u32 length, string} at *@at; false: it is not all there. */
static bool get_string(const struct nbd_conn *c, uint32_t *at,
		       const uint8_t **text, uint32_t *length)
{
	uint32_t left = c->option_length - *at;

	if (left < 4)
		return false;
	*length = (uint32_t)tide__get_be(c->option_data + *at, 4);
	if (*length > NBD_LONGEST_STRING || *length > left - 4)
		return false;
	*text = c->option_data + *at + 4;
	*at += 4 + *length;
	return true;
}

struct meta {
	struct nbd_conn *conn;
	struct nbd_export *export;
	uint32_t queries, at; /* how many, and where the first is */
};

/* The whole option is looked over before any of it is done. */
static bool parse(struct nbd_conn *c, struct meta *m)
{
	const uint8_t *text;
	uint32_t length;

	m->conn = c;
	m->export = NULL;
	m->at = 0;
	if (!get_string(c, &m->at, &text, &length))
		return false;
	m->export = nbd_option_export(c, text, length);
	if (c->option_length - m->at < 4)
		return false;
	m->queries = (uint32_t)tide__get_be(c->option_data + m->at, 4);
	m->at += 4;
	for (uint32_t i = 0, at = m->at; i < m->queries; i++)
		if (!get_string(c, &at, &text, &length))
			return false;
		else if (i == m->queries - 1)
			return at == c->option_length;
	return m->at == c->option_length;
}

static void put_context(struct nbd_conn *c, uint32_t id, const char *name)
{
	uint8_t data[4 + NBD_LONGEST_STRING];
	size_t length = strnlen(name, NBD_LONGEST_STRING);

	tide__put_be(data, id, 4);
	memcpy(data + 4, name, length);
	nbd_option_reply(c, NBD_REP_META_CONTEXT, data, (uint32_t)(4 + length));
}

/*
 * A context that any query names is listed, once: how often it is asked for in
 * one option does not make the answer longer.
 */
static void list_one(void *opaque, const char *name)
{
	const struct meta *m = opaque;
	uint32_t at = m->at;

	for (uint32_t i = 0; i < m->queries; i++) {
		const uint8_t *text;
		uint32_t length;

		if (get_string(m->conn, &at, &text, &length) &&
		    nbd_context_is_listed(name, text, length)) {
			put_context(m->conn, 0, name);
			return;
		}
	}
	if (!m->queries)
		put_context(m->conn, 0, name);
}

static bool is_selected(const struct nbd_conn *c, const struct nbd_context *x)
{
	for (uint32_t i = 0; i < c->selected_count; i++)
		if (c->selected[i].context == x)
			return true;
	return false;
}

/* False: they are too many. */
static bool select_all(struct meta *m)
{
	struct nbd_conn *c = m->conn;
	uint32_t at = m->at;

	for (uint32_t i = 0; i < m->queries; i++) {
		struct nbd_context *x;
		const uint8_t *text;
		uint32_t length;

		if (!get_string(c, &at, &text, &length))
			break;
		x = nbd_contexts_find(m->export, text, length);
		if (!x || is_selected(c, x)) {
			nbd_context_put(x);
			continue;
		}
		if (c->selected_count == NBD_MAX_SELECTED) {
			nbd_context_put(x);
			return false;
		}
		c->selected[c->selected_count++] = (struct nbd_selected){
			x, c->next_context_id++
		};
	}
	c->selected_for = m->export; /* and the reference */
	m->export = NULL;
	return true;
}

static void set(struct meta *m)
{
	struct nbd_conn *c = m->conn;

	if (!select_all(m)) {
		nbd_conn_deselect(c);
		nbd_option_fail(c, NBD_REP_ERR_TOO_BIG,
				"that is more contexts than a connection has");
		return;
	}
	for (uint32_t i = 0; i < c->selected_count; i++)
		put_context(c, c->selected[i].id, c->selected[i].context->name);
	nbd_option_ack(c);
}

void nbd_options_meta(struct nbd_conn *c)
{
	bool setting = c->option == NBD_OPT_SET_META_CONTEXT;
	struct meta m;

	if (setting)
		nbd_conn_deselect(c);
	if (!parse(c, &m)) {
		nbd_option_fail(c, NBD_REP_ERR_INVALID,
				"the lengths in this option do not add up");
	} else if (setting && c->headers == NBD_SIMPLE) {
		nbd_option_fail(c, NBD_REP_ERR_INVALID,
				"structured replies have to be agreed on first");
	} else if (!m.export) {
		nbd_option_fail(c, NBD_REP_ERR_UNKNOWN,
				"there is no export of that name");
	} else if (setting) {
		set(&m);
	} else {
		nbd_contexts_each(m.export, list_one, &m);
		nbd_option_ack(c);
	}
	nbd_export_put(m.export);
}
