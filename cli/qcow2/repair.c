/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tidemark qcow2 repair: make an image consistent again, then check it.
 *
 * Runs only when no other process has the image open: the lock is on the bytes
 * on which QEMU takes its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "qcow2/check/repair.h"
#include "cli/qcow2/image.h"

/* QEMU locks byte 100 + n for what it uses, 200 + n for what it forbids. */
#define QEMU_LOCKS_FROM 100
#define QEMU_LOCKS_BYTES 200

struct session {
	struct qcow2_image image;
	bool json;
	/* An object with an open array: what goes, then what was done. */
	struct cli_json j;
	bool doing; /* the second of them */
	uint64_t losses; /* that were said */
};

static int write_fd(void *opaque, uint64_t offset, const void *buf,
		    uint64_t bytes, struct tide_error *err)
{
	const struct session *s = opaque;
	const char *from = buf;
	ssize_t n;

	while (bytes) {
		n = pwrite(s->image.fd, from, bytes, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			int code = n < 0 ? -errno : -EIO;

			return tide_error_set(err, code, "repair", offset,
					      "%s: write at %llu: %s",
					      s->image.path,
					      (unsigned long long)offset,
					      strerror(-code));
		}
		from += n;
		offset += (uint64_t)n;
		bytes -= (uint64_t)n;
	}
	return 0;
}

static int failed(const struct session *s, const char *what,
		  struct tide_error *err)
{
	int code = -errno;

	return tide_error_set(err, code, "repair", TIDE_NO_OFFSET,
			      "%s: %s: %s", s->image.path, what,
			      strerror(-code));
}

static int sync_fd(void *opaque, struct tide_error *err)
{
	const struct session *s = opaque;

	return fdatasync(s->image.fd) ? failed(s, "sync", err) : 0;
}

static int extend_fd(void *opaque, uint64_t size_bytes, struct tide_error *err)
{
	const struct session *s = opaque;

	return ftruncate(s->image.fd, (off_t)size_bytes) ?
		       failed(s, "make it longer", err) :
		       0;
}

static void print_loss(const struct qcow2_loss *l)
{
	char shown[CLI_SHOWN];

	printf("loss      guest offsets %llu to %llu",
	       (unsigned long long)l->guest_bytes,
	       (unsigned long long)(l->guest_bytes + l->length_bytes));
	if (l->snapshot)
		printf(" of snapshot '%s'", cli_show(shown, l->snapshot));
	else if (!l->active)
		printf(" of snapshots");
	printf(": %s\n", l->why);
}

/* All of them, before anything is written. */
static void loss(void *opaque, const struct qcow2_loss *l)
{
	struct session *s = opaque;

	s->losses++;
	if (!s->json) {
		print_loss(l);
		return;
	}
	cli_json_object(&s->j, NULL);
	cli_json_number(&s->j, "offset", l->guest_bytes);
	cli_json_number(&s->j, "length", l->length_bytes);
	cli_json_bool(&s->j, "active", l->active);
	if (l->snapshot)
		cli_json_text(&s->j, "snapshot", l->snapshot);
	cli_json_text(&s->j, "why", l->why);
	cli_json_close(&s->j);
}

/* From here on things are written: what goes must be out. */
static void begin_doing(struct session *s)
{
	if (s->doing)
		return;
	s->doing = true;
	if (s->json) {
		cli_json_close(&s->j);
		cli_json_array(&s->j, "done");
	}
	fflush(stdout);
}

/* At once: who reads along sees what was done, whatever comes after. */
static void done(void *opaque, const char *what)
{
	struct session *s = opaque;

	begin_doing(s);
	if (s->json)
		cli_json_text(&s->j, NULL, what);
	else
		printf("repair    %s\n", what);
}

static int lock(const struct cli_parsed *p, const struct qcow2_image *image)
{
	struct flock all = { .l_type = F_WRLCK, .l_whence = SEEK_SET,
			     .l_start = QEMU_LOCKS_FROM,
			     .l_len = QEMU_LOCKS_BYTES };

	if (!fcntl(image->fd, F_OFD_SETLK, &all) || errno == EINVAL)
		return CLI_OK;
	return cli_fail(p->command, QCOW2_NOT_CHECKED,
			"%s: another process has the image open", image->path);
}

static int recheck(const struct cli_parsed *p, struct session *s)
{
	struct qcow2_report report;
	int code;

	begin_doing(s);
	if (qcow2_image_reread(p, &s->image) ||
	    qcow2_report_make(p, &s->image, &report, NULL))
		return QCOW2_NOT_CHECKED;
	code = (int)qcow2_report_exit(&report);
	if (s->json) {
		cli_json_close(&s->j);
		qcow2_report_json(&s->j, &s->image, &report);
		cli_json_close(&s->j);
		if (cli_json_end(&s->j, p->command))
			code = QCOW2_NOT_CHECKED;
	} else {
		qcow2_report_print(&s->image, &report);
	}
	qcow2_report_fini(&report);
	return code;
}

static int repair(const struct cli_parsed *p, struct session *s)
{
	struct qcow2_repair_options options = {
		.accept_loss = cli_flag(p, "accept-loss"),
		.loss = loss,
		.loss_opaque = s,
	};
	struct qcow2_writer w = { write_fd, sync_fd, extend_fd, s };
	struct tide_error err;
	int code = lock(p, &s->image);

	if (code)
		return code;
	if (s->json) {
		cli_json_begin(&s->j, stdout);
		cli_json_object(&s->j, NULL);
		cli_json_array(&s->j, "losses");
	}
	if (qcow2_repair(&s->image.reader, &w, &options, done, s, &err)) {
		cli_fail(p->command, QCOW2_NOT_CHECKED, "%s", err.text);
		recheck(p, s);
		return QCOW2_NOT_CHECKED;
	}
	return recheck(p, s);
}

static int run(const struct cli_parsed *p)
{
	struct session s = { 0 };
	int code = qcow2_image_open(p, true, &s.image);

	if (code)
		return code;
	s.json = cli_flag(p, "json");
	code = repair(p, &s);
	qcow2_image_close(&s.image);
	return code;
}

static const struct cli_option options[] = {
	{ "json", NULL, CLI_FLAG, NULL, "print one JSON object" },
	{ "accept-loss", NULL, CLI_FLAG, NULL,
	  "give up what can no longer be reached" },
	{ NULL, NULL, CLI_FLAG, NULL, NULL },
};

const struct cli_command cli_qcow2_repair = {
	.name = "qcow2 repair",
	.summary = "Make a qcow2 image consistent again",
	.words = "IMAGE",
	.options = options,
	.run = run,
};
