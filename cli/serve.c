/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tidemark serve: disks over NBD.
 *
 * Opens every disk first, then the sockets, and says "listening" only when a
 * client would be answered. A signal ends it: nobody new, what is under way is
 * finished and answered, the disks are flushed and closed; its exit status
 * says whether that went well.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/options.h"
#include "cli/serve_sockets.h"
#include "control/listener.h"
#include "disk/disk.h"
#include "nbd/server.h"
#include "nbd/stream_tls.h"

#define MOST_DISKS 256
#define MOST_UIDS 64
#define MOST_SOCKETS 16

static const struct cli_option options[] = {
	{ "socket", "PATH", CLI_TEXT, NULL,
	  "listen on a Unix socket at PATH" },
	{ "listen", "ADDRESS", CLI_TEXT, NULL,
	  "listen on tcp:HOST:PORT or unix:PATH" },
	{ "tls", "FOLDER", CLI_TEXT, NULL,
	  "require TLS, with the certificates in FOLDER" },
	{ "tls-verify", NULL, CLI_FLAG, NULL,
	  "and a certificate of each client, signed by the same CA" },
	{ "tls-psk", "FILE", CLI_TEXT, NULL,
	  "require TLS, with the pre-shared keys in FILE" },
	{ "plain", NULL, CLI_FLAG, NULL,
	  "allow --listen on a network without TLS" },
	{ "allow-uid", "LIST", CLI_TEXT, NULL,
	  "let these users, or 'any', connect to Unix sockets" },
	{ "read-only", NULL, CLI_FLAG, NULL,
	  "open the disks for reading, and refuse changes" },
	{ "format", "NAME", CLI_TEXT, NULL,
	  "raw or qcow2, for every disk; else the file's first bytes tell" },
	{ "direct", NULL, CLI_FLAG, NULL,
	  "go around the page cache (O_DIRECT)" },
	{ "threads", "N", CLI_COUNT, NULL,
	  "event loops; usually one a core", 1, 64 },
	{ "connections", "N", CLI_COUNT, "1024",
	  "refuse clients over this number", 1, 1000000 },
	{ "in-flight", "SIZE", CLI_SIZE, "512M",
	  "memory for the data of all requests together",
	  UINT64_C(64) << 20, UINT64_C(1) << 40 },
	{ "in-flight-each", "SIZE", CLI_SIZE, "64M",
	  "and for those of one connection",
	  UINT64_C(1) << 20, UINT64_C(1) << 40 },
	{ "handshake-timeout", "MS", CLI_MILLISECONDS, "10000",
	  "how long a client may take until it names its disk", 100, 0 },
	{ "drain-timeout", "MS", CLI_MILLISECONDS, "10000",
	  "how long it may take for its last answers at the end", 100, 0 },
	{ "quiet", NULL, CLI_FLAG, NULL, "log nothing about clients" },
	{ 0 },
};

struct serve {
	const struct cli_parsed *p;
	struct nbd_server *server;
	struct tide_disk *disks[MOST_DISKS];
	int disk_count;
	uint32_t uids[MOST_UIDS];
	size_t uid_count;
	struct tls_creds *creds;
	struct nbd_security security;
	struct control_listener unix_sockets[2]; /* made by us */
	int unix_count;
	int sockets;
	char names[MOST_SOCKETS][128]; /* of the sockets */
};

static int failed(const struct serve *s, const struct tide_error *err)
{
	return cli_fail(s->p->command, CLI_FAILED, "%s", err->text);
}

static void log_line(void *opaque, const char *line)
{
	(void)opaque;
	fprintf(stderr, "tidemark serve: %s\n", line);
}

/* "1000,64055" or "any"; false: it is neither. */
static bool parse_uids(struct serve *s, const char *text, bool *any)
{
	*any = text && !strcmp(text, "any");
	if (!text || *any)
		return true;
	while (*text) {
		unsigned long long uid;
		char *end;

		errno = 0;
		uid = strtoull(text, &end, 10);
		if (end == text || *text == '-' || errno || uid > UINT32_MAX ||
		    s->uid_count == MOST_UIDS || (*end && *end != ','))
			return false;
		s->uids[s->uid_count++] = (uint32_t)uid;
		text = *end ? end + 1 : end;
	}
	return s->uid_count > 0;
}

