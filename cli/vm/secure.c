/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/vm/secure.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "tls/streams.h"

#define SLICE_MS 50

struct secure {
	enum tls_role role;
	bool plain, certificates;
	struct tls_creds *creds;	/* NULL: in the clear */
	struct tls_streams *streams;
	struct tide__door_streams door;
	struct tide__token token;
};

static int wrong(struct tide_error *err, const char *what)
{
	return tide_error_set(err, -EINVAL, "options", TIDE_NO_OFFSET, "%s",
			      what);
}

/* --- what was asked for --- */

/* The line in @path: spaces at its end, and a new line, do not count. */
static int read_token(const char *path, struct tide__token *token,
		      struct tide_error *err)
{
	char bytes[TIDE__TOKEN_MAX_BYTES + 3];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n = fd < 0 ? -1 : read(fd, bytes, sizeof(bytes));
	struct stat st;
	int ret = n < 0 || fstat(fd, &st) ? -errno : 0;

	if (fd >= 0)
		close(fd);
	if (ret)
		return tide_error_set(err, ret, "token", TIDE_NO_OFFSET,
				      "%s: %s", path, strerror(-ret));
	if (st.st_mode & (S_IROTH | S_IWOTH))
		return tide_error_set(err, -EPERM, "token", TIDE_NO_OFFSET,
				      "%s: a secret that everybody may read; "
				      "chmod o= it", path);
	while (n && strchr(" \t\r\n", bytes[n - 1]))
		n--;
	if (n < (ssize_t)TIDE__TOKEN_MIN_BYTES ||
	    n > (ssize_t)TIDE__TOKEN_MAX_BYTES ||
	    memchr(bytes, '\n', (size_t)n))
		return tide_error_set(err, -EINVAL, "token", TIDE_NO_OFFSET,
				      "%s: a token is one line of %u to %u "
				      "characters", path,
				      TIDE__TOKEN_MIN_BYTES,
				      TIDE__TOKEN_MAX_BYTES);
	memcpy(token->bytes, bytes, (size_t)n);
	token->len = (size_t)n;
	explicit_bzero(bytes, sizeof(bytes));
	return 0;
}

static int check_wishes(const struct secure_wishes *w, struct tide_error *err)
{
	if (w->tls && w->tls_psk)
		return wrong(err, "either --tls with certificates or --tls-psk "
				  "with keys");
	if (w->plain && (w->tls || w->tls_psk))
		return wrong(err, "--plain is without TLS: one or the other");
	if (w->tls_verify && !w->tls)
		return wrong(err, "--tls-verify is about certificates: it goes "
				  "with --tls");
	if (w->tls_name && !w->tls && !w->tls_psk)
		return wrong(err, "--tls-name goes with --tls or --tls-psk");
	return 0;
}

static int load_creds(struct secure *s, const struct secure_wishes *w,
		      struct tide_error *err)
{
	if (w->tls)
		return tls_creds_x509(&s->creds, w->tls, s->role,
				      w->tls_verify, err);
	if (w->tls_psk)
		return tls_creds_psk(&s->creds, w->tls_psk, w->tls_name,
				     s->role, err);
	return 0;
}

int secure_open(struct secure **out, const struct secure_wishes *w,
		enum tls_role role, struct tide_error *err)
{
	int ret = check_wishes(w, err);
	struct secure *s;

	if (ret)
		return ret;
	s = calloc(1, sizeof(*s));
	if (!s)
		return tide_error_set(err, -ENOMEM, "tls", TIDE_NO_OFFSET,
				      "no memory for TLS");
	s->role = role;
	s->plain = w->plain;
	s->certificates = w->tls;
	ret = load_creds(s, w, err);
	if (!ret && s->creds)
		ret = tls_streams_create(&s->streams, s->creds,
					 w->tls ? w->tls_name : NULL, err);
	if (!ret && w->token_file)
		ret = read_token(w->token_file, &s->token, err);
	if (ret)
		secure_close(s);
	else
		*out = s;
	return ret;
}

void secure_close(struct secure *s)
{
	if (!s)
		return;
	tls_streams_destroy(s->streams);
	tls_creds_destroy(s->creds);
	explicit_bzero(&s->token, sizeof(s->token));
	free(s);
}

/* --- networks --- */

static bool is_network(const struct sockaddr_storage *ss)
{
	if (ss->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)ss;

		return ntohl(in->sin_addr.s_addr) >> 24 != 127;
	}
	if (ss->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in = (const void *)ss;

		if (IN6_IS_ADDR_V4MAPPED(&in->sin6_addr))
			return in->sin6_addr.s6_addr[12] != 127;
		return !IN6_IS_ADDR_LOOPBACK(&in->sin6_addr);
	}
	return ss->ss_family != AF_UNIX;
}

static int check_clear(const struct secure *s, int failed,
		       const struct sockaddr_storage *ss, const char *address,
		       struct tide_error *err)
{
	if (s->creds || s->plain || (!failed && !is_network(ss)))
		return 0;
	return tide_error_set(
		err, -EPERM, "tls", TIDE_NO_OFFSET,
		"%s is a network, and the guest's memory would go "
		"over it in the clear: give both sides --tls or "
		"--tls-psk, or ask for it with --plain",
		address);
}

int secure_check_listener(const struct secure *s, int fd, const char *address,
			  struct tide_error *err)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);
	int failed = getsockname(fd, (struct sockaddr *)&ss, &len);

	return check_clear(s, failed, &ss, address, err);
}

/* --- the receiver --- */

