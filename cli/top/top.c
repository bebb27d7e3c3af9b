/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tidemark top: what the VMs of this host write, live. Nothing stays in them
 * when it ends, however it ends.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "attach/target.h"
#include "base/clock.h"
#include "cli/output.h"
#include "cli/top/show.h"
#include "cli/top/svg.h"

#define MAX 256

struct top {
	const struct cli_parsed *p;
	struct top_vm *vm;
	size_t count;
	struct top_view view;
	struct top_picture picture;
	const char *svg;	/* NULL: none is drawn */
	uint64_t interval_ns, min, rounds;
	bool json, screen, named;
	struct termios before;
};

static volatile sig_atomic_t ended;

static void on_signal(int signal)
{
	(void)signal;
	ended = 1;
}

static void forget(struct top *t, size_t i)
{
	top_vm_close(&t->vm[i]);
	memmove(&t->vm[i], &t->vm[i + 1],
		(t->count - i - 1) * sizeof(*t->vm));
	t->count--;
}

static bool is_listed(const struct top *t, int pid)
{
	for (size_t i = 0; i < t->count; i++)
		if (t->vm[i].pid == pid)
			return true;
	return false;
}

/* Whoever came since the last time. */
static void find_more(struct top *t)
{
	int pids[MAX];
	size_t n = top_find(pids, MAX);

	for (size_t i = 0; i < n && t->count < MAX; i++)
		if (!is_listed(t, pids[i]))
			top_vm_open(&t->vm[t->count++], pids[i], t->min);
}

/* Those that ended go; if they were named they stay, and say so. */
static void look_at_all(struct top *t)
{
	for (size_t i = 0; i < t->count;) {
		struct tide__target now;
		struct top_vm *v = &t->vm[i];

		top_vm_look(v, t->min);
		if (t->svg && !v->err.code && v->looks)
			top_picture_add(&t->picture, v);
		if (!t->named &&
		    (v->ended || tide__target_look(&now, v->pid, v->pid, NULL) ||
		     now.started != v->started))
			forget(t, i);
		else
			i++;
	}
	top_sort(t->vm, t->count, t->view.order);
}

static bool press(struct top *t, char key)
{
	if (key == 'q' || key == 3)
		return false;
	if (key == 'd' || key == 'm' || key == 'p') {
		t->view.order = key;
		top_sort(t->vm, t->count, key);
	}
	return true;
}

static void draw(struct top *t)
{
	struct winsize size = { .ws_row = 24, .ws_col = 80 };

	if (t->json) {
		top_show_json(t->p->command, t->vm, t->count, &t->view);
	} else if (!t->screen) {
		top_show_plain(t->vm, t->count, &t->view);
	} else {
		ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
		top_show_screen(t->vm, t->count, &t->view,
				size.ws_row ? size.ws_row : 24,
				size.ws_col ? size.ws_col : 80);
	}
}

/* Until @due_ns; false: it is enough. Keys are obeyed at once. */
static bool wait_until(struct top *t, uint64_t due_ns)
{
	struct pollfd in = { STDIN_FILENO, POLLIN, 0 };

	while (!ended) {
		uint64_t now = tide__now_ns();
		char key;
		int n;

		if (now >= due_ns)
			return true;
		n = poll(&in, t->screen, (int)((due_ns - now) / 1000000) + 1);
		if (n <= 0)
			continue;
		if (read(STDIN_FILENO, &key, 1) != 1 || !press(t, key))
			return false;
		draw(t);
	}
	return false;
}

static void run_rounds(struct top *t)
{
	uint64_t due = tide__now_ns();

	for (uint64_t n = 0; !t->rounds || n < t->rounds; n++) {
		due += t->interval_ns;
		if (!wait_until(t, due))
			break;
		look_at_all(t);
		draw(t);
		if (!t->named)
			find_more(t);
		/* Who is late does not catch up. */
		if (due + t->interval_ns < tide__now_ns())
			due = tide__now_ns();
	}
}

static void enter_screen(struct top *t)
{
	struct termios raw;

	t->screen = tcgetattr(STDIN_FILENO, &t->before) == 0;
	if (!t->screen)
		return;
	raw = t->before;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	printf("\033[?1049h\033[?25l");
}

static void leave_screen(struct top *t)
{
	if (!t->screen)
		return;
	printf("\033[?25h\033[?1049l");
	fflush(stdout);
	tcsetattr(STDIN_FILENO, TCSANOW, &t->before);
}