/* Into s->creds; none is fine. */
static int load_creds(struct serve *s)
{
	const char *folder = cli_text(s->p, "tls");
	const char *file = cli_text(s->p, "tls-psk");
	bool verify = cli_flag(s->p, "tls-verify");
	struct tide_error err;
	int ret = 0;

	if ((folder && file) || (verify && !folder))
		return cli_fail(s->p->command, CLI_USAGE,
				"either --tls, with or without --tls-verify, "
				"or --tls-psk");
	if (folder)
		ret = tls_creds_x509(&s->creds, folder, TLS_SERVER, verify,
				     &err);
	else if (file)
		ret = tls_creds_psk(&s->creds, file, NULL, TLS_SERVER, &err);
	if (ret)
		return failed(s, &err);
	if (s->creds)
		nbd_security_tls(&s->security, s->creds);
	return 0;
}

static int create_server(struct serve *s)
{
	const struct cli_parsed *p = s->p;
	struct nbd_server_options o = {
		.threads = (uint32_t)cli_number(p, "threads"),
		.limits = {
			.connections = (uint32_t)cli_number(p, "connections"),
			.total_bytes = cli_number(p, "in-flight"),
			.connection_bytes = cli_number(p, "in-flight-each"),
			.handshake_ms =
				(uint32_t)cli_number(p, "handshake-timeout"),
			.drain_ms = (uint32_t)cli_number(p, "drain-timeout"),
		},
		.log = cli_flag(p, "quiet") ? NULL : log_line,
	};
	struct tide_error err;

	if (!parse_uids(s, cli_text(p, "allow-uid"), &o.any_uid))
		return cli_fail(p->command, CLI_USAGE,
				"--allow-uid=%s: it takes numbers of users, at "
				"most %d, with commas between, or 'any'",
				cli_text(p, "allow-uid"), MOST_UIDS);
	o.security = s->creds ? &s->security : NULL;
	o.uids = s->uids;
	o.uid_count = s->uid_count;
	return nbd_server_create(&o, &s->server, &err) ? failed(s, &err) : 0;
}

/*
 * NAME=DISK; without a name, or with a path before the sign, the file's. NULL:
 * the name is longer than a file's can be.
 */
static const char *split_name(const char *word, char name[256])
{
	const char *sign = strchr(word, '='), *slash = strchr(word, '/');
	const char *path = word, *from;
	size_t length;

	if (sign && (!slash || sign < slash)) {
		path = sign + 1;
		from = word;
		length = (size_t)(sign - word);
	} else {
		from = strrchr(word, '/');
		from = from ? from + 1 : word;
		length = strlen(from);
	}
	if (length > 255)
		return NULL;
	memcpy(name, from, length);
	name[length] = 0;
	return path;
}

static int add_disk(struct serve *s, const char *word)
{
	const struct tide_disk_options o = {
		.format = cli_text(s->p, "format"),
		.writable = !cli_flag(s->p, "read-only"),
		.direct = cli_flag(s->p, "direct"),
	};
	struct tide_disk **disk = &s->disks[s->disk_count];
	struct tide_error err;
	char name[256];
	const char *path = split_name(word, name);

	if (!path)
		return cli_fail(s->p->command, CLI_USAGE,
				"%.40s...: a name has at most 255 bytes", word);
	if (s->disk_count == MOST_DISKS)
		return cli_fail(s->p->command, CLI_USAGE,
				"at most %d disks at once", MOST_DISKS);
	if (tide_disk_open(path, &o, disk, &err))
		return failed(s, &err);
	s->disk_count++;
	if (!o.format && o.writable && !strcmp((*disk)->ops->name, "file") &&
	    !cli_flag(s->p, "quiet"))
		fprintf(stderr, "tidemark serve: %s is raw by its first bytes, "
			"which a guest may write: name the --format\n", name);
	if (nbd_exports_add(nbd_server_exports(s->server), name, *disk,
			    !o.writable, NULL, &err))
		return failed(s, &err);
	return 0;
}

