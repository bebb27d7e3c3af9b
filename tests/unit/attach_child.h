/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A process to attach to: it answers commands over pipes, and around that keeps
 * threads that would notice if somebody touched their registers, their signal
 * masks, or let a call of theirs fail.
 */
#ifndef TESTS_ATTACH_CHILD_H
#define TESTS_ATTACH_CHILD_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_PAGES 1024
#define CHILD_BYTES (CHILD_PAGES * 4096ul)

struct child {
	pid_t pid;
	int ask, answer;
	char *memory;	/* CHILD_BYTES at the same address in both */
};

enum child_kind {
	CHILD_QUIET = 0,
	CHILD_SPINS = 1,	/* one thread that never enters the kernel */
	CHILD_CALLS = 2,	/* threads inside of several calls */
	CHILD_ALARMS = 4,	/* a signal a millisecond, with a handler */
	CHILD_CROWD = 8,	/* 200 threads */
	CHILD_FORKS = 16,	/* one thread forks all the time */
};

static volatile unsigned int child_faults, child_alarms, child_turns;
static volatile unsigned int child_births;
/* Shared: those that got a descriptor of ours. */
static unsigned int *child_heirs;

/* All registers hold what was put there, for a while. */
static inline bool child_registers_hold(void)
{
#ifdef __x86_64__
	uint64_t in[4] = { 0x1111222233334444, 0x5555666677778888,
			   0x99990000aaaabbbb, 0xccccddddeeeeffff };
	uint64_t out[4] = { 0 }, sum = 0;

	if (__builtin_cpu_supports("avx2"))
		__asm__ volatile("vmovdqu %1, %%ymm7\n"
				 "mov $3000, %%ecx\n"
				 "1: dec %%ecx\n"
				 "jnz 1b\n"
				 "vmovdqu %%ymm7, %0\n"
				 : "=m"(out) : "m"(in) : "ecx", "memory");
	else
		memcpy(out, in, sizeof(out));
	__asm__ volatile("push %%rbx\n"
			 "mov $1, %%r8\n mov $2, %%r9\n mov $4, %%r10\n"
			 "mov $8, %%r11\n mov $16, %%r12\n mov $32, %%r13\n"
			 "mov $64, %%r14\n mov $128, %%r15\n mov $256, %%rbx\n"
			 "mov $512, %%rsi\n mov $1024, %%rdi\n"
			 "mov $3000, %%ecx\n stc\n"
			 "1: lea -1(%%rcx), %%rcx\n jrcxz 2f\n jmp 1b\n"
			 "2: mov $0, %%eax\n adc %%r8, %%rax\n"
			 "add %%r9, %%rax\n add %%r10, %%rax\n"
			 "add %%r11, %%rax\n add %%r12, %%rax\n"
			 "add %%r13, %%rax\n add %%r14, %%rax\n"
			 "add %%r15, %%rax\n add %%rbx, %%rax\n"
			 "add %%rsi, %%rax\n add %%rdi, %%rax\n"
			 "pop %%rbx\n"
			 : "=a"(sum) : : "rcx", "rsi", "rdi", "r8", "r9",
			 "r10", "r11", "r12", "r13", "r14", "r15", "cc",
			 "memory");
	return !memcmp(in, out, sizeof(in)) && sum == 2048;
#else
	return true;
#endif
}

