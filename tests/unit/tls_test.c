/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TLS between two ends of a socket pair: who is let in, who is not and what
 * each side then says, bytes in both directions through small buffers, and
 * ends that were announced and that were not.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "../support/tls_files.h"
#include "tls/tls.h"

static char ours[] = "/tmp/tidemark-tls-XXXXXX", theirs[64], none[64];

struct side {
	struct tls_creds *creds;
	struct tls_session *s;
	int fd, ret;
	struct tide_error err;
};

struct pair {
	struct side server, client;
};

static void x509(struct side *side, const char *folder, enum tls_role role,
		 bool verify)
{
	if (tls_creds_x509(&side->creds, folder, role, verify, &side->err))
		fail_msg("%s", side->err.text);
}

static void psk(struct side *side, const char *folder, enum tls_role role,
		const char *name)
{
	char file[128];

	snprintf(file, sizeof(file), "%s/keys.psk", folder);
	if (tls_creds_psk(&side->creds, file, name, role, &side->err))
		fail_msg("%s", side->err.text);
}

static void step(struct side *side)
{
	if (side->ret == -EAGAIN)
		side->ret = tls_handshake(side->s, &side->err);
}

static void handshake(struct pair *p, const char *host)
{
	int fd[2], small = 2048;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	p->server.fd = fd[0];
	p->client.fd = fd[1];
	for (int i = 0; i < 2; i++)
		setsockopt(fd[i], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	assert_int_equal(tls_session_create(&p->server.s, p->server.creds,
					    fd[0], NULL, NULL), 0);
	assert_int_equal(tls_session_create(&p->client.s, p->client.creds,
					    fd[1], host, NULL), 0);
	p->server.ret = p->client.ret = -EAGAIN;
	for (int i = 0; i < 100; i++) {
		step(&p->client);
		step(&p->server);
	}
}

static void end(struct pair *p)
{
	struct side *sides[] = { &p->server, &p->client };

	for (int i = 0; i < 2; i++) {
		tls_session_destroy(sides[i]->s);
		tls_creds_destroy(sides[i]->creds);
		close(sides[i]->fd);
	}
	memset(p, 0, sizeof(*p));
}

/* @count bytes from one side to the other, in turn. */
static void carry(struct side *from, struct side *to, size_t count)
{
	unsigned char *out = malloc(count), *in = malloc(count);
	size_t sent = 0, got = 0;

	for (size_t i = 0; i < count; i++)
		out[i] = (unsigned char)(i * 131 + i / 257);
	while (got < count) {
		ssize_t n = sent < count ? tls_send(from->s, out + sent,
						    count - sent) : -EAGAIN;

		assert_true(n > 0 || n == -EAGAIN);
		sent += n > 0 ? (size_t)n : 0;
		n = tls_recv(to->s, in + got, count - got);
		assert_true(n > 0 || n == -EAGAIN);
		got += n > 0 ? (size_t)n : 0;
	}
	assert_memory_equal(in, out, count);
	free(in);
	free(out);
}

static void certificates(void **state)
{
	static const char *const hosts[] = { "host.test", "127.0.0.1", NULL };
	struct pair p = { 0 };

	(void)state;
	for (int i = 0; i < 3; i++) {
		x509(&p.server, ours, TLS_SERVER, true);
		x509(&p.client, ours, TLS_CLIENT, false);
		handshake(&p, hosts[i]);
		if (p.server.ret || p.client.ret)
			fail_msg("%s / %s", p.server.err.text,
				 p.client.err.text);
		assert_string_equal(tls_peer(p.server.s), "CN=client");
		assert_string_equal(tls_peer(p.client.s), "CN=host.test");
		carry(&p.client, &p.server, 1 << 20);
		carry(&p.server, &p.client, 100000);
		assert_int_equal(tls_pending(p.server.s), 0);
		end(&p);
	}
}

static void refused(struct pair *p, int server, int client)
{
	printf("# server: %s; client: %s\n", p->server.err.text,
	       p->client.err.text);
	assert_int_equal(p->server.ret, server);
	assert_int_equal(p->client.ret, client);
	assert_true(p->server.err.text[0]);
	/* No way around it. */
	assert_int_equal(tls_send(p->server.s, "x", 1), -EPROTO);
	assert_int_equal(tls_recv(p->server.s, (char[1]){ 0 }, 1), -EPROTO);
	end(p);
}

static void a_client_of_another_ca(void **state)
{
	struct pair p = { 0 };

	(void)state;
	x509(&p.server, ours, TLS_SERVER, true);
	x509(&p.client, theirs, TLS_CLIENT, false);
	handshake(&p, NULL);
	refused(&p, -EACCES, -EACCES);
}

static void a_client_without_certificate(void **state)
{
	struct pair p = { 0 };
	ssize_t n;

	(void)state;
	x509(&p.server, ours, TLS_SERVER, true);
	x509(&p.client, none, TLS_CLIENT, false);
	handshake(&p, NULL);
	/* With TLS 1.3 the client is done first, and hears of it by reading. */
	assert_int_equal(p.server.ret, -EACCES);
	n = tls_recv(p.client.s, (char[1]){ 0 }, 1);
	assert_true(p.client.ret || n == -EACCES);
	end(&p);
	/* A server that does not ask lets it in. */
	x509(&p.server, ours, TLS_SERVER, false);
	x509(&p.client, none, TLS_CLIENT, false);
	handshake(&p, NULL);
	assert_int_equal(p.server.ret, 0);
	assert_int_equal(p.client.ret, 0);
	assert_string_equal(tls_peer(p.server.s), "");
	end(&p);
}

static void a_server_of_another_name(void **state)
{
	struct pair p = { 0 };

	(void)state;
	x509(&p.server, ours, TLS_SERVER, true);
	x509(&p.client, ours, TLS_CLIENT, false);
	handshake(&p, "other.test");
	refused(&p, -EACCES, -EACCES);
}

static void keys(void **state)
{
	struct pair p = { 0 };

	(void)state;
	psk(&p.server, ours, TLS_SERVER, NULL);
	psk(&p.client, ours, TLS_CLIENT, "bob");
	handshake(&p, NULL);
	if (p.server.ret || p.client.ret)
		fail_msg("%s / %s", p.server.err.text, p.client.err.text);
	assert_string_equal(tls_peer(p.server.s), "bob");
	carry(&p.client, &p.server, 1 << 20);
	end(&p);
}

static void a_wrong_key(void **state)
{
	struct pair p = { 0 };

	(void)state;
	psk(&p.server, ours, TLS_SERVER, NULL);
	psk(&p.client, theirs, TLS_CLIENT, "alice");
	handshake(&p, NULL);
	assert_true(p.server.ret == -EACCES || p.server.ret == -EPROTO);
	assert_true(p.client.ret);
	end(&p);
}

/* Certificates on one side, keys on the other: nothing in common. */
static void nothing_in_common(void **state)
{
	struct pair p = { 0 };

	(void)state;
	x509(&p.server, ours, TLS_SERVER, true);
	psk(&p.client, ours, TLS_CLIENT, NULL);
	handshake(&p, NULL);
	assert_true(p.server.ret && p.server.ret != -EAGAIN);
	assert_int_equal(p.client.ret, -EACCES);
	end(&p);
}

static void garbage(void **state)
{
	static const char http[] = "GET / HTTP/1.0\r\n\r\n";
	struct pair p = { 0 };
	int fd[2];

	(void)state;
	x509(&p.server, ours, TLS_SERVER, true);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	assert_int_equal(tls_session_create(&p.server.s, p.server.creds, fd[0],
					    NULL, NULL), 0);
	assert_int_equal(tls_handshake(p.server.s, &p.server.err), -EAGAIN);
	assert_false(tls_wants_write(p.server.s));
	assert_int_equal(write(fd[1], http, sizeof(http)), sizeof(http));
	assert_int_equal(tls_handshake(p.server.s, &p.server.err), -EPROTO);
	tls_session_destroy(p.server.s);
	close(fd[0]);
	close(fd[1]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	assert_int_equal(tls_session_create(&p.server.s, p.server.creds, fd[0],
					    NULL, NULL), 0);
	close(fd[1]);
	assert_int_equal(tls_handshake(p.server.s, &p.server.err),
			 -ECONNRESET);
	p.client.fd = -1;
	p.server.fd = fd[0];
	end(&p);
}

static void ends(void **state)
{
	struct pair p = { 0 };
	char byte;

	(void)state;
	for (int announced = 0; announced < 2; announced++) {
		psk(&p.server, ours, TLS_SERVER, NULL);
		psk(&p.client, ours, TLS_CLIENT, NULL);
		handshake(&p, NULL);
		assert_int_equal(tls_send(p.client.s, "a", 1), 1);
		if (announced)
			assert_int_equal(tls_end(p.client.s), 0);
		shutdown(p.client.fd, SHUT_WR);
		assert_int_equal(tls_recv(p.server.s, &byte, 1), 1);
		assert_int_equal(tls_recv(p.server.s, &byte, 1),
				 announced ? 0 : -ECONNRESET);
		end(&p);
	}
}

/* Bytes that were changed on the way are never delivered. */
static void tampering(void **state)
{
	struct pair p = { 0 };
	unsigned char record[256];
	ssize_t n;

	(void)state;
	psk(&p.server, ours, TLS_SERVER, NULL);
	psk(&p.client, ours, TLS_CLIENT, NULL);
	handshake(&p, NULL);
	assert_int_equal(tls_send(p.client.s, "abc", 3), 3);
	n = recv(p.server.fd, record, sizeof(record), MSG_DONTWAIT);
	assert_true(n > 8);
	record[n - 1] ^= 1;
	assert_int_equal(send(p.client.fd, record, (size_t)n, 0), n);
	assert_int_equal(tls_recv(p.server.s, record, sizeof(record)),
			 -EPROTO);
	end(&p);
}

static void expect_no_creds(const char *file, const char *text, mode_t mode,
			    int code, const char *words)
{
	struct tls_creds *creds = NULL;
	struct tide_error err = { 0 };
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", none, file);
	f = fopen(path, "w");
	fputs(text, f);
	fclose(f);
	chmod(path, mode);
	assert_int_equal(tls_creds_psk(&creds, path, NULL, TLS_SERVER, &err),
			 code);
	assert_null(creds);
	if (!strstr(err.text, words) || !strstr(err.text, path))
		fail_msg("%s", err.text);
	unlink(path);
}

static void files_that_are_no_good(void **state)
{
	struct tls_creds *creds = NULL;
	struct tide_error err = { 0 };
	char path[128];

	(void)state;
	expect_no_creds("a", "", 0600, -EINVAL, "no key in it");
	expect_no_creds("b", "alice:123\n", 0600, -EINVAL, "line 1");
	expect_no_creds("c", "# keys\nalice\n", 0600, -EINVAL, "line 2");
	expect_no_creds("d", "a:00112233445566778899aabbccddeeff\n", 0644,
			-EPERM, "chmod");
	assert_int_equal(tls_creds_x509(&creds, "/nonexistent", TLS_CLIENT,
					false, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/nonexistent/ca-cert.pem"));
	/* A server has to have a certificate. */
	assert_int_equal(tls_creds_x509(&creds, none, TLS_SERVER, true, &err),
			 -ENOENT);
	snprintf(path, sizeof(path), "%s/keys.psk", ours);
	assert_int_equal(tls_creds_psk(&creds, path, "carol", TLS_CLIENT, &err),
			 -ENOKEY);
	assert_non_null(strstr(err.text, "carol"));
}

static int make_files(void **state)
{
	char command[256];

	(void)state;
	if (!mkdtemp(ours))
		return -1;
	snprintf(theirs, sizeof(theirs), "%s/theirs", ours);
	snprintf(none, sizeof(none), "%s/none", ours);
	snprintf(command, sizeof(command), "mkdir %s && cp %s/ca-cert.pem %s",
		 none, ours, none);
	return tls_files_make(ours) || tls_files_make(theirs) ||
	       system(command);
}

static int drop_files(void **state)
{
	char command[256];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", ours);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(certificates),
		cmocka_unit_test(a_client_of_another_ca),
		cmocka_unit_test(a_client_without_certificate),
		cmocka_unit_test(a_server_of_another_name),
		cmocka_unit_test(keys),
		cmocka_unit_test(a_wrong_key),
		cmocka_unit_test(nothing_in_common),
		cmocka_unit_test(garbage),
		cmocka_unit_test(ends),
		cmocka_unit_test(tampering),
		cmocka_unit_test(files_that_are_no_good),
	};

	return cmocka_run_group_tests_name("tls", tests, make_files,
					   drop_files);
}