static int listen_on(struct serve *s, int fd)
{
	struct tide_error err;

	if (s->sockets < MOST_SOCKETS)
		serve_name_of(fd, s->names[s->sockets],
			      sizeof(s->names[s->sockets]));
	if (nbd_server_listen(s->server, fd, &err))
		return failed(s, &err);
	s->sockets++;
	return 0;
}

static int listen_unix(struct serve *s, const char *path)
{
	struct control_listener *l = &s->unix_sockets[s->unix_count];
	struct tide_error err;

	if (control_listen(path, cli_text(s->p, "allow-uid"), l, &err))
		return failed(s, &err);
	s->unix_count++;
	return listen_on(s, dup(l->fd)); /* the server closes its own */
}

static int listen_tcp(struct serve *s, const char *where)
{
	int fds[MOST_SOCKETS], code = 0, n;
	struct tide_error err;

	n = serve_listen_tcp(where, s->creds || cli_flag(s->p, "plain"), fds, MOST_SOCKETS,
			     &err);
	if (n < 0)
		return failed(s, &err);
	for (int i = 0; i < n; i++)
		if (code)
			close(fds[i]);
		else
			code = listen_on(s, fds[i]);
	return code;
}

static int listen_all(struct serve *s)
{
	const char *path = cli_text(s->p, "socket");
	const char *where = cli_text(s->p, "listen");
	int code = 0;

	for (int n = serve_activated(), fd = 3; fd < 3 + n && !code; fd++)
		code = listen_on(s, fd);
	if (!code && path)
		code = listen_unix(s, path);
	if (code || !where)
		return code;
	if (!strncmp(where, "unix:", 5))
		return listen_unix(s, where + 5);
	if (!strncmp(where, "tcp:", 4))
		return listen_tcp(s, where + 4);
	return cli_fail(s->p->command, CLI_USAGE,
			"--listen=%s: write tcp:HOST:PORT or unix:PATH", where);
}

static int open_all(struct serve *s)
{
	int code = load_creds(s);

	if (!code)
		code = create_server(s);
	for (int i = 0; i < s->p->argc && !code; i++)
		code = add_disk(s, s->p->argv[i]);
	if (!code)
		code = listen_all(s);
	if (!code && !s->sockets)
		code = cli_fail(s->p->command, CLI_USAGE,
				"where? Give --socket=PATH or --listen=ADDRESS");
	return code;
}

static int close_all(struct serve *s, int code)
{
	struct tide_error err;

	/* First: nobody shall wait on a socket that is not accepted on. */
	for (int i = 0; i < s->unix_count; i++)
		control_listener_close(&s->unix_sockets[i]);
	if (s->server)
		nbd_server_stop(s->server);
	nbd_server_destroy(s->server);
	tls_creds_destroy(s->creds);
	for (int i = 0; i < s->disk_count; i++)
		if (tide_disk_close(s->disks[i], &err) && !code)
			code = failed(s, &err);
	return code;
}

static int serve_until_told(struct serve *s)
{
	struct tide_error err;
	sigset_t ends;
	int signal;

	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	pthread_sigmask(SIG_BLOCK, &ends, NULL);
	if (nbd_server_start(s->server, &err))
		return failed(s, &err);
	printf("listening on");
	for (int i = 0; i < s->sockets; i++)
		printf(" %s", s->names[i]);
	printf("\n");
	fflush(stdout);
	serve_notify("READY=1");
	sigwait(&ends, &signal);
	serve_notify("STOPPING=1");
	return 0;
}

static int run(const struct cli_parsed *parsed)
{
	struct serve s = { .p = parsed };
	int code;

	if (!parsed->argc)
		return cli_fail(parsed->command, CLI_USAGE,
				"which disk? Give [NAME=]DISK");
	code = open_all(&s);
	if (!code)
		code = serve_until_told(&s);
	return close_all(&s, code);
}

const struct cli_command cli_serve = {
	.name = "serve",
	.summary = "Serve disks to hypervisors and backup tools over NBD",
	.words = "[NAME=]DISK...",
	.options = options,
	.run = run,
};
