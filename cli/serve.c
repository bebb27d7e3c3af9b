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
#include <time.h>
#include <unistd.h>

#include "cli/options.h"
#include "cli/serve_access.h"
#include "cli/serve_http.h"
#include "cli/serve_log.h"
#include "cli/serve_metrics.h"
#include "cli/serve_hold.h"
#include "cli/serve_open.h"
#include "cli/serve_sockets.h"
#include "base/atomic.h"
#include "control/listener.h"
#include "control/server.h"
#include "disk/disk.h"
#include "nbd/server.h"
#include "nbd/stream_tls.h"

#define MAX_SOCKETS 16
#define MAX_METRIC_SOCKETS 8

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
	{ "export-uid", "NAME:LIST", CLI_TEXTS, NULL,
	  "show a disk only to these users of those that may connect; "
	  "may be repeated" },
	{ "export-identity", "NAME:WHO", CLI_TEXTS, NULL,
	  "show a disk only to that certificate or key; may be repeated" },
	{ "control", "PATH", CLI_TEXT, NULL,
	  "serve a control socket there: tidemark ctl, checkpoint, bitmap" },
	{ "metrics", "ADDRESS", CLI_TEXT, NULL,
	  "serve figures to Prometheus on unix:PATH, PATH or tcp:HOST:PORT" },
	{ "durability", "MODE", CLI_TEXT, "process",
	  "process: no mark is lost to kill -9; power: nor to a power cut; "
	  "none: do not track changes" },
	{ "granularity", "SIZE", CLI_SIZE, "64K",
	  "of the blocks that a new store tracks, a power of two",
	  512, UINT64_C(1) << 31 },
	{ "region", "SIZE", CLI_SIZE, "2M",
	  "of an intent, a power of two (durability power)",
	  UINT64_C(1) << 16, UINT64_C(1) << 30 },
	{ "store", "PATH", CLI_TEXT, NULL,
	  "where changes are kept: a folder, or the file of one disk; usually "
	  "DISK.tidemark" },
	{ "live-folder", "FOLDER", CLI_TEXT, NULL,
	  "in a tmpfs, for the live bits; usually in /run or /dev/shm" },
	{ "scratch-folder", "FOLDER", CLI_TEXT, NULL,
	  "where instants keep what the guest overwrites; usually by the disk" },
	{ "scratch-size", "SIZE", CLI_SIZE, "16G",
	  "how much of it; an instant that needs more dies, the guest goes on",
	  1 << 20, UINT64_C(1) << 60 },
	{ "read-only", NULL, CLI_FLAG, NULL,
	  "open the disks for reading, and refuse changes" },
	{ "format", "NAME", CLI_TEXT, NULL,
	  "raw or qcow2, for every disk; else the file's first bytes tell" },
	{ "allow-folder", "FOLDER", CLI_TEXT, NULL,
	  "where backing and data files may lie, besides an image's own" },
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
	{ "log-file", "PATH", CLI_TEXT, NULL,
	  "append the log there, not to standard error; SIGHUP reopens it" },
	{ "log-json", NULL, CLI_FLAG, NULL,
	  "log an object of JSON a line, not key=value" },
	{ "quiet", NULL, CLI_FLAG, NULL, "log nothing about clients, of the server only what is wrong" },
	{ 0 },
};

struct serve {
	const struct cli_parsed *p;
	struct nbd_server *server;
	struct serve_disk list[SERVE_MAX_DISKS];
	struct serve_disks disks;
	struct serve_users users;
	struct tls_creds *creds;
	struct nbd_security security;
	struct serve_log *log;
	bool ready; /* standard error may be a pipe that nobody reads now */
	struct serve_http *http; /* NULL: nobody asked for metrics */
	struct serve_metrics metrics;
	struct control_listener unix_sockets[3]; /* made by us */
	int unix_count;
	int sockets;
	char names[MAX_SOCKETS][128]; /* of the sockets */
};

