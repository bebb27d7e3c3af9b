/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What protects a guest on its way: TLS, a token, or the word that it may go in
 * the clear. Memory of a guest does not go over a network without one of the
 * first or the last having been asked for; loopback and Unix sockets are none.
 */
#ifndef CLI_VM_SECURE_H
#define CLI_VM_SECURE_H

#include <jansson.h>

#include "cli/options.h"
#include "peer/door.h"
#include "tidemark/precopy.h"
#include "tls/tls.h"

/* Of both sides; what is to be known of who is at the other end, of one. */
#define OPT_SECURE                                                             \
	{ "tls-psk", "FILE", CLI_TEXT, NULL,                                   \
	  "require TLS, with the pre-shared keys in FILE" },                   \
	{ "token-file", "FILE", CLI_TEXT, NULL,                                \
	  "a word of 16 to 256 characters that both sides must have" },        \
	{ "plain", NULL, CLI_FLAG, NULL,                                       \
	  "allow the guest's memory on a network without TLS" }

struct secure_wishes {
	const char *tls, *tls_psk, *tls_name, *token_file;
	bool tls_verify, plain;
};

struct secure;

/* 0; -EINVAL: wishes that contradict; else as tls_creds_x509 and _psk. */
int secure_open(struct secure **out, const struct secure_wishes *wishes,
		enum tls_role role, struct tide_error *err);
/* NULL is fine. */
void secure_close(struct secure *s);

/* Of the receiver: may it listen at @fd? -EPERM with the way out. */
int secure_check_listener(const struct secure *s, int fd, const char *address,
			  struct tide_error *err);
void secure_door(struct secure *s, struct tide__door_options *door);

/* Of the source: from the command line to the VM's process, and there. */
int secure_to_request(const struct cli_parsed *p, json_t *request,
		      struct tide_error *err);
/* The texts are the request's. -EINVAL: one is none. */
int secure_from_request(const json_t *request, struct secure_wishes *wishes,
			struct tide_error *err);
/*
 * Make connected @fd one that a guest may go over: handshake, token. In @limit
 * at most; *@cancel ends it.
 */
int secure_connected(struct secure *s, int fd, const char *address,
		     uint64_t limit_ns, const bool *cancel,
		     struct tide_error *err);
/*
 * A migration ended with @ret before a page had moved: with TLS 1.3 that may be
 * the answer to our certificate, which *@err then says.
 */
void secure_explain(const struct secure *s, int ret, struct tide_error *err);
/* It does not become a channel: before it is closed. */
void secure_forget(struct secure *s, int fd);

/* Both: channels go through it. */
void secure_channels(struct secure *s, struct tide_precopy_options *options);

#endif
