/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tidemark snapshot create: one snapshot of a running process or QEMU, or one
 * every so often until it is told to end.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "cli/snapshot/common.h"
#include "cli/snapshot/disks.h"
#include "snapshot/capture.h"

struct creating {
	const struct cli_parsed *p;
	struct snap_capture c;
	struct snapshot_disks disks;
	const char *name;
	uint64_t every_ns, keep, count;
	uint64_t due_ns;	/* of the next one */
	bool json;
};

static void show_json(const struct creating *r, const char *name,
		      const struct snap_result *s)
{
	const struct {
		const char *key;
		uint64_t value;
	} member[] = {
		{ "memory_pages", r->c.memory.pages },
		{ "stored_pages", s->pages },
		{ "live_pages", s->live_pages },
		{ "paused_pages", s->final_pages },
		{ "file_bytes", s->file_bytes },
		{ "devices_bytes", s->devices_bytes },
		{ "paused_us", s->paused_ns / 1000 },
		{ "stood_us", s->stood_ns / 1000 },
		{ "disks_us", s->disks_ns / 1000 },
		{ "devices_us", s->devices_ns / 1000 },
		{ "copy_us", s->copy_ns / 1000 },
		{ "attach_us", r->c.stopped_ns / 1000 },
		{ "all_us", s->all_ns / 1000 },
	};
	json_t *o = json_pack("{s:s, s:b}", "name", name, "base",
			      (int)s->base);

	for (size_t i = 0; i < sizeof(member) / sizeof(*member); i++)
		json_object_set_new(o, member[i].key, json_integer(
		    (json_int_t)member[i].value));
	json_dumpf(o, stdout, JSON_COMPACT);
	putchar('\n');
	fflush(stdout);
	json_decref(o);
}

static void show(const struct creating *r, const char *name,
		 const struct snap_result *s)
{
	if (r->json) {
		show_json(r, name, s);
		return;
	}
	printf("%s: %s, %" PRIu64 " of %" PRIu64 " pages, %.1f MiB, paused "
	       "for %.1f ms (%.1f for devices), %.2f s\n", name,
	       s->base ? "base" : "delta", s->pages, r->c.memory.pages,
	       (double)s->file_bytes / 1048576, (double)s->paused_ns / 1e6,
	       (double)s->devices_ns / 1e6, (double)s->all_ns / 1e9);
	fflush(stdout);
}

/* True: a signal says that it is enough. */
static bool sleep_until(uint64_t due_ns)
{
	sigset_t ends;

	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGHUP);
	for (;;) {
		uint64_t now = tide__now_ns();
		uint64_t left = due_ns > now ? due_ns - now : 0;
		struct timespec ts = { (time_t)(left / 1000000000),
				       (long)(left % 1000000000) };

		if (sigtimedwait(&ends, NULL, &ts) > 0)
			return true;
		if (errno == EAGAIN)
			return false;
	}
}

/*
 * A run that goes on is not ended while a snapshot is under way. One that waits
 * to be asked is ended by any signal: whoever asked keeps its guest.
 */
static void hold_signals(const struct snap_capture_options *o)
{
	sigset_t ends;

	if (o->cloud)
		return;
	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGHUP);
	sigprocmask(SIG_BLOCK, &ends, NULL);
}

static int one(struct creating *r, const char *name, struct tide_error *err)
{
	struct snap_result result;
	uint64_t removed;
	int ret = snap_capture_take(&r->c, name, &result, err);

	if (ret)
		return ret;
	show(r, name, &result);
	if (r->keep)
		ret = snap_folder_prune(r->c.options.folder, r->keep, &removed,
					err);
	return ret;
}

/*
 * A run that goes on is not ended by one snapshot that fails: a monitor may be
 * silent for a while, a disk full until something is pruned. It ends if the
 * very first one cannot be made, or if nobody is left to be snapshotted.
 */
