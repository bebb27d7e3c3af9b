/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tidemark backup mount: points of a backup, served read-only over NBD until a
 * signal comes. The folder is locked for as long: nothing is pruned under it.
 */
#include <pthread.h>
#include <signal.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/backup/show.h"
#include "control/listener.h"
#include "disk/disk.h"
#include "nbd/server.h"

static const struct cli_option options[] = {
	OPT_BACKUP_POINT,
	{ "all", NULL, CLI_FLAG, NULL,
	  "every point, each an export that is called by its number" },
	{ "socket", "PATH", CLI_TEXT, NULL, "listen on a Unix socket at PATH" },
	{ 0 },
};

struct mount {
	const struct cli_parsed *p;
	struct backup_folder folder;
	struct nbd_server *server;
	struct tide_disk **disks;
	size_t count;
	struct control_listener listener;
	bool listens;
};

static int failed(const struct mount *m, const struct tide_error *err)
{
	return backup_failed(m->p->command, err);
}

static int add_point(struct mount *m, const struct backup_point *point)
{
	const struct tide_disk_options o = { .format = "qcow2" };
	char *path = folder_file(&m->folder, point->image), name[32];
	struct tide_error err;
	int ret;

	if (!path)
		return cli_fail(m->p->command, CLI_FAILED, "no memory");
	ret = tide_disk_open(path, &o, &m->disks[m->count], &err);
	free(path);
	if (ret)
		return failed(m, &err);
	snprintf(name, sizeof(name), "%" PRIu64, point->number);
	ret = nbd_exports_add(nbd_server_exports(m->server), name,
			      m->disks[m->count++], true, NULL, &err);
	return ret ? failed(m, &err) : CLI_OK;
}

static int add_points(struct mount *m)
{
	const struct backup_point *one;
	int code = CLI_OK;

	m->disks = calloc(m->folder.count + 1, sizeof(struct tide_disk *));
	if (!m->disks)
		return cli_fail(m->p->command, CLI_FAILED, "no memory");
	if (!cli_flag(m->p, "all")) {
		one = backup_point_of(m->p, &m->folder, &code);
		return one ? add_point(m, one) : code;
	}
	for (size_t i = 0; i < m->folder.count && code == CLI_OK; i++)
		code = add_point(m, &m->folder.points[i]);
	return code;
}

static int start(struct mount *m)
{
	const struct nbd_server_options o = { 0 };
	struct tide_error err;
	int code;

	if (nbd_server_create(&o, &m->server, &err))
		return failed(m, &err);
	code = add_points(m);
	if (code != CLI_OK)
		return code;
	if (control_listen(cli_text(m->p, "socket"), false, &m->listener,
			   &err))
		return failed(m, &err);
	m->listens = true;
	if (nbd_server_listen(m->server, dup(m->listener.fd), &err) ||
	    nbd_server_start(m->server, &err))
		return failed(m, &err);
	return CLI_OK;
}

static void end(struct mount *m)
{
	if (m->listens)
		control_listener_close(&m->listener);
	if (m->server)
		nbd_server_stop(m->server);
	nbd_server_destroy(m->server);
	for (size_t i = 0; i < m->count; i++)
		tide_disk_close(m->disks[i], NULL);
	free(m->disks);
	folder_close(&m->folder);
}

static int run(const struct cli_parsed *p)
{
	struct mount m = { .p = p };
	struct tide_error err;
	sigset_t ends;
	int code, number;

	if (p->argc != 1 || !cli_text(p, "socket"))
		return cli_fail(p->command, CLI_USAGE, "what, and where? Give "
				"FOLDER --socket=PATH");
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	pthread_sigmask(SIG_BLOCK, &ends, NULL);
	if (folder_open(p->argv[0], false, &m.folder, &err))
		return backup_failed(p->command, &err);
	code = start(&m);
	if (code == CLI_OK) {
		printf("listening on unix:%s\n", cli_text(p, "socket"));
		fflush(stdout);
		sigwait(&ends, &number);
	}
	end(&m);
	return code;
}

const struct cli_command cli_backup_mount = {
	.name = "backup mount",
	.summary = "Serve points of a backup over NBD, for reading",
	.words = "FOLDER",
	.options = options,
	.run = run,
};