static void say(struct serve *s, enum serve_level level, const char *event,
		const char *export, const char *text)
{
	if (level > SERVE_INFO || !cli_flag(s->p, "quiet"))
		serve_log(s->log, &(struct serve_line){
			.level = level, .event = event, .export = export,
			.text = text });
}

static int failed(struct serve *s, const struct tide_error *err)
{
	if (s->ready)
		say(s, SERVE_ERROR, "failed", NULL, err->text);
	else
		cli_fail(s->p->command, CLI_FAILED, "%s", err->text);
	return CLI_FAILED;
}

static void log_event(void *opaque, const struct nbd_event *e)
{
	struct serve *s = opaque;

	serve_log(s->log, &(struct serve_line){
		.level = e->warning ? SERVE_WARNING : SERVE_INFO,
		.event = e->what, .export = e->export, .client = e->client,
		.has_uid = e->peer.has_uid, .uid = e->peer.uid,
		.identity = e->peer.identity, .text = e->text });
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
		.log = cli_flag(p, "quiet") ? NULL : log_event,
		.log_opaque = s,
	};
	struct tide_error err;
	int code;

	code = serve_users_parse(&s->users, p);
	if (code)
		return code;
	o.security = s->creds ? &s->security : NULL;
	o.uids = s->users.uids;
	o.uid_count = s->users.count;
	o.any_uid = s->users.any;
	return nbd_server_create(&o, &s->server, &err) ? failed(s, &err) : 0;
}

