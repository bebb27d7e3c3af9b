/* SPDX-License-Identifier: BSD-2-Clause */
/* Inside of src/tls. */
#ifndef TIDE_TLS_INTERNAL_H
#define TIDE_TLS_INTERNAL_H

#include <gnutls/gnutls.h>

#include "tls/tls.h"

/*
 * Ciphers, and a server's order before its client's. With AES in the CPU, as
 * all have on which guests run, GCM is four times as fast as ChaCha20, which
 * GnuTLS would choose with pre-shared keys, where AES-256 is not to be had
 * (docs/evaluation.md). No CBC.
 */
#define TLS__CIPHERS                                                           \
	":-CIPHER-ALL:+AES-256-GCM:+AES-128-GCM:+CHACHA20-POLY1305"            \
	":%SERVER_PRECEDENCE"

struct tls_creds {
	enum tls_role role;
	bool verify;			/* the peer's certificate */
	gnutls_priority_t priority;
	gnutls_certificate_credentials_t x509;	/* one of these, */
	gnutls_psk_server_credentials_t psk_server;	/* the others NULL */
	gnutls_psk_client_credentials_t psk_client;
};

/* An empty one that allows what @priority says. NULL: no memory. */
struct tls_creds *tls__creds_new(enum tls_role role, const char *priority);
/* GnuTLS's code @ret, about @path, as -errno with the reason. */
int tls__fault(struct tide_error *err, const char *path, int ret);
/* Is @path there for us, and, with @secret, for nobody else? */
int tls__check_file(const char *path, bool secret, struct tide_error *err);

#endif
