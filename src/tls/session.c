/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One session: GnuTLS between a socket and its owner, without blocking.
 *
 * GnuTLS reads and writes the socket through our functions, which never block
 * and never raise SIGPIPE, whatever the descriptor's flags. Its codes are
 * turned into errno in one place (from_gnutls); only the handshake, where an
 * operator has to find out what is wrong with a file on one of two hosts,
 * reports text as well.
 */
#include "tls/internal.h"

#include <errno.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

struct tls_session {
	const struct tls_creds *creds;
	gnutls_session_t tls;
	int fd;
	int fault;		/* errno of the socket, if it had one */
	bool unsent;		/* a record that was not written whole */
	bool up;		/* the handshake is done */
	char peer[256], name[256];
};

static ssize_t push(gnutls_transport_ptr_t opaque, const giovec_t *parts,
		    int count)
{
	struct tls_session *s = opaque;
	struct msghdr msg = { .msg_iov = (struct iovec *)parts,
			      .msg_iovlen = (size_t)count };
	ssize_t n = sendmsg(s->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0 && errno == ENOBUFS)
		errno = EAGAIN;
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		s->fault = errno;
	return n;
}

static ssize_t pull(gnutls_transport_ptr_t opaque, void *buffer, size_t len)
{
	struct tls_session *s = opaque;
	ssize_t n = recv(s->fd, buffer, len, MSG_DONTWAIT);

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		s->fault = errno;
	return n;
}

static int from_gnutls(const struct tls_session *s, int ret)
{
	switch (ret) {
	case GNUTLS_E_AGAIN:
	case GNUTLS_E_INTERRUPTED:
		return -EAGAIN;
	case GNUTLS_E_MEMORY_ERROR:
		return -ENOMEM;
	case GNUTLS_E_PUSH_ERROR:
	case GNUTLS_E_PULL_ERROR:
		return s->fault ? -s->fault : -EIO;
	case GNUTLS_E_PREMATURE_TERMINATION:
		return -ECONNRESET;
	case GNUTLS_E_CERTIFICATE_ERROR:
	case GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR:
	case GNUTLS_E_CERTIFICATE_REQUIRED:
	case GNUTLS_E_NO_CERTIFICATE_FOUND:
	case GNUTLS_E_FATAL_ALERT_RECEIVED:
	case GNUTLS_E_INSUFFICIENT_CREDENTIALS:
		return -EACCES;
	default:
		return -EPROTO;
	}
}

static int give_credentials(struct tls_session *s, const char *host)
{
	const struct tls_creds *c = s->creds;

	if (c->psk_server)
		return gnutls_credentials_set(s->tls, GNUTLS_CRD_PSK,
					      c->psk_server);
	if (c->psk_client)
		return gnutls_credentials_set(s->tls, GNUTLS_CRD_PSK,
					      c->psk_client);
	if (c->role == TLS_SERVER)
		gnutls_certificate_server_set_request(
			s->tls, c->verify ? GNUTLS_CERT_REQUIRE
					  : GNUTLS_CERT_IGNORE);
	if (c->verify)
		gnutls_session_set_verify_cert(
			s->tls, c->role == TLS_CLIENT ? host : NULL, 0);
	return gnutls_credentials_set(s->tls, GNUTLS_CRD_CERTIFICATE, c->x509);
}

int tls_session_create(struct tls_session **out, const struct tls_creds *creds,
		       int fd, const char *host, struct tide_error *err)
{
	unsigned int flags = GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL |
			     GNUTLS_NO_TICKETS;
	struct tls_session *s = calloc(1, sizeof(*s));
	int ret;

	if (!s)
		return tls__fault(err, "session", GNUTLS_E_MEMORY_ERROR);
	s->creds = creds;
	s->fd = fd;
	ret = gnutls_init(&s->tls, flags | (creds->role == TLS_SERVER
						   ? GNUTLS_SERVER
						   : GNUTLS_CLIENT));
	if (ret) {
		free(s);
		return tls__fault(err, "session", ret);
	}
	ret = gnutls_priority_set(s->tls, creds->priority);
	if (!ret)
		ret = give_credentials(s, host);
	if (ret) {
		tls_session_destroy(s);
		return tls__fault(err, "session", ret);
	}
	gnutls_transport_set_ptr(s->tls, s);
	gnutls_transport_set_vec_push_function(s->tls, push);
	gnutls_transport_set_pull_function(s->tls, pull);
	/* The owner has its own idea of how long a handshake may take. */
	gnutls_handshake_set_timeout(s->tls, 0);
	*out = s;
	return 0;
}

void tls_session_destroy(struct tls_session *s)
{
	if (!s)
		return;
	gnutls_deinit(s->tls);
	free(s);
}

/* Why a certificate is not good enough, in GnuTLS's words. */
static bool why_not_trusted(struct tls_session *s, char *text, size_t room)
{
	unsigned int status = gnutls_session_get_verify_cert_status(s->tls);
	gnutls_datum_t words;

	if (!status || gnutls_certificate_verification_status_print(
			       status, GNUTLS_CRT_X509, &words, 0))
		return false;
	snprintf(text, room, "%s", words.data);
	gnutls_free(words.data);
	text[strcspn(text, "\n")] = 0;
	return true;
}