static int listen_on(struct serve *s, int fd)
{
	struct tide_error err;

	if (s->sockets < MAX_SOCKETS)
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
	int fds[MAX_SOCKETS], code = 0, n;
	struct tide_error err;

	n = serve_listen_tcp(where, s->creds || cli_flag(s->p, "plain")
					    ? NULL : "disks",
			     fds, MAX_SOCKETS, &err);
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

static int metrics_unix(struct serve *s, const char *path, int *fds)
{
	struct control_listener *l = &s->unix_sockets[s->unix_count];
	struct tide_error err;

	/* For its owner and root: figures tell what a guest does. */
	if (control_listen(path, false, l, &err))
		return -failed(s, &err);
	s->unix_count++;
	fds[0] = dup(l->fd);
	return 1;
}

static int metrics_tcp(struct serve *s, const char *where, int *fds)
{
	struct tide_error err;
	int n = serve_listen_tcp(where, cli_flag(s->p, "plain") ? NULL
								: "figures",
				 fds, MAX_METRIC_SOCKETS, &err);

	return n < 0 ? -failed(s, &err) : n;
}

/* The disks are open, the server has started or is about to. */
static int serve_figures(struct serve *s)
{
	const char *where = cli_text(s->p, "metrics");
	const struct serve_http_page page = {
		"/metrics", SERVE_METRICS_TYPE, serve_metrics_page, &s->metrics
	};
	int fds[MAX_METRIC_SOCKETS], n;
	struct tide_error err;
	char name[128];

	if (!where)
		return 0;
	n = !strncmp(where, "tcp:", 4) ? metrics_tcp(s, where + 4, fds) :
	    !strncmp(where, "unix:", 5) ? metrics_unix(s, where + 5, fds) :
					  metrics_unix(s, where, fds);
	if (n < 0)
		return -n;
	s->metrics = (struct serve_metrics){
		.server = s->server, .disks = &s->disks,
		.log = s->log, .started_s = (uint64_t)time(NULL),
	};
	serve_name_of(fds[0], name, sizeof(name));
	printf("metrics on %s\n", name);
	return serve_http_start(&s->http, fds, (size_t)n, &page, &err)
		       ? failed(s, &err) : 0;
}

static int start_log(struct serve *s)
{
	struct tide_error err;

	return serve_log_start(&s->log, cli_text(s->p, "log-file"),
			       cli_flag(s->p, "log-json"), &err)
		       ? failed(s, &err) : 0;
}

static int open_all(struct serve *s)
{
	struct serve_opening opening;
	int code = start_log(s); /* before any other thread: SIGHUP is its */

	if (!code)
		code = load_creds(s);
	if (!code)
		code = create_server(s);
	s->disks.server = s->server;
	if (!code)
		s->disks.instants = (struct serve_instants){
			.exports = nbd_server_exports(s->server),
			.folder = cli_text(s->p, "scratch-folder"),
			.bound_bytes = cli_number(s->p, "scratch-size"),
		};
	opening = (struct serve_opening){ s->p, &s->disks, s->log };
	for (int i = 0; i < s->p->argc && !code; i++)
		code = serve_open(&opening, s->p->argv[i]);
	if (!code)
		serve_offer_all(&s->disks);
	if (!code)
		code = serve_access_parse(&s->users, &s->disks, s->p);
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
	serve_http_stop(s->http);
	serve_hold_tick(&s->disks, true);
	if (s->server)
		nbd_server_stop(s->server);
	nbd_server_destroy(s->server);
	tls_creds_destroy(s->creds);
	for (int i = 0; i < s->disks.count; i++) {
		serve_disk_fini(&s->list[i]);
		if (tide_disk_close(s->list[i].disk, &err) && !code)
			code = failed(s, &err);
	}
	serve_log_stop(s->log);
	return code;
}

static void say_ready(void *opaque)
{
	struct serve *s = opaque;

	serve_log_flush(s->log);
	s->ready = true;
	for (int i = 0; i < s->sockets; i++)
		say(s, SERVE_INFO, "listening", NULL, s->names[i]);
	printf("listening on");
	for (int i = 0; i < s->sockets; i++)
		printf(" %s", s->names[i]);
	printf("\n");
	fflush(stdout);
	serve_notify("READY=1");
}

static bool send_part(void *opaque, const json_t *part)
{
	return !control_put(opaque, part);
}

static void attach(void *opaque, int fd)
{
	control_attach(opaque, fd);
}

static json_t *on_request(const struct control_request *r)
{
	const struct serve_client client = { .emit = send_part,
					     .attach = attach,
					     .opaque = r->lines };
	struct serve *s = r->opaque;

	return serve_verb(&s->disks, r->object, &client);
}

static bool is_over(void *opaque)
{
	struct serve *s = opaque;

	serve_hold_tick(&s->disks, false);
	return tide__load_seqcst(&s->disks.stop);
}

/* The names of the verbs are theirs; all of them go the same way. */
static int serve_control(struct serve *s, const char *path,
			 struct tide_error *err)
{
	struct control_verb verbs[64] = { 0 };

	for (size_t i = 0; i < 63 && serve_verb_name(i); i++)
		verbs[i] = (struct control_verb){ serve_verb_name(i),
						  on_request };
	return control_serve(&(struct control_options){
		.path = path, .verbs = verbs, .opaque = s, .ready = say_ready,
		.over = is_over }, err);
}

/*
 * Threads of the server are started with the signals blocked: ours gets them.
 */
static int serve_until_told(struct serve *s)
{
	const char *control = cli_text(s->p, "control");
	struct tide_error err;
	sigset_t ends;
	int signal, ret = 0;

	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	pthread_sigmask(SIG_BLOCK, &ends, NULL);
	if (nbd_server_start(s->server, &err))
		return failed(s, &err);
	ret = serve_figures(s);
	if (ret)
		return ret;
	if (control) {
		pthread_sigmask(SIG_UNBLOCK, &ends, NULL);
		ret = serve_control(s, control, &err);
	} else {
		say_ready(s);
		sigwait(&ends, &signal);
	}
	serve_notify("STOPPING=1");
	say(s, SERVE_INFO, "stopping", NULL, NULL);
	return ret ? failed(s, &err) : 0;
}

static int run(const struct cli_parsed *parsed)
{
	static struct serve s; /* large */
	int code;

	s.p = parsed;
	s.disks.list = s.list;
	pthread_mutex_init(&s.disks.instants_lock, NULL);
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
