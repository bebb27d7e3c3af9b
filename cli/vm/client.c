/* SPDX-License-Identifier: BSD-2-Clause */
/* tidemark vm migrate, status, resume, stop: talk to a VM's control socket. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/json_out.h"
#include "cli/progress.h"
#include "cli/vm/options.h"
#include "cli/vm/secure.h"
#include "cli/wire.h"

static int open_control(const struct cli_parsed *p, struct tide_error *err)
{
	const char *control = cli_text(p, "control");

	if (!control)
		return tide_error_set(err, -EINVAL, "options", TIDE_NO_OFFSET,
				      "--control is needed; see --help");
	return client_open(control, err);
}

static int print_verdict(const struct cli_parsed *p, const json_t *verdict)
{
	bool good = json_is_true(json_object_get(verdict, "verified"));

	int code = CLI_OK;

	if (cli_flag(p, "json")) {
		code = cli_json_answer(verdict, p->command);
	} else {
		printf("%lld pages verified, %lld bad; disk: %lld writes, "
		       "%lld reads, %lld bad\n",
		       client_integer(verdict, "pages"),
		       client_integer(verdict, "bad"),
		       client_integer(verdict, "disk_writes"),
		       client_integer(verdict, "disk_reads"),
		       client_integer(verdict, "disk_bad"));
	}
	return code != CLI_OK ? code : good ? CLI_OK : CLI_UNVERIFIED;
}

/* One request, one answer; printed as it is. */
static int simple(const struct cli_parsed *p, json_t *request)
{
	struct tide_error err;
	int fd = open_control(p, &err), code = CLI_OK;
	json_t *reply;

	if (fd < 0) {
		json_decref(request);
		return cli_fail(p->command,
				fd == -EINVAL ? CLI_USAGE : CLI_FAILED, "%s",
				err.text);
	}
	reply = client_ask(fd, request, -1);
	close(fd);
	if (!reply)
		return cli_fail(p->command, CLI_FAILED,
				"the VM closed the control socket without an "
				"answer");
	if (json_object_get(reply, "error"))
		code = cli_fail(p->command, CLI_REFUSED, "%s",
				client_text(reply, "error"));
	else if (!strcmp(p->command->name, "vm status") &&
		 cli_flag(p, "json"))
		code = cli_json_answer(reply, p->command);
	else if (!strcmp(p->command->name, "vm status"))
		client_print_status(reply);
	else if (!strcmp(p->command->name, "vm verify"))
		code = print_verdict(p, reply);
	json_decref(reply);
	return code;
}

static int run_status(const struct cli_parsed *p)
{
	return simple(p, json_pack("{s:s}", "command", "status"));
}

static int run_verify(const struct cli_parsed *p)
{
	return simple(p, json_pack("{s:s}", "command", "verify"));
}

static int run_stop(const struct cli_parsed *p)
{
	return simple(p, json_pack("{s:s}", "command", "stop"));
}

static int run_resume(const struct cli_parsed *p)
{
	return simple(p, json_pack("{s:s, s:b}", "command", "resume", "force",
				   cli_flag(p, "force")));
}

static void on_round(void *opaque, const json_t *round)
{
	const struct cli_parsed *p = opaque;

	if (!cli_flag(p, "json"))
		progress_round(round);
}

/* What the signal handler shuts; -1 while there is nothing to call off. */
static volatile int migrating_fd = -1;

/*
 * The VM sees our side of the connection end and calls the migration off; its
 * answer still comes.
 */
static void call_off(int number)
{
	(void)number;
	if (migrating_fd >= 0)
		shutdown(migrating_fd, SHUT_WR);
}

static void catch_interrupts(int fd)
{
	struct sigaction act = { .sa_handler = call_off };

	migrating_fd = fd;
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
}

static int code_for(const json_t *result)
{
	const char *outcome = client_text(result, "outcome");

	if (!strcmp(outcome, "moved"))
		return CLI_OK;
	if (!strcmp(outcome, "not-converging"))
		return CLI_NOT_CONVERGING;
	return !strcmp(outcome, "unknown") ? CLI_UNKNOWN : CLI_FAILED;
}