static int handshake_fault(struct tls_session *s, int ret,
			   struct tide_error *err)
{
	int code = from_gnutls(s, ret);
	char why[256];

	if (ret == GNUTLS_E_FATAL_ALERT_RECEIVED)
		snprintf(why, sizeof(why), "the other side refused: %s",
			 gnutls_alert_get_name(gnutls_alert_get(s->tls)));
	else if (ret == GNUTLS_E_PREMATURE_TERMINATION)
		snprintf(why, sizeof(why), "the other side hung up; it may not "
			 "speak TLS, or not know who we are");
	else if (code != -EACCES || !why_not_trusted(s, why, sizeof(why)))
		snprintf(why, sizeof(why), "%s", s->fault
			 ? strerror(s->fault) : gnutls_strerror(ret));
	/* So that the peer learns why; if it does not fit, it is not said. */
	if (ret != GNUTLS_E_FATAL_ALERT_RECEIVED)
		gnutls_alert_send_appropriate(s->tls, ret);
	return tide_error_set(err, code, "tls", TIDE_NO_OFFSET,
			      "TLS handshake: %s", why);
}

/* Only one that is the only one, and no other than it looks. */
static void note_common_name(struct tls_session *s, gnutls_x509_crt_t cert)
{
	char second[256];
	size_t room = sizeof(s->name), more = sizeof(second);

	if (gnutls_x509_crt_get_dn_by_oid(cert, GNUTLS_OID_X520_COMMON_NAME, 0,
					  0, s->name, &room) ||
	    strlen(s->name) != room ||
	    gnutls_x509_crt_get_dn_by_oid(cert, GNUTLS_OID_X520_COMMON_NAME, 1,
					  0, second, &more) !=
		    GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
		s->name[0] = 0;
}

static void note_certificate(struct tls_session *s)
{
	unsigned int count = 0;
	const gnutls_datum_t *list = gnutls_certificate_get_peers(s->tls,
								  &count);
	gnutls_x509_crt_t cert;
	size_t room = sizeof(s->peer);

	if (!list || !count || gnutls_x509_crt_init(&cert))
		return;
	if (gnutls_x509_crt_import(cert, list, GNUTLS_X509_FMT_DER) ||
	    gnutls_x509_crt_get_dn(cert, s->peer, &room))
		s->peer[0] = 0;
	else
		note_common_name(s, cert);
	gnutls_x509_crt_deinit(cert);
}

static void note_peer(struct tls_session *s)
{
	const char *name;

	if (s->creds->x509) {
		note_certificate(s);
		return;
	}
	name = s->creds->role == TLS_SERVER
		       ? gnutls_psk_server_get_username(s->tls) : NULL;
	if (!name || strlen(name) >= sizeof(s->peer))
		return; /* a part of a name is another's */
	strcpy(s->peer, name);
	strcpy(s->name, name);
}

int tls_handshake(struct tls_session *s, struct tide_error *err)
{
	int ret;

	if (s->up)
		return 0;
	/* Warnings (an unknown name, say) are not the end of it. */
	do
		ret = gnutls_handshake(s->tls);
	while (ret < 0 && ret != GNUTLS_E_AGAIN && !gnutls_error_is_fatal(ret));
	if (ret == GNUTLS_E_AGAIN)
		return -EAGAIN;
	if (ret)
		return handshake_fault(s, ret, err);
	s->up = true;
	note_peer(s);
	return 0;
}

bool tls_wants_write(const struct tls_session *s)
{
	return gnutls_record_get_direction(s->tls) == 1;
}

const char *tls_peer(const struct tls_session *s)
{
	return s->peer;
}

const char *tls_peer_name(const struct tls_session *s)
{
	return s->name;
}

ssize_t tls_recv(struct tls_session *s, void *buffer, size_t len)
{
	ssize_t n;

	if (!s->up)
		return -EPROTO;
	do
		n = gnutls_record_recv(s->tls, buffer, len);
	while (n == GNUTLS_E_INTERRUPTED ||
	       n == GNUTLS_E_WARNING_ALERT_RECEIVED);
	return n < 0 ? from_gnutls(s, (int)n) : n;
}

ssize_t tls_send(struct tls_session *s, const void *bytes, size_t len)
{
	ssize_t n;

	if (!s->up)
		return -EPROTO;
	do
		n = s->unsent ? gnutls_record_send(s->tls, NULL, 0)
			      : gnutls_record_send(s->tls, bytes, len);
	while (n == GNUTLS_E_INTERRUPTED);
	s->unsent = n == GNUTLS_E_AGAIN;
	return n < 0 ? from_gnutls(s, (int)n) : n;
}

size_t tls_pending(const struct tls_session *s)
{
	return gnutls_record_check_pending(s->tls);
}

int tls_end(struct tls_session *s)
{
	int ret = s->up ? gnutls_bye(s->tls, GNUTLS_SHUT_WR) : 0;

	return ret ? from_gnutls(s, ret) : 0;
}