static bool is_over(const struct creating *r, uint64_t n,
		    const struct tide_error *err)
{
	return !n || err->code == -ESRCH ||
	       (r->c.options.pid > 0 && kill(r->c.options.pid, 0) < 0 &&
		errno == ESRCH);
}

/* NAME-1, NAME-2: behind what is there already. */
static int series(struct creating *r, struct tide_error *err)
{
	char name[256];
	uint64_t failed = 0;
	int ret = 0;

	r->due_ns = tide__now_ns();
	for (uint64_t n = 0; !r->count || n < r->count; n++) {
		if (n && r->every_ns && sleep_until(r->due_ns))
			break;
		snprintf(name, sizeof(name), "%s-%06" PRIu64, r->name,
			 r->c.sequence + 1);
		tide_error_clear(err);
		ret = one(r, name, err);
		if (ret && is_over(r, n, err))
			return ret;
		if (ret) {
			failed++;
			cli_fail(r->p->command, CLI_FAILED, "%s: %s; going on",
				 name, err->text);
		}
		/* Who is late skips, and does not catch up. */
		while (r->every_ns && r->due_ns < tide__now_ns())
			r->due_ns += r->every_ns;
	}
	if (!failed)
		return 0;
	return tide_error_set(err, -EIO, "snapshot", TIDE_NO_OFFSET,
			      "%" PRIu64 " snapshots were not made", failed);
}

/* Which VM, and who says when. */
static int parse_vm(struct creating *r, struct snap_capture_options *o)
{
	const struct cli_parsed *p = r->p;
	const char *every = cli_text(p, "every");

	o->pid = (int)cli_number(p, "pid");
	o->qmp = cli_text(p, "qmp");
	o->vm = cli_text(p, "vm");
	o->cloud = cli_text(p, "cloud-hypervisor");
	if ((!o->pid && !o->vm && !o->cloud) || !cli_text(p, "to"))
		return cli_fail(p->command, CLI_USAGE,
				"--pid=PID (or --vm=PATH, or "
				"--cloud-hypervisor=PATH) and --to=DIR are "
				"needed");
	if ((o->qmp != NULL) + (o->vm != NULL) + (o->cloud != NULL) > 1)
		return cli_fail(p->command, CLI_USAGE,
				"it is of --qmp=PATH, of --vm=PATH or of "
				"--cloud-hypervisor=PATH");
	if (o->cloud && (o->pid || every || cli_flag(p, "memory-only")))
		return cli_fail(p->command, CLI_USAGE,
				"a Cloud Hypervisor says itself who and when "
				"it is: no --pid, --every, --memory-only");
	if (every && !snapshot_parse_time(every, &r->every_ns))
		return cli_fail(p->command, CLI_USAGE,
				"--every=%s: it takes a time as 10s, 500ms, 5m",
				every);
	return CLI_OK;
}

static int parse_disks(struct creating *r, struct snap_capture_options *o)
{
	const struct cli_parsed *p = r->p;

	if (!cli_text(p, "disk") != !cli_text(p, "disks-to"))
		return cli_fail(p->command, CLI_USAGE,
				"--disk=URI and --disks-to=FOLDER go together");
	if (!cli_text(p, "disk"))
		return CLI_OK;
	r->disks.folder = o->folder;
	r->disks.dest = cli_text(p, "disks-to");
	r->disks.control = cli_text(p, "control");
	o->disks = snapshot_take_disks;
	o->opaque = &r->disks;
	if (!snapshot_disks_parse(&r->disks, cli_text(p, "disk")))
		return cli_fail(p->command, CLI_USAGE,
				"--disk=%s: 1 to %u URIs", cli_text(p, "disk"),
				SNAPSHOT_MAX_DISKS);
	return CLI_OK;
}

