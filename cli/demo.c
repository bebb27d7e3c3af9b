/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tidemark demo: the main job in one line.
 *
 * It starts a guest in one process (vm run) and a receiver in another (vm
 * receive), migrates while the guest writes, lets the guest verify itself at
 * the far end, and compares hashes of the RAM as it was handed over. All of it
 * through the control sockets that an operator would use. The processes die
 * with this one, whatever ends it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/json_out.h"
#include "cli/progress.h"
#include "cli/vm/options.h"
#include "cli/wire.h"

#define DISK_BYTES (16 << 20)
#define WAIT_MS 15000
#define LINE_BYTES 1024
#define ARGS 32

struct demo {
	const struct cli_parsed *p;
	struct vm_config config;
	char dir[64];
	char near_control[96], far_control[96], disk[96];
	char to[160];		/* where the receiver listens */
	pid_t near, far;
	json_t *rounds;
	bool lost;		/* a round could not be kept */
	bool json;
};

/* What the signal handler ends; -1 when there is none. */
static volatile pid_t children[2] = { -1, -1 };

static void on_signal(int number)
{
	for (int i = 0; i < 2; i++)
		if (children[i] > 0)
			kill(children[i], SIGKILL);
	/* Now every wait below ends, and the folder is removed. */
	(void)number;
}

static void say(const struct demo *d, const char *text)
{
	if (!d->json) {
		printf("%s\n", text);
		fflush(stdout);
	}
}

static pid_t spawn(char *const argv[], int out)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (out >= 0)
		dup2(out, STDOUT_FILENO);
	execv("/proc/self/exe", argv);
	_exit(127);
}

/* A child's command line; its texts stand one behind the other. */
struct line {
	char *argv[ARGS];
	unsigned int count;
	char text[LINE_BYTES];
	size_t used;
	bool full;
};