void secure_door(struct secure *s, struct tide__door_options *door)
{
	s->door = (struct tide__door_streams){
		.ops = &tls_stream_ops,
		.open = tls_streams_open,
		.shake = tls_streams_shake,
		.peek = tls_streams_peek,
		.forget = tls_streams_forget,
		.opaque = s->streams,
	};
	door->streams = s->creds ? &s->door : NULL;
	door->token = &s->token;
}

void secure_channels(struct secure *s, struct tide_precopy_options *o)
{
	if (!s->creds)
		return;
	o->stream_ops = &tls_stream_ops;
	o->stream_opaque = s->streams;
}

/* --- the source --- */

/* What the VM's process opens it has to find from where it is. */
static int put_path(const struct cli_parsed *p, const char *option,
		    const char *member, json_t *request,
		    struct tide_error *err)
{
	const char *given = cli_text(p, option);
	char *path;
	int ret;

	if (!given)
		return 0;
	path = realpath(given, NULL);
	if (!path)
		return tide_error_set(err, -errno, "options", TIDE_NO_OFFSET,
				      "--%s=%s: %s", option, given,
				      strerror(errno));
	ret = json_object_set_new(request, member, json_string(path));
	free(path);
	return ret ? wrong(err, "a path that is not UTF-8") : 0;
}

int secure_to_request(const struct cli_parsed *p, json_t *request,
		      struct tide_error *err)
{
	const char *name = cli_text(p, "tls-name");
	int ret = put_path(p, "tls", "tls", request, err);

	if (!ret)
		ret = put_path(p, "tls-psk", "tls_psk", request, err);
	if (!ret)
		ret = put_path(p, "token-file", "token_file", request, err);
	if (!ret && name &&
	    json_object_set_new(request, "tls_name", json_string(name)))
		ret = wrong(err, "--tls-name is not UTF-8");
	if (!ret && cli_flag(p, "plain") &&
	    json_object_set_new(request, "plain", json_true()))
		ret = wrong(err, "no memory");
	return ret;
}

/* A wish that is not understood is none that may be passed over. */
static int take_text(const json_t *request, const char *member,
		     const char **to, struct tide_error *err)
{
	const json_t *j = json_object_get(request, member);

	*to = json_string_value(j);
	return !j || *to ? 0 : tide_error_set(err, -EINVAL, "vm",
					      TIDE_NO_OFFSET,
					      "%s is a string", member);
}

int secure_from_request(const json_t *request, struct secure_wishes *w,
			struct tide_error *err)
{
	const json_t *plain = json_object_get(request, "plain");
	int ret;

	*w = (struct secure_wishes){ .plain = json_is_true(plain) };
	if ((ret = take_text(request, "tls", &w->tls, err)) ||
	    (ret = take_text(request, "tls_psk", &w->tls_psk, err)) ||
	    (ret = take_text(request, "tls_name", &w->tls_name, err)) ||
	    (ret = take_text(request, "token_file", &w->token_file, err)))
		return ret;
	return !plain || json_is_boolean(plain)
		       ? 0 : tide_error_set(err, -EINVAL, "vm", TIDE_NO_OFFSET,
					    "plain is true or false");
}

static int no_handshake(int ret, const char *address, const char *why,
			struct tide_error *err)
{
	return tide_error_set(
		err, ret, "tls", TIDE_NO_OFFSET, "%s: %s%s", address, why,
		ret == -EACCES
			? ""
			: "; was the receiver given --tls, or --tls-psk, as "
			  "well?");
}

static int shake_hands(struct secure *s, int fd, const char *address,
		       uint64_t limit_ns, const bool *cancel,
		       struct tide_error *err)
{
	uint64_t until = tide__now_ns() + limit_ns;
	bool wants_write = false;
	struct tide_error why;
	int ret = tls_streams_open(s->streams, fd, err);

	if (ret)
		return ret;
	while ((ret = tls_streams_shake(s->streams, fd, &wants_write, &why)) ==
	       -EAGAIN) {
		struct pollfd p = { .fd = fd, .events = wants_write ? POLLOUT
								    : POLLIN };

		/* Pairs with a plain store by who watches the client. */
		if (cancel && tide__load_relaxed(cancel))
			return tide_error_set(err, -ECANCELED, "tls",
					      TIDE_NO_OFFSET, "called off");
		if (tide__now_ns() > until)
			return no_handshake(-ETIMEDOUT, address, "the TLS "
					    "handshake does not come to an end",
					    err);
		poll(&p, 1, SLICE_MS);
	}
	return ret ? no_handshake(ret, address, why.text, err) : 0;
}

int secure_connected(struct secure *s, int fd, const char *address,
		     uint64_t limit_ns, const bool *cancel,
		     struct tide_error *err)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);
	int failed = getpeername(fd, (struct sockaddr *)&ss, &len);
	int ret = check_clear(s, failed, &ss, address, err);

	if (!ret && s->creds)
		ret = shake_hands(s, fd, address, limit_ns, cancel, err);
	if (!ret && s->token.len)
		ret = tide__token_send(&s->token, fd,
				       s->creds ? &tls_stream_ops : NULL,
				       s->streams, limit_ns, err);
	return ret;
}

void secure_explain(const struct secure *s, int ret, struct tide_error *err)
{
	struct tide_error was = *err;

	if (s->certificates && (ret == -EPIPE || ret == -ECONNRESET ||
				ret == -EACCES || ret == -ENODATA))
		tide_error_set(
			err, ret, "tls", TIDE_NO_OFFSET,
			"%s; the "
			"receiver may ask for a certificate of ours that "
			"its CA signed: client-cert.pem and "
			"client-key.pem beside ca-cert.pem",
			was.text);
}

void secure_forget(struct secure *s, int fd)
{
	if (s->streams)
		tls_streams_forget(s->streams, fd);
}
