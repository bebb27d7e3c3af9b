/* SPDX-License-Identifier: BSD-2-Clause */
#include "attach/target.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char origin[] = "attach";

static int not_there(const struct tide__target *t, struct tide_error *err)
{
	return tide_error_set(err, -ESRCH, origin, TIDE_NO_OFFSET,
			      "there is no process %d", t->pid);
}

static void take_line(struct tide__target *t, const char *line)
{
	if (!strncmp(line, "Name:\t", 6))
		snprintf(t->name, sizeof(t->name), "%.*s",
			 (int)strcspn(line + 6, "\n"), line + 6);
	else if (!strncmp(line, "State:\t", 7))
		t->state = line[7];
	else if (!strncmp(line, "TracerPid:\t", 11))
		t->tracer = atoi(line + 11);
	else if (!strncmp(line, "Seccomp:\t", 9))
		t->seccomp = atoi(line + 9);
	else if (!strncmp(line, "x86_Thread_features:", 20))
		t->shadow_stack = strstr(line, "shstk") != NULL;
}

/* Field 22 of stat, behind a name that may hold anything. */
static uint64_t start_time(int pid)
{
	char path[40], line[1024];
	FILE *file;
	size_t n;
	char *at;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	n = fread(line, 1, sizeof(line) - 1, file);
	fclose(file);
	line[n] = 0;
	at = strrchr(line, ')');
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	return at ? strtoull(at + 1, NULL, 10) : 0;
}

int tide__target_look(struct tide__target *t, int pid, int tid,
		      struct tide_error *err)
{
	char path[64], line[512];
	FILE *file;

	memset(t, 0, sizeof(*t));
	t->pid = pid;
	if (pid <= 0)
		return not_there(t, err);
	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", pid, tid);
	file = fopen(path, "re");
	if (!file)
		return not_there(t, err);
	while (fgets(line, sizeof(line), file))
		take_line(t, line);
	fclose(file);
	t->started = start_time(pid);
	return t->state ? 0 : not_there(t, err);
}

/* The class byte of the program's ELF header; 0 if it cannot be read. */
static int elf_class(int pid)
{
	unsigned char head[EI_NIDENT] = { 0 };
	char path[40];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (read(fd, head, sizeof(head)) != (ssize_t)sizeof(head))
		head[EI_CLASS] = 0;
	close(fd);
	return head[EI_CLASS];
}

int tide__target_judge(const struct tide__target *t, struct tide_error *err)
{
	if (t->pid == getpid())
		return tide_error_set(err, -EINVAL, origin, TIDE_NO_OFFSET,
				      "a process cannot attach to itself");
	if (t->state == 'Z' || t->state == 'X')
		return tide_error_set(err, -ESRCH, origin, TIDE_NO_OFFSET,
				      "process %d has ended", t->pid);
	if (t->tracer)
		return tide_error_set(err, -EBUSY, origin, TIDE_NO_OFFSET,
				      "process %d is traced by process %d (a "
				      "debugger or strace); end that first",
				      t->pid, t->tracer);
	if (t->state == 'T')
		return tide_error_set(err, -EAGAIN, origin, TIDE_NO_OFFSET,
				      "process %d is stopped; attach while it "
				      "runs (kill -CONT %d)", t->pid, t->pid);
	if (t->seccomp == 1)
		return tide_error_set(err, -EPERM, origin, TIDE_NO_OFFSET,
				      "process %d is under strict seccomp and "
				      "would be killed", t->pid);
	if (t->shadow_stack)
		return tide_error_set(err, -EOPNOTSUPP, origin, TIDE_NO_OFFSET,
				      "process %d has a shadow stack, which "
				      "nobody may bypass", t->pid);
	if (elf_class(t->pid) == ELFCLASS32)
		return tide_error_set(err, -EOPNOTSUPP, origin, TIDE_NO_OFFSET,
				      "process %d is a 32-bit program",
				      t->pid);
	return 0;
}
