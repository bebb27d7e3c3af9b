/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/changes.h"

#include <string.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/serve_track.h"
#include "cli/wire.h"

struct parts {
	void (*call)(void *opaque, const json_t *part);
	void *opaque;
};

static bool take_part(void *opaque, const json_t *part)
{
	const struct parts *to = opaque;

	if (to->call)
		to->call(to->opaque, part);
	return true;
}

/* Of a disk here, as its only one. */
static json_t *ask_disk(const struct cli_parsed *p, const json_t *request,
			struct parts *to, int *code)
{
	const struct tide_disk_options o = { .writable = true };
	const struct cbt_options tracking = {
		.store_path = cli_text(p, "store"),
		.live_folder = cli_text(p, "live-folder"),
	};
	const char *path = cli_text(p, "disk");
	struct serve_disk d = { .name = "disk" };
	struct serve_disks disks = {
		.list = &d, .count = 1,
		.instants_lock = PTHREAD_MUTEX_INITIALIZER,
	};
	const struct serve_client client = { .emit = take_part, .opaque = to };
	struct tide_error err;
	json_t *answer;

	if (tide_disk_open(path, &o, &d.disk, &err)) {
		*code = cli_fail(p->command, CLI_FAILED, "%s", err.text);
		return NULL;
	}
	pthread_mutex_init(&d.lock, NULL);
	if (serve_track(&d, &tracking))
		*code = cli_fail(p->command, CLI_FAILED, "%s", d.untracked);
	else if (*cbt_note(d.cbt))
		fprintf(stderr, "tidemark: %s: %s\n", path, cbt_note(d.cbt));
	if (*d.note)
		fprintf(stderr, "tidemark: %s: %s\n", path, d.note);
	answer = d.cbt ? serve_verb(&disks, request, &client) : NULL;
	serve_disk_fini(&d);
	if (tide_disk_close(d.disk, &err) && answer) {
		*code = cli_fail(p->command, CLI_FAILED, "%s", err.text);
		json_decref(answer);
		return NULL;
	}
	if (!answer && *code == CLI_OK)
		*code = cli_fail(p->command, CLI_FAILED, "no memory");
	return answer;
}

static json_t *ask_server(const struct cli_parsed *p, json_t *request,
			  struct parts *to, int *code)
{
	struct wire_lines lines = { 0 };
	struct tide_error err;
	json_t *answer = NULL;

	lines.fd = client_open(cli_text(p, "control"), &err);
	if (lines.fd < 0) {
		*code = cli_fail(p->command, CLI_FAILED, "%s", err.text);
		return NULL;
	}
	if (!wire_put(lines.fd, request)) {
		answer = wire_get(&lines, -1);
		/* A part is what says "changed" and is not the last. */
		while (answer && json_object_get(answer, "changed")) {
			take_part(to, answer);
			json_decref(answer);
			answer = wire_get(&lines, -1);
		}
	}
	wire_lines_fini(&lines);
	close(lines.fd);
	if (!answer)
		*code = cli_fail(p->command, CLI_FAILED,
				 "%s: the server closed the connection without "
				 "an answer", cli_text(p, "control"));
	return answer;
}

json_t *changes_ask(const struct cli_parsed *p, json_t *request,
		    void (*on_part)(void *opaque, const json_t *part),
		    void *opaque, int *code)
{
	struct parts to = { on_part, opaque };
	json_t *answer = NULL;

	*code = CLI_OK;
	if (!request)
		*code = cli_fail(p->command, CLI_FAILED, "no memory");
	else if (!cli_text(p, "control") == !cli_text(p, "disk"))
		*code = cli_fail(p->command, CLI_USAGE,
				 "whom to ask? Give --control=PATH or "
				 "--disk=DISK");
	else if (cli_text(p, "disk"))
		answer = ask_disk(p, request, &to, code);
	else
		answer = ask_server(p, request, &to, code);
	json_decref(request);
	if (answer && json_object_get(answer, "error")) {
		*code = cli_fail(p->command, CLI_REFUSED, "%s",
				 client_text(answer, "error"));
		json_decref(answer);
		answer = NULL;
	}
	return answer;
}