static void add(struct line *l, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static void add(struct line *l, const char *format, ...)
{
	size_t room = sizeof(l->text) - l->used;
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(l->text + l->used, room, format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= room || l->count + 1 >= ARGS) {
		l->full = true;
		return;
	}
	l->argv[l->count++] = l->text + l->used;
	l->used += (size_t)n + 1;
}

static void add_host(const struct demo *d, struct line *l)
{
	add(l, "--accel=%s",
	    d->config.accel == VM_ACCEL_KVM ? "kvm" : "process");
	add(l, "--source=%s", tide_source_kind_name(d->config.source));
	if (d->disk[0])
		add(l, "--disk=%s", d->disk);
	if (d->config.disk_format)
		add(l, "--disk-format=%s", d->config.disk_format);
	if (d->config.disk_folder)
		add(l, "--allow-folder=%s", d->config.disk_folder);
}

static pid_t start_near(const struct demo *d)
{
	static const char *const passed[] = { "memory", "slots", "vcpus",
					      "pattern", "rate", "footprint",
					      "seed" };
	struct line l = { .argv = { "tidemark", "vm", "run",
				    "--serial=/dev/null" }, .count = 4 };

	add(&l, "--control=%s", d->near_control);
	add_host(d, &l);
	for (unsigned int i = 0; i < sizeof(passed) / sizeof(*passed); i++)
		add(&l, "--%s=%s", passed[i], cli_text(d->p, passed[i]));
	if (cli_flag(d->p, "hole"))
		add(&l, "--hole");
	return l.full ? -1 : spawn(l.argv, STDERR_FILENO);
}

/* Starts the receiver and reads from it where it listens. */
static pid_t start_far(struct demo *d)
{
	struct line l = { .argv = { "tidemark", "vm", "receive", "--hash",
				    "--once" }, .count = 5 };
	char line[160] = "";
	int out[2];
	pid_t pid;
	FILE *f;

	if (pipe2(out, O_CLOEXEC))
		return -1;
	if (cli_flag(d->p, "tcp"))
		add(&l, "--listen=tcp:127.0.0.1:0");
	else
		add(&l, "--listen=unix:%s/wire", d->dir);
	add(&l, "--control=%s", d->far_control);
	add(&l, "--stall-timeout=%s", cli_text(d->p, "stall-timeout"));
	add_host(d, &l);
	pid = l.full ? -1 : spawn(l.argv, out[1]);
	close(out[1]);
	f = fdopen(out[0], "r");
	if (f && fgets(line, sizeof(line), f) &&
	    !strncmp(line, "listening on ", 13)) {
		line[strcspn(line, "\n")] = 0;
		snprintf(d->to, sizeof(d->to), "%s", line + 13);
	}
	if (f)
		fclose(f);
	return pid;
}

/* Connect to a control socket that may not be there yet. */
static int open_soon(const char *path, pid_t pid, struct tide_error *err)
{
	const struct timespec pause = { 0, 5000000 };

	for (int waited = 0; waited < WAIT_MS; waited += 5) {
		int fd = client_open(path, err);

		if (fd >= 0)
			return fd;
		if (waitpid(pid, NULL, WNOHANG) == pid)
			return tide_error_set(err, -ECHILD, "demo",
					      TIDE_NO_OFFSET, "a process of "
					      "the demo ended; its reason is "
					      "above");
		nanosleep(&pause, NULL);
	}
	return tide_error_set(err, -ETIMEDOUT, "demo", TIDE_NO_OFFSET,
			      "%s did not come up", path);
}

static void on_round(void *opaque, const json_t *round)
{
	struct demo *d = opaque;

	if (json_is_true(json_object_get(round, "finished")) &&
	    json_array_append(d->rounds, (json_t *)round))
		d->lost = true;
	if (!d->json)
		progress_round(round);
}

static json_t *ask(int fd, const char *command)
{
	return client_ask(fd, json_pack("{s:s}", "command", command), 120000);
}

static bool is_true(const json_t *object, const char *name)
{
	return json_is_true(json_object_get(object, name));
}

static double hash_ms(const json_t *far)
{
	return (double)client_integer(far, "hash_ns") / 1e6;
}

static int report_json(const struct demo *d, const json_t *result,
		       const json_t *verdict, const json_t *near,
		       const json_t *far, bool verified)
{
	struct cli_json j;

	cli_json_begin(&j, stdout);
	cli_json_object(&j, NULL);
	cli_json_text(&j, "accel",
		      d->config.accel == VM_ACCEL_KVM ? "kvm" : "process");
	cli_json_text(&j, "source", tide_source_kind_name(d->config.source));
	cli_json_text(&j, "pattern", cli_text(d->p, "pattern"));
	cli_json_value(&j, "rounds", d->rounds);
	cli_json_real(&j, "downtime_ms",
		      client_real(result, "downtime_ms") - hash_ms(far));
	cli_json_real(&j, "hashing_ms", hash_ms(far));
	cli_json_real(&j, "total_ms", client_real(result, "total_ms"));
	cli_json_value(&j, "bytes_sent", json_object_get(result, "bytes_sent"));
	cli_json_bool(&j, "verified", verified);
	cli_json_value(&j, "verdict", verdict);
	cli_json_value(&j, "stalls", json_object_get(near, "stalls"));
	cli_json_close(&j);
	j.failed |= d->lost;
	return cli_json_end(&j, d->p->command);
}

static void report(const json_t *result, const json_t *verdict,
		   const json_t *near, const json_t *far, bool verified)
{
	printf("moved: guest stood still for %.1f ms (and %.1f ms more while "
	       "the demo hashed its RAM)\n",
	       client_real(result, "downtime_ms") - hash_ms(far),
	       hash_ms(far));
	printf("sent:  %.1f MB in %.0f ms, %lld pages in %lld rounds\n",
	       (double)client_integer(result, "bytes_sent") / 1e6,
	       client_real(result, "total_ms") - hash_ms(far),
	       client_integer(result, "pages"),
	       client_integer(result, "rounds"));
	printf("guest: verified %lld pages that it wrote, %lld bad",
	       client_integer(verdict, "pages"),
	       client_integer(verdict, "bad"));
	if (client_integer(verdict, "disk_writes"))
		printf("; disk: %lld writes, %lld reads, %lld bad",
		       client_integer(verdict, "disk_writes"),
		       client_integer(verdict, "disk_reads"),
		       client_integer(verdict, "disk_bad"));
	printf("\nhash:  RAM at the source %016llx, at the far end %016llx\n",
	       (unsigned long long)client_integer(near, "memory_hash"),
	       (unsigned long long)client_integer(far, "memory_hash"));
	printf("%s\n", verified ? "verified: nothing was lost"
				: "NOT VERIFIED");
}

/* The guest is over there: is all of it? */
static int prove(struct demo *d, int near_fd, int far_fd, const json_t *result)
{
	const struct timespec work = { 0, 300000000 };
	json_t *near = ask(near_fd, "status"), *far, *verdict;
	int code = CLI_OK;
	bool verified;

	nanosleep(&work, NULL);		/* it shall write there, too */
	far = ask(far_fd, "status");
	verdict = ask(far_fd, "verify");
	verified = is_true(verdict, "verified") && !is_true(near, "running") &&
		   is_true(far, "running") &&
		   client_integer(near, "memory_hash") &&
		   client_integer(near, "memory_hash") ==
		       client_integer(far, "memory_hash");
	if (near && far && verdict && d->json)
		code = report_json(d, result, verdict, near, far, verified);
	else if (near && far && verdict)
		report(result, verdict, near, far, verified);
	if (verdict && json_object_get(verdict, "error"))
		cli_fail(d->p->command, CLI_UNVERIFIED, "%s",
			 client_text(verdict, "error"));
	json_decref(near);
	json_decref(far);
	json_decref(verdict);
	return code != CLI_OK ? code : verified ? CLI_OK : CLI_UNVERIFIED;
}

static int move(struct demo *d, int near_fd, int far_fd)
{
	json_t *request = client_migrate_request(d->p, d->to), *result;
	int code = CLI_FAILED;

	json_object_set_new(request, "hash", json_true());
	result = client_migrate(near_fd, request, on_round, d);
	progress_end();
	if (!result)
		return cli_fail(d->p->command, CLI_FAILED,
				"the guest's process ended");
	if (!strcmp(client_text(result, "outcome"), "moved"))
		code = prove(d, near_fd, far_fd, result);
	else
		code = cli_fail(d->p->command,
				strcmp(client_text(result, "outcome"),
				       "not-converging")
				    ? CLI_FAILED : CLI_NOT_CONVERGING,
				"%s: %s", client_text(result, "origin"),
				client_text(result, "error"));
	json_decref(result);
	return code;
}

static int with_both(struct demo *d)
{
	struct timespec warm = { 0, 0 };
	uint64_t ms = cli_number(d->p, "warm-up");
	struct tide_error err;
	int near_fd, far_fd, code;

	near_fd = open_soon(d->near_control, d->near, &err);
	if (near_fd < 0)
		return cli_fail(d->p->command, CLI_FAILED, "%s", err.text);
	far_fd = open_soon(d->far_control, d->far, &err);
	if (far_fd < 0)
		return cli_fail(d->p->command, CLI_FAILED, "%s", err.text);
	warm.tv_sec = (time_t)(ms / 1000);
	warm.tv_nsec = (long)(ms % 1000) * 1000000;
	nanosleep(&warm, NULL);
	code = move(d, near_fd, far_fd);
	json_decref(ask(near_fd, "stop"));
	json_decref(ask(far_fd, "stop"));
	close(near_fd);
	close(far_fd);
	return code;
}

static void end_child(pid_t pid)
{
	const struct timespec pause = { 0, 10000000 };

	if (pid <= 0)
		return;
	for (int i = 0; i < 200; i++) {
		if (waitpid(pid, NULL, WNOHANG) != 0)
			return;
		nanosleep(&pause, NULL);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static int make_disk(struct demo *d)
{
	int fd;

	if (d->config.disk_path) {
		snprintf(d->disk, sizeof(d->disk), "%s", d->config.disk_path);
		return 0;
	}
	if (strcmp(cli_text(d->p, "pattern"), "mixed"))
		return 0;
	snprintf(d->disk, sizeof(d->disk), "%s/disk", d->dir);
	fd = open(d->disk, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, DISK_BYTES))
		return -errno;
	return close(fd);
}

static void clean_up(struct demo *d)
{
	static const char *const files[] = { "near", "far", "wire", "disk" };
	char path[96];

	for (unsigned int i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "%s/%s", d->dir, files[i]);
		unlink(path);
	}
	rmdir(d->dir);
	json_decref(d->rounds);
}

static void announce(const struct demo *d)
{
	char line[240];

	snprintf(line, sizeof(line),
		 "A guest with %s of RAM and %s vCPUs (accel %s, source %s) "
		 "writes in pattern %s\nand moves over %s channel(s) to "
		 "another process:", cli_text(d->p, "memory"),
		 cli_text(d->p, "vcpus"),
		 d->config.accel == VM_ACCEL_KVM ? "kvm" : "process",
		 tide_source_kind_name(d->config.source),
		 cli_text(d->p, "pattern"), cli_text(d->p, "channels"));
	say(d, line);
}

static int run(const struct cli_parsed *p)
{
	struct sigaction act = { .sa_handler = on_signal };
	struct demo d = { .p = p, .json = cli_flag(p, "json") };
	const char *tmp = getenv("TMPDIR");
	struct tide_error err;
	int code = CLI_FAILED;

	vm_config_defaults(&d.config);
	if (vm_options_host(p, &d.config, &err) ||
	    vm_options_guest(p, &d.config, &err))
		return cli_fail(p->command, CLI_USAGE, "%s", err.text);
	snprintf(d.dir, sizeof(d.dir), "%.40s/tidemark-XXXXXX",
		 tmp ? tmp : "/tmp");
	if (!mkdtemp(d.dir) || make_disk(&d))
		return cli_fail(p->command, CLI_FAILED, "%s: %s", d.dir,
				strerror(errno));
	snprintf(d.near_control, sizeof(d.near_control), "%s/near", d.dir);
	snprintf(d.far_control, sizeof(d.far_control), "%s/far", d.dir);
	d.rounds = json_array();
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	announce(&d);
	d.near = children[0] = start_near(&d);
	d.far = children[1] = start_far(&d);
	if (d.near > 0 && d.far > 0 && d.to[0])
		code = with_both(&d);
	else
		cli_fail(p->command, CLI_FAILED, "the receiver did not start");
	end_child(d.near);
	end_child(d.far);
	clean_up(&d);
	return code;
}

static const struct cli_option options[] = {
	{ "tcp", NULL, CLI_FLAG, NULL,
	  "move over TCP on loopback instead of a Unix socket" },
	{ "warm-up", "MS", CLI_MILLISECONDS, "1000",
	  "let the guest write for so long before it moves" },
	OPT_JSON, OPT_HOST, OPT_DISK, OPT_GUEST, OPT_MOVE("20"), OPT_END,
};

const struct cli_command cli_demo = {
	.name = "demo",
	.summary = "Move a running guest between two processes, and prove it",
	.options = options,
	.run = run,
};