static int parse(struct top *t)
{
	const struct cli_parsed *p = t->p;
	bool tty = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);

	struct tide_error err;

	t->svg = cli_text(p, "svg");
	if (t->svg && output_check(t->svg, cli_flag(p, "force"), &err))
		return cli_fail(p->command, CLI_FAILED, "%s", err.text);
	t->json = cli_flag(p, "json");
	t->interval_ns = cli_number(p, "interval") * 1000000;
	t->min = cli_number(p, "least");
	t->view = (struct top_view){
		.wire_bytes_per_s = (double)cli_number(p, "wire"),
		.downtime_ms = (double)cli_number(p, "downtime"),
		.interval_s = (double)t->interval_ns / 1e9, .order = 'd',
	};
	t->picture.interval_s = t->view.interval_s;
	t->screen = tty && !t->json && !cli_flag(p, "plain");
	/* A script gets one answer unless it asks for more. */
	t->rounds = cli_text(p, "count") ? cli_number(p, "count")
					 : !t->screen;
	t->named = p->argc > 0;
	if (p->argc > MAX)
		return cli_fail(p->command, CLI_USAGE, "at most %d processes",
				MAX);
	for (int i = 0; i < p->argc; i++) {
		char *end;
		long pid = strtol(p->argv[i], &end, 10);

		if (*end || pid < 1 || pid > 4194304)
			return cli_fail(p->command, CLI_USAGE,
					"'%s' is no process number",
					p->argv[i]);
		if (!is_listed(t, (int)pid))
			t->vm[t->count++].pid = (int)pid;
	}
	return CLI_OK;
}

/* A process that was named and cannot be watched is a failure. */
static int verdict(const struct top *t)
{
	for (size_t i = 0; t->named && i < t->count; i++) {
		const struct top_vm *v = &t->vm[i];

		if (!v->err.code)
			continue;
		return cli_fail(t->p->command, v->err.code == -ESRCH
				? CLI_FAILED : CLI_REFUSED, "%s",
				v->err.text);
	}
	return CLI_OK;
}

static int write_picture(const struct top *t, int code)
{
	struct tide_error err;

	if (!t->svg || code != CLI_OK ||
	    !top_picture_write(&t->picture, t->svg, cli_flag(t->p, "force"),
			       &err))
		return code;
	return cli_fail(t->p->command, CLI_FAILED, "%s", err.text);
}

static int run(const struct cli_parsed *p)
{
	struct sigaction act = { .sa_handler = on_signal };
	struct top t = { .p = p, .vm = calloc(MAX + 1, sizeof(*t.vm)) };
	int code;

	if (!t.vm)
		return cli_fail(p->command, CLI_FAILED, "no memory");
	code = parse(&t);
	if (code == CLI_OK) {
		sigaction(SIGINT, &act, NULL);
		sigaction(SIGTERM, &act, NULL);
		sigaction(SIGHUP, &act, NULL);
		for (size_t i = 0; i < t.count; i++)
			top_vm_open(&t.vm[i], t.vm[i].pid, t.min);
		if (!t.named)
			find_more(&t);
		if (t.screen)
			enter_screen(&t);
		run_rounds(&t);
		leave_screen(&t);
		code = write_picture(&t, verdict(&t));
	}
	top_picture_free(&t.picture);
	for (size_t i = 0; i < t.count; i++)
		top_vm_close(&t.vm[i]);
	free(t.vm);
	return code;
}

static const struct cli_option options[] = {
	{ "interval", "MS", CLI_MILLISECONDS, "1000", "time between looks", 50,
	  3600000 },
	{ "count", "N", CLI_COUNT, NULL,
	  "end after so many looks; off a terminal the default is 1; 0: until "
	  "interrupted" },
	{ "wire", "SIZE", CLI_SIZE, "1G",
	  "bytes a second that a migration would have", 1024,
	  UINT64_C(1) << 50 },
	{ "downtime", "MS", CLI_MILLISECONDS, "300", "and how long it may pause",
	  1, 3600000 },
	{ "least", "SIZE", CLI_SIZE, "0",
	  "memory in pieces of at least this; 0: an eighth of the largest" },
	{ "svg", "FILE", CLI_TEXT, NULL,
	  "at the end, all that was seen as a picture" },
	OPT_FORCE,
	{ "plain", NULL, CLI_FLAG, NULL, "lines, also at a terminal" },
	{ "json", NULL, CLI_FLAG, NULL, "print one JSON object a look" },
	{ NULL, NULL, CLI_FLAG, NULL, NULL },
};

const struct cli_command cli_top = {
	.name = "top",
	.summary = "Show what running VMs write, live",
	.words = "[PID]...",
	.options = options,
	.run = run,
};
