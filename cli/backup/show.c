/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/backup/show.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"

#define BAR 24
#define FRAME_NS UINT64_C(100000000)

static bool stop;

static void on_signal(int number)
{
	(void)number;
	tide__store_release(&stop, true); /* pairs with the pump's acquire */
}

const bool *backup_stop_flag(void)
{
	struct sigaction act = { .sa_handler = on_signal,
				 .sa_flags = (int)SA_RESETHAND };

	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	signal(SIGPIPE, SIG_IGN);
	return &stop;
}

void backup_show_init(struct backup_show *s, bool quiet)
{
	memset(s, 0, sizeof(*s));
	s->quiet = quiet;
	s->terminal = isatty(STDERR_FILENO);
	s->last_percent = -1;
}

static void draw(const struct backup_show *s, int percent, uint64_t at,
		 uint64_t now)
{
	double seconds = (double)(now - s->began_ns) / 1e9;
	double left = percent ? seconds * (100 - percent) / percent : 0;

	fprintf(stderr, "\r\033[K%.40s [", s->disk);
	for (int i = 0; i < BAR; i++)
		fputc(i * 100 < percent * BAR ? '#' : '.', stderr);
	fprintf(stderr, "] %3d %%  %.1f GB, %.0f MB/s of the disk, %.0f s left",
		percent, (double)at / 1e9,
		seconds > 0 ? (double)at / 1e6 / seconds : 0.0, left);
	fflush(stderr);
}

void backup_show_progress(void *show, const char *disk, uint64_t at,
			  uint64_t size)
{
	struct backup_show *s = show;
	int percent = size ? (int)((double)at * 100 / (double)size) : 100;
	uint64_t now;

	if (s->quiet)
		return;
	now = tide__now_ns();
	if (strncmp(s->disk, disk, sizeof(s->disk) - 1)) {
		snprintf(s->disk, sizeof(s->disk), "%s", disk);
		s->began_ns = now;
		s->last_percent = -1;
	}
	if (s->terminal && (now - s->last_ns > FRAME_NS || at == size)) {
		s->last_ns = now;
		draw(s, percent, at, now);
	} else if (!s->terminal && percent / 10 > s->last_percent / 10) {
		fprintf(stderr, "%s: %d %%\n", s->disk, percent);
	}
	s->last_percent = percent;
}

void backup_show_end(struct backup_show *s)
{
	if (!s->quiet && s->terminal)
		fprintf(stderr, "\r\033[K");
}

void backup_point_json(struct cli_json *j, const char *key,
		       const struct backup_point *p)
{
	cli_json_object(j, key);
	cli_json_number(j, "number", p->number);
	cli_json_text(j, "kind", p->parent ? "incremental" : "full");
	if (p->parent)
		cli_json_number(j, "parent", p->parent);
	cli_json_number(j, "size_bytes", p->size_bytes);
	cli_json_number(j, "created", p->created_s);
	cli_json_number(j, "data_bytes", p->data_bytes);
	cli_json_number(j, "zero_bytes", p->zero_bytes);
	cli_json_number(j, "stored_bytes", p->stored_bytes);
	cli_json_bool(j, "instant", p->instant);
	cli_json_text(j, "checkpoint", *p->checkpoint ? p->checkpoint : NULL);
	cli_json_text(j, "image", p->image);
	cli_json_close(j);
}

int backup_failed(const struct cli_command *command,
		  const struct tide_error *err)
{
	int code = err->code == -EBADMSG ? CLI_UNVERIFIED :
		   err->code == -ENOENT && !strcmp(err->origin, "nbd") ?
					   CLI_REFUSED : CLI_FAILED;

	return cli_fail(command, code, "%s", err->text);
}

const struct backup_point *backup_point_of(const struct cli_parsed *p,
					   const struct backup_folder *f,
					   int *code)
{
	const struct backup_point *point = folder_newest(f);

	if (cli_text(p, "point"))
		point = folder_find(f, cli_number(p, "point"));
	if (!point)
		*code = cli_fail(p->command, CLI_FAILED, f->count ?
				 "%s has no such point; 'tidemark backup list' "
				 "shows them" : "%s has no point yet", f->path);
	return point;
}

uint32_t backup_jobs(const struct cli_parsed *p)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (cli_text(p, "jobs"))
		return (uint32_t)cli_number(p, "jobs");
	return cpus < 2 ? 2 : cpus > 16 ? 16 : (uint32_t)cpus;
}

bool backup_compression_of(const struct cli_parsed *p,
			   struct backup_compression *out, int *code)
{
	const char *how = cli_text(p, "compress");
	char *end;
	long level;

	*out = (struct backup_compression){ .none = !strcmp(how, "none") };
	if (out->none || !strcmp(how, "zstd"))
		return true;
	level = strncmp(how, "zstd:", 5) ? 0 : strtol(how + 5, &end, 10);
	if (!level || *end || level < BACKUP_MIN_LEVEL ||
	    level > BACKUP_MAX_LEVEL) {
		*code = cli_fail(p->command, CLI_USAGE, "--compress takes "
				 "none, zstd, or zstd: and a level from %d to "
				 "%d that is not 0", BACKUP_MIN_LEVEL,
				 BACKUP_MAX_LEVEL);
		return false;
	}
	out->level = (int)level;
	return true;
}