static int parse(struct creating *r, struct snap_capture_options *o)
{
	const struct cli_parsed *p = r->p;
	int code;

	if (p->argc != 1 || !snap_name_is_good(p->argv[0]))
		return cli_fail(p->command, CLI_USAGE,
				"one name is needed, without a slash and not "
				"starting with a dot");
	r->name = p->argv[0];
	r->keep = cli_number(p, "keep");
	r->count = cli_number(p, "count");
	r->json = cli_flag(p, "json");
	*o = (struct snap_capture_options){
		.folder = cli_text(p, "to"),
		.min_bytes = cli_number(p, "least"),
		.memory_only = cli_flag(p, "memory-only"),
		.ignore_sharers = cli_flag(p, "ignore-sharers"),
	};
	code = parse_vm(r, o);
	return code == CLI_OK ? parse_disks(r, o) : code;
}

/* What it takes longer for, if it does. */
static void say_unwatched(const struct creating *r)
{
	if (r->c.unwatched.code)
		fprintf(stderr, "tidemark: not tracked (%s): all memory is "
			"read while it is paused\n", r->c.unwatched.text);
}

static int run(const struct cli_parsed *p)
{
	struct snap_capture_options options;
	struct creating r = { .p = p };
	struct tide_error err;
	int code = parse(&r, &options), ret;

	if (code != CLI_OK)
		return code;
	tide_error_clear(&err);
	if (mkdir(options.folder, 0700) < 0 && errno != EEXIST)
		return cli_fail(p->command, CLI_FAILED, "%s: %s",
				options.folder, strerror(errno));
	hold_signals(&options);
	ret = snap_capture_open(&r.c, &options, &err);
	if (ret)
		return snapshot_failed(p->command, &err);
	say_unwatched(&r);
	ret = r.every_ns || (options.cloud && r.count)
		  ? series(&r, &err) : one(&r, r.name, &err);
	snap_capture_close(&r.c);
	free(r.disks.text);
	return ret ? snapshot_failed(p->command, &err) : CLI_OK;
}

static const struct cli_option options_table[] = {
	{ "pid", "N", CLI_COUNT, NULL, "the process", 1, 4194304 },
	{ "to", "DIR", CLI_TEXT, NULL,
	  "folder of the VM's snapshots; made if it is not there" },
	{ "qmp", "PATH", CLI_TEXT, NULL,
	  "it is a QEMU: its monitor's socket, over which it is paused and "
	  "gives its devices" },
	{ "vm", "PATH", CLI_TEXT, NULL,
	  "it is a guest of tidemark vm run: its control socket" },
	{ "cloud-hypervisor", "PATH", CLI_TEXT, NULL,
	  "socket, made here, to which a Cloud Hypervisor migrates locally "
	  "(send-migration with local=on)" },
	{ "disk", "URI", CLI_TEXT, NULL,
	  "disks of the VM that tidemark serves, as NBD URIs with commas "
	  "between: they are of the same moment" },
	{ "disks-to", "FOLDER", CLI_TEXT, NULL,
	  "of --disk: the backup that each snapshot adds a point to" },
	{ "control", "PATH", CLI_TEXT, NULL,
	  "of --disk: the server's control socket, if it does not say where" },
	{ "memory-only", NULL, CLI_FLAG, NULL, "leave its devices out" },
	{ "ignore-sharers", NULL, CLI_FLAG, NULL,
	  "other processes map its memory, but do not write to it" },
	{ "least", "SIZE", CLI_SIZE, "0",
	  "memory in pieces of at least this; 0: an eighth of the largest" },
	{ "every", "TIME", CLI_TEXT, NULL,
	  "go on: one snapshot every 10s, 500ms, 5m, named NAME-NUMBER" },
	{ "keep", "N", CLI_COUNT, "0",
	  "after each one, only the newest N stay; 0: all" },
	{ "count", "N", CLI_COUNT, "0",
	  "with --every: end after so many; 0: when interrupted; with "
	  "--cloud-hypervisor: so many, one a migration, named NAME-NUMBER" },
	OPT_JSON,
	OPT_END,
};

const struct cli_command cli_snapshot_create = {
	.name = "snapshot create",
	.summary = "Snapshot the memory and devices of a running VM",
	.words = "NAME",
	.options = options_table,
	.run = run,
};