/* A VM that lives has hung up on us, and may have moved the guest. */
static int no_answer(const struct cli_parsed *p)
{
	json_t *request = json_pack("{s:s}", "command", "status");
	json_t *reply = NULL;
	struct tide_error err;
	int fd = open_control(p, &err), code;

	if (fd < 0) {
		json_decref(request);
	} else {
		reply = client_ask(fd, request, -1);
		close(fd);
	}
	if (!reply)
		return cli_fail(p->command, CLI_FAILED,
				"the VM ended during the migration");
	code = cli_fail(p->command, CLI_UNKNOWN,
			"the VM hung up before it answered, as it does on a "
			"client that does not read its reports; it is '%s' "
			"now", client_text(reply, "state"));
	json_decref(reply);
	return code;
}

static int run_migrate(const struct cli_parsed *p)
{
	const char *to = p->argc == 1 ? p->argv[0] : NULL;
	struct tide_error err;
	json_t *result, *request;
	int fd, code, written = CLI_OK;

	if (!to)
		return cli_fail(p->command, CLI_USAGE,
				"one address is needed: unix:PATH or "
				"tcp:HOST:PORT");
	request = client_migrate_request(p, to);
	fd = secure_to_request(p, request, &err);
	if (!fd)
		fd = open_control(p, &err);
	if (fd < 0) {
		json_decref(request);
		return cli_fail(p->command,
				fd == -EINVAL ? CLI_USAGE : CLI_FAILED, "%s",
				err.text);
	}
	catch_interrupts(fd);
	result = client_migrate(fd, request, on_round, (void *)p);
	migrating_fd = -1;
	close(fd);
	if (!result)
		return no_answer(p);
	progress_end();
	code = code_for(result);
	if (cli_flag(p, "json")) {
		written = cli_json_answer(result, p->command);
	} else if (code == CLI_OK) {
		printf("moved: %.1f ms down%s, %.1f MB in %.0f ms\n",
		       client_real(result, "downtime_ms"),
		       json_is_true(json_object_get(result, "target_missed"))
			       ? " (longer than asked)" : "",
		       (double)client_integer(result, "bytes_sent") / 1e6,
		       client_real(result, "total_ms"));
	}
	if (code != CLI_OK)
		cli_fail(p->command, code, "%s: %s",
			 client_text(result, "origin"),
			 client_text(result, "error"));
	json_decref(result);
	return code != CLI_OK ? code : written;
}

static const struct cli_option status_options[] = { OPT_CONTROL, OPT_JSON,
						    OPT_END };
static const struct cli_option stop_options[] = { OPT_CONTROL, OPT_END };
static const struct cli_option resume_options[] = {
	OPT_CONTROL,
	{ "force", NULL, CLI_FLAG, NULL,
	  "run a guest whose migration had no answer; see the manual" },
	OPT_END,
};
static const struct cli_option migrate_options[] = {
	OPT_CONTROL, OPT_MOVE("300"),
	{ "tls", "FOLDER", CLI_TEXT, NULL,
	  "require TLS, with the certificates in FOLDER" },
	{ "tls-name", "NAME", CLI_TEXT, NULL,
	  "whose certificate the receiver's is, or whose key to use" },
	OPT_SECURE, OPT_JSON, OPT_END,
};

const struct cli_command cli_vm_status = {
	.name = "vm status",
	.summary = "Show what a VM does, and how tracking stalled its vCPUs",
	.options = status_options,
	.run = run_status,
};

const struct cli_command cli_vm_verify = {
	.name = "vm verify",
	.summary = "Let the guest verify every page that it wrote",
	.options = status_options,
	.run = run_verify,
};

const struct cli_command cli_vm_stop = {
	.name = "vm stop",
	.summary = "End a VM",
	.options = stop_options,
	.run = run_stop,
};

const struct cli_command cli_vm_resume = {
	.name = "vm resume",
	.summary = "Run a guest that an unanswered hand-over left paused",
	.options = resume_options,
	.run = run_resume,
};

const struct cli_command cli_vm_migrate = {
	.name = "vm migrate",
	.summary = "Move a running guest to another VMM",
	.words = "ADDRESS",
	.options = migrate_options,
	.run = run_migrate,
};