static inline void *child_spin(void *opaque)
{
	(void)opaque;
	for (;;) {
		if (!child_registers_hold())
			__atomic_fetch_add(&child_faults, 1, __ATOMIC_SEQ_CST);
		__atomic_fetch_add(&child_turns, 1, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

static inline void *child_read(void *opaque)
{
	int *fd = opaque;
	char c;

	if (read(*fd, &c, 1) < 0)
		__atomic_fetch_add(&child_faults, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static inline void *child_poll(void *opaque)
{
	sigset_t mask, now;
	int n;

	(void)opaque;
	sigfillset(&mask);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	sigdelset(&mask, SIGUSR2);
	n = ppoll(NULL, 0, NULL, &mask);
	pthread_sigmask(SIG_SETMASK, NULL, &now);
	(void)n;	/* it never comes back */
	__atomic_fetch_add(&child_faults, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static inline void *child_wait(void *opaque)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static pthread_cond_t never = PTHREAD_COND_INITIALIZER;

	(void)opaque;
	pthread_mutex_lock(&lock);
	for (;;)
		pthread_cond_wait(&never, &lock);
	return NULL;
}

/* Of a child's child: what has it of whoever is attached to its parent? */
static inline bool child_has_uffd(void)
{
	char path[32], name[32];

	for (int fd = 3; fd < 64; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, name, sizeof(name) - 1);
		if (n > 0 && !strncmp(name, "anon_inode:[userfaultfd]",
				      (size_t)n))
			return true;
	}
	return false;
}

static inline void *child_fork(void *opaque)
{
	char *memory = opaque;

	for (;;) {
		pid_t pid = fork();
		int status = 0;

		if (!pid) {
			/* Its own copy; nobody holds it up. */
			for (size_t i = 0; i < CHILD_BYTES; i += 16 * 4096)
				memory[i]++;
			if (child_has_uffd())
				__atomic_fetch_add(child_heirs, 1,
						   __ATOMIC_SEQ_CST);
			_exit(child_registers_hold() ? 0 : 1);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
			__atomic_fetch_add(&child_faults, 1, __ATOMIC_SEQ_CST);
		__atomic_fetch_add(&child_births, 1, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

static inline void child_alarm(int signal)
{
	(void)signal;
	child_alarms++;
}

static inline void child_start(void *(*run)(void *), void *opaque)
{
	pthread_t t;

	if (pthread_create(&t, NULL, run, opaque))
		child_faults++;
}

static inline void child_prepare(int kind, char *memory)
{
	static char alternate[65536];
	static int never[2]; /* made here: who counts files waits for us */
	stack_t stack = { .ss_sp = alternate, .ss_size = sizeof(alternate) };

	sigaltstack(&stack, NULL);
	if (kind & CHILD_CALLS) {
		if (pipe(never) < 0)
			child_faults++;
		child_start(child_read, never);
		child_start(child_poll, NULL);
		child_start(child_wait, NULL);
	}
	for (int i = 0; kind & CHILD_CROWD && i < 200; i++)
		child_start(child_wait, NULL);
	if (kind & CHILD_FORKS)
		child_start(child_fork, memory);
	if (kind & CHILD_ALARMS) {
		struct itimerval every = { { 0, 1000 }, { 0, 1000 } };
		struct sigaction act = { .sa_handler = child_alarm,
					 .sa_flags = SA_RESTART | SA_ONSTACK };

		sigaction(SIGALRM, &act, NULL);
		setitimer(ITIMER_REAL, &every, NULL);
	}
}

/* The signal mask and the alternate stack are what they were. */
static inline void child_check_own(void)
{
	sigset_t mask;
	stack_t stack;

	sigprocmask(SIG_SETMASK, NULL, &mask);
	sigaltstack(NULL, &stack);
	for (int s = 1; s < 32; s++)
		if (sigismember(&mask, s) != (s == SIGUSR1))
			child_faults++;
	if (stack.ss_size != 65536 || stack.ss_flags & SS_DISABLE)
		child_faults++;
}

/* 'w' page: write it; 'd' page: give it back; 'f': faults; 'a': alarms;
 * 't': turns; 'b': births; 'x': become another program; 'p': just answer. */
static inline void child_serve(const struct child *c, int ask, int answer)
{
	uint32_t in[2], out;

	while (read(ask, in, sizeof(in)) == (ssize_t)sizeof(in)) {
		child_check_own();
		out = 0;
		if (in[0] == 'w')
			c->memory[in[1] * 4096ul + 5]++;
		else if (in[0] == 'd')
			madvise(c->memory + in[1] * 4096ul, 4096,
				MADV_DONTNEED);
		else if (in[0] == 'f')
			out = child_faults;
		else if (in[0] == 'a')
			out = child_alarms;
		else if (in[0] == 't')
			out = child_turns;
		else if (in[0] == 'b')
			out = child_births;
		else if (in[0] == 'x')
			execl("/bin/sleep", "sleep", "600", NULL);
		if (write(answer, &out, sizeof(out)) != (ssize_t)sizeof(out))
			break;
	}
	_exit(0);
}

static inline uint32_t child_ask(const struct child *c, char what,
				 uint32_t page)
{
	uint32_t in[2] = { (uint32_t)what, page }, out = UINT32_MAX;
	struct pollfd p = { c->answer, POLLIN, 0 };

	if (write(c->ask, in, sizeof(in)) != (ssize_t)sizeof(in) ||
	    poll(&p, 1, 60000) != 1 ||
	    read(c->answer, &out, sizeof(out)) != (ssize_t)sizeof(out))
		return UINT32_MAX;
	return out;
}

/* @memory: mapped already, CHILD_BYTES; NULL: private memory of its own. */
static inline bool child_make(struct child *c, int kind, char *memory,
			      void (*first)(void))
{
	int in[2], out[2];
	sigset_t mask;

	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
		return false;
	c->memory = memory ? memory :
		    mmap(NULL, CHILD_BYTES, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (c->memory == MAP_FAILED)
		return false;
	c->pid = fork();
	if (!c->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(in[1]);
		close(out[0]);
		sigemptyset(&mask);
		sigaddset(&mask, SIGUSR1);
		sigprocmask(SIG_SETMASK, &mask, NULL);
		child_prepare(kind, c->memory);
		if (first)
			first();
		if (kind & CHILD_SPINS) {
			/* the only thread spins; the other end asks nothing */
			child_spin(NULL);
		}
		child_serve(c, in[0], out[1]);
	}
	close(in[0]);
	close(out[1]);
	c->ask = in[1];
	c->answer = out[0];
	return c->pid > 0;
}

static inline void child_end(struct child *c)
{
	kill(c->pid, SIGKILL);
	waitpid(c->pid, NULL, 0);
	close(c->ask);
	close(c->answer);
	munmap(c->memory, CHILD_BYTES);
}

/* Lines of a file of /proc, counted; those with @what only, unless NULL. */
static inline int child_lines(pid_t pid, const char *file, const char *what)
{
	char path[64], line[512];
	FILE *f;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		n += !what || strstr(line, what);
	if (f)
		fclose(f);
	return n;
}

static inline int child_files(pid_t pid)
{
	char path[64];
	DIR *d;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

#endif
