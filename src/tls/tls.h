/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TLS on a connected socket: credentials, handshake, bytes.
 *
 * For whoever owns a poll loop: no call here waits. What would have to wait is
 * -EAGAIN; poll then for writing if tls_wants_write, else for reading. The
 * descriptor itself may be blocking or not.
 *
 * There is no way back to the clear: a session whose handshake failed, or
 * whose peer is not who the credentials ask for, can only be destroyed.
 * Versions 1.2 and 1.3; no session tickets, so that after the handshake a
 * readable socket means bytes of the application's, or the end.
 *
 * Caveats:
 *  - Ask tls_pending before you trust poll: a record that was read for its
 *    first bytes may hold more.
 *  - After -EAGAIN from tls_send, call it again with the same bytes: they are
 *    encrypted already.
 *  - Threads: credentials are immutable, for any number of sessions that they
 *    outlive. A session is its owner's: one call at a time.
 */
#ifndef TIDE_TLS_TLS_H
#define TIDE_TLS_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "tidemark/error.h"

enum tls_role { TLS_SERVER, TLS_CLIENT };

struct tls_creds;
struct tls_session;

/*
 * Certificates from a folder with the names that QEMU's tls-creds-x509 has:
 * ca-cert.pem, ca-crl.pem (may be missing); of a server server-cert.pem and
 * server-key.pem, of a client client-cert.pem and client-key.pem, which may be
 * missing together. A server with @verify asks each client for a certificate
 * that the CA signed; a client always checks the server's.
 *
 * 0; -ENOENT and the like with the path that is missing; -EINVAL: what is in a
 * file is not what it should be, or the key is not the certificate's; -EPERM:
 * a private key that others may read; -ENOMEM.
 */
int tls_creds_x509(struct tls_creds **out, const char *folder,
		   enum tls_role role, bool verify, struct tide_error *err);

/*
 * Pre-shared keys from a file with lines NAME:HEX, as psktool and QEMU's
 * keys.psk have them. A client uses the key of @name, or the first if it is
 * NULL; a server knows all of them. Both sides prove that they have the key.
 * Errors as above; -ENOKEY: nobody of that name in the file.
 */
int tls_creds_psk(struct tls_creds **out, const char *file, const char *name,
		  enum tls_role role, struct tide_error *err);

/* After the last session. NULL is fine. */
void tls_creds_destroy(struct tls_creds *creds);

/*
 * A session on @fd, which is borrowed until destroy. @host: the name or
 * address that a server's certificate must bear; NULL: any that the CA signed
 * (a unix socket has no name). Not looked at by servers and with keys.
 * -ENOMEM, -EINVAL.
 */
int tls_session_create(struct tls_session **out, const struct tls_creds *creds,
		       int fd, const char *host, struct tide_error *err);
/* Says nothing to the peer: see tls_end. Not the fd. NULL is fine. */
void tls_session_destroy(struct tls_session *s);

/*
 * A step of the handshake. 0: done, the peer is known; -EAGAIN; -EACCES: the
 * peer is not who it must be, or says so of us; -EPROTO: it speaks no TLS, or
 * badly; -ECONNRESET: it left. @err has the reason.
 */
int tls_handshake(struct tls_session *s, struct tide_error *err);
bool tls_wants_write(const struct tls_session *s);

/* Who the peer is: "CN=host,O=..." or a key's name; "": it did not say. */
const char *tls_peer(const struct tls_session *s);
/*
 * The short form: a certificate's common name, if it has exactly one, or a
 * key's name; "": there is none.
 */
const char *tls_peer_name(const struct tls_session *s);

/*
 * Bytes moved (> 0), -EAGAIN, -EPROTO (a record that was tampered with, or no
 * record), -EPIPE, -ECONNRESET, ... recv: 0 is the end that the peer
 * announced; an end without that is -ECONNRESET, since anybody on the way can
 * make one.
 */
ssize_t tls_recv(struct tls_session *s, void *buffer, size_t len);
ssize_t tls_send(struct tls_session *s, const void *bytes, size_t len);
/* Bytes that recv gives without the socket. */
size_t tls_pending(const struct tls_session *s);

/* Announce the end of what we send: 0, -EAGAIN (call again) or -errno. */
int tls_end(struct tls_session *s);

#endif
