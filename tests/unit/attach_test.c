/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Attaching to a process: it is tracked, it never notices, and where it would,
 * it is left alone with the reason.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "attach/attach.h"
#include "attach/ram.h"
#include "attach/sharers.h"
#include "attach_child.h"
#include "sources/uffd_map.h"
#include "tidemark/source.h"

static struct tide_error err;
static unsigned char seen[CHILD_PAGES];

static void note(void *opaque, uint64_t offset, uint64_t len)
{
	(void)opaque;
	memset(seen + offset / 4096, 1, len / 4096);
}

static unsigned int scan(struct tide__attach *a, struct child *c)
{
	unsigned int n = 0;

	memset(seen, 0, sizeof(seen));
	assert_int_equal(tide__uffd_scan(a->pagemap, c->memory, CHILD_BYTES,
					 note, NULL, &err), 0);
	for (int i = 0; i < CHILD_PAGES; i++)
		n += seen[i];
	return n;
}

static void attach(struct tide__attach *a, struct child *c)
{
	if (tide__attach_open(a, c->pid, NULL, &err))
		fail_msg("attach: %s", err.text);
}

static void attach_and_arm(struct tide__attach *a, struct child *c)
{
	attach(a, c);
	if (tide__uffd_arm(a->uffd, a->pagemap, c->memory, CHILD_BYTES, &err))
		fail_msg("arm: %s", err.text);
}

static void lines_are_understood(void **state)
{
	static const struct {
		const char *line;
		bool good, writable, shared;
		enum tide__map_kind kind;
	} rows[] = {
		{ "7f00-8000 rw-p 00000000 00:00 0 \n", true, true, false,
		  TIDE__MAP_ANONYMOUS },
		{ "7f00-8000 rw-s 00001000 00:01 12 /memfd:ram (deleted)\n",
		  true, true, true, TIDE__MAP_SHMEM },
		{ "7f00-8000 rw-s 00000000 00:1a 12 /dev/shm/x\n", true, true,
		  true, TIDE__MAP_SHMEM },
		{ "7f00-8000 rw-p 00000000 00:10 1 /anon_hugepage (deleted)\n",
		  true, true, false, TIDE__MAP_HUGETLB },
		{ "7f00-8000 r--p 00000000 fe:00 12 /usr/lib/a b\n", true,
		  false, false, TIDE__MAP_FILE },
		{ "7f00-8000 rw-p 00000000 00:00 0 [stack]\n", true, true,
		  false, TIDE__MAP_OTHER },
		{ "8000-7f00 rw-p 00000000 00:00 0 \n", false },
		{ "7f00-8000 rw 00000000 00:00 0 \n", false },
		{ "rubbish\n", false }, { "", false },
	};
	struct tide__map m;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		bool good = tide__maps_parse(rows[i].line, &m);

		assert_int_equal(good, rows[i].good);
		if (!good)
			continue;
		assert_int_equal(m.start, 0x7f00);
		assert_int_equal(m.end, 0x8000);
		assert_int_equal(m.writable, rows[i].writable);
		assert_int_equal(m.shared, rows[i].shared);
		assert_int_equal(m.kind, rows[i].kind);
	}
}

static void writes_are_seen(void **state)
{
	struct tide__attach a;
	struct child c = { 0 };

	(void)state;
	assert_true(child_make(&c, CHILD_QUIET, NULL, NULL));
	attach_and_arm(&a, &c);
	scan(&a, &c);
	assert_int_equal(scan(&a, &c), 0);
	child_ask(&c, 'w', 3);
	child_ask(&c, 'w', 900);
	assert_int_equal(scan(&a, &c), 2);
	assert_true(seen[3] && seen[900]);
	child_ask(&c, 'd', 3);
	assert_int_equal(scan(&a, &c), 1);
	assert_true(seen[3]);
	tide__attach_close(&a);
	child_ask(&c, 'w', 4);
	/* What was let go can be taken again, and by another. */
	attach_and_arm(&a, &c);
	tide__attach_close(&a);
	child_end(&c);
}

/* Memory of each kind, through the public source. */
static void track_kind(char *memory)
{
	struct tide_source_vm vm = { .vm_fd = -1 };
	struct tide_slots *slots;
	struct tide_source *source;
	struct tide_set *set;
	struct tide_slot slot = { .len_bytes = CHILD_BYTES };
	struct child c = { 0 };
	siginfo_t ended;

	assert_true(child_make(&c, CHILD_QUIET, memory, NULL));
	slot.host = c.memory;
	vm.pid = c.pid;
	assert_int_equal(tide_set_create(&set, CHILD_PAGES, &err), 0);
	assert_int_equal(tide_slots_create(&slots, &err), 0);
	assert_int_equal(tide_slots_insert(slots, &slot, &err), 0);
	if (tide_source_create(&source, TIDE_SOURCE_FOREIGN, &vm, &err))
		fail_msg("source: %s", err.text);
	if (tide_source_start(source, slots, &err))
		fail_msg("start: %s", err.text);
	assert_int_equal(tide_source_harvest(source, set, &err), 0);
	for (uint32_t page = 7; page < CHILD_PAGES; page += 100)
		child_ask(&c, 'w', page);
	assert_int_equal(tide_source_harvest(source, set, &err), 0);
	for (uint32_t page = 7; page < CHILD_PAGES; page += 100)
		assert_true(tide_set_is_dirty(set, page));
	/* After its end all that was watched counts as written. */
	kill(c.pid, SIGKILL);
	assert_int_equal(waitid(P_PID, (id_t)c.pid, &ended,
				WEXITED | WNOWAIT), 0);
	assert_int_equal(tide_source_harvest(source, set, &err), -ESRCH);
	assert_non_null(strstr(err.text, "has ended"));
	assert_int_equal(tide_set_count(set), CHILD_PAGES);
	tide_source_destroy(source);
	tide_slots_destroy(slots);
	tide_set_destroy(set);
	child_end(&c);
}

static void every_kind_of_memory(void **state)
{
	int fd = memfd_create("ram", MFD_CLOEXEC);
	char *huge = mmap(NULL, CHILD_BYTES, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	(void)state;
	track_kind(NULL);
	assert_int_equal(ftruncate(fd, CHILD_BYTES), 0);
	track_kind(mmap(NULL, CHILD_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
			fd, 0));
	close(fd);
	if (huge == MAP_FAILED)
		print_message("# skip of hugetlbfs: no huge pages here\n");
	else
		track_kind(huge);
}

/* Nobody's registers, calls, masks and signals know that we were there. */
static void unnoticed(int kind, int times)
{
	struct tide__attach a;
	struct child c = { 0 };
	uint64_t longest = 0, all = 0;
	int maps, files;

	assert_true(child_make(&c, kind, NULL, NULL));
	if (!(kind & CHILD_SPINS))
		assert_int_equal(child_ask(&c, 'p', 0), 0);
	usleep(50000);
	maps = child_lines(c.pid, "maps", NULL);
	files = child_files(c.pid);
	for (int i = 0; i < times; i++) {
		attach_and_arm(&a, &c);
		if (a.stopped_ns > longest)
			longest = a.stopped_ns;
		all += a.stopped_ns;
		if (!(kind & CHILD_SPINS)) {
			scan(&a, &c);
			assert_int_equal(child_ask(&c, 'w', 8), 0);
			assert_true(scan(&a, &c) >= 1 && seen[8]);
		}
		tide__attach_close(&a);
	}
	print_message("# kind %d: stopped for %llu us, longest %llu\n", kind,
		      (unsigned long long)(all / times / 1000),
		      (unsigned long long)(longest / 1000));
	if (!(kind & CHILD_SPINS)) {
		assert_int_equal(child_ask(&c, 'f', 0), 0);
		if (kind & CHILD_ALARMS)
			assert_true(child_ask(&c, 'a', 0) > 20);
	}
	assert_int_equal(child_lines(c.pid, "maps", NULL), maps);
	assert_int_equal(child_files(c.pid), files);
	assert_int_equal(kill(c.pid, 0), 0);
	child_end(&c);
}

static void nobody_notices(void **state)
{
	(void)state;
	unnoticed(CHILD_QUIET, 200);
	unnoticed(CHILD_CALLS, 200);
	unnoticed(CHILD_ALARMS, 200);
	unnoticed(CHILD_CALLS | CHILD_CROWD, 50);
}

/*
 * It forks all the time: its children have a copy of its memory that is
 * nobody's to track, and go their way. One that is born while the descriptor is
 * in its parent has it, too, for as long as it lives.
 */
static void one_that_forks(void **state)
{
	struct tide__attach a;
	struct child c = { 0 };
	uint32_t births;

	(void)state;
	child_heirs = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(child_make(&c, CHILD_FORKS, NULL, NULL));
	for (int i = 0; i < 30; i++) {
		attach_and_arm(&a, &c);
		births = child_ask(&c, 'b', 0);
		scan(&a, &c);
		assert_int_equal(child_ask(&c, 'w', 8), 0);
		assert_true(scan(&a, &c) >= 1 && seen[8]);
		for (int n = 0; n < 30000 && child_ask(&c, 'b', 0) < births + 2;
		     n++)
			usleep(1000);
		assert_true(child_ask(&c, 'b', 0) >= births + 2);
		tide__attach_close(&a);
	}
	assert_int_equal(child_ask(&c, 'f', 0), 0);
	assert_int_equal(child_lines(c.pid, "smaps", " uw"), 0);
	print_message("# of %u children %u had a descriptor of ours\n",
		      child_ask(&c, 'b', 0), *child_heirs);
	child_end(&c);
	munmap(child_heirs, 4096);
}

/* It becomes another program, whose memory is another one, and lives. */
static void one_that_execs(void **state)
{
	struct tide_source_vm vm = { .struct_size = sizeof(vm), .vm_fd = -1 };
	struct tide_slot slot = { .len_bytes = CHILD_BYTES };
	struct tide_source *source;
	struct tide_slots *slots;
	struct tide_set *set;
	struct child c = { 0 };
	uint32_t in[2] = { 'x', 0 };

	(void)state;
	assert_true(child_make(&c, CHILD_CALLS, NULL, NULL));
	assert_int_equal(child_ask(&c, 'p', 0), 0);
	vm.pid = c.pid;
	slot.host = c.memory;
	assert_int_equal(tide_slots_create(&slots, &err), 0);
	assert_int_equal(tide_slots_insert(slots, &slot, &err), 0);
	assert_int_equal(tide_set_create(&set, CHILD_PAGES, &err), 0);
	assert_int_equal(tide_source_create(&source, TIDE_SOURCE_FOREIGN, &vm,
					    &err), 0);
	assert_int_equal(tide_source_start(source, slots, &err), 0);
	assert_int_equal(tide_source_harvest(source, set, &err), 0);
	assert_int_equal(write(c.ask, in, sizeof(in)), (int)sizeof(in));
	for (int n = 0; n < 30000 &&
	     !child_lines(c.pid, "comm", "sleep"); n++)
		usleep(1000);
	/* It says so, rather than that nothing was written. */
	assert_true(tide_source_harvest(source, set, &err) < 0);
	assert_true(err.text[0]);
	tide_source_stop(source, NULL);
	tide_source_destroy(source);
	tide_slots_destroy(slots);
	tide_set_destroy(set);
	assert_int_equal(child_lines(c.pid, "comm", "sleep"), 1);
	assert_int_equal(child_lines(c.pid, "status", "TracerPid:\t0"), 1);
	child_end(&c);
}

/* A thread that never enters the kernel, seen through its own counter. */
static void a_spinner_keeps_its_registers(void **state)
{
	volatile unsigned int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
					     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct tide__attach a;
	pid_t pid = fork();

	(void)state;
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;) {
			if (!child_registers_hold())
				shared[1]++;
			shared[0]++;
		}
	}
	for (int i = 0; i < 100; i++) {
		unsigned int turns = shared[0];

		if (tide__attach_open(&a, pid, NULL, &err))
			fail_msg("attach %d: %s", i, err.text);
		tide__attach_close(&a);
		for (int n = 0; n < 30000 && shared[0] == turns; n++)
			usleep(1000);
		assert_true(shared[0] != turns);
	}
	assert_int_equal(shared[1], 0);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	munmap((void *)shared, 4096);
}

static void refused(pid_t pid, int code, const char *reason)
{
	struct tide__attach a;
	int ret = tide__attach_open(&a, pid, NULL, &err);

	if (ret != code || !strstr(err.text, reason))
		fail_msg("%d, not %d: %s (wanted: %s)", ret, code, err.text,
			 reason);
	assert_int_equal(a.uffd, -1);
}

static void refusals(void **state)
{
	struct child c = { 0 };
	int status;

	(void)state;
	refused(getpid(), -EINVAL, "itself");
	refused(0, -ESRCH, "no process");
	refused(INT32_MAX, -ESRCH, "no process");
	assert_true(child_make(&c, CHILD_QUIET, NULL, NULL));
	kill(c.pid, SIGSTOP);
	waitpid(c.pid, &status, WUNTRACED);
	refused(c.pid, -EAGAIN, "is stopped");
	kill(c.pid, SIGCONT);
	assert_int_equal(child_ask(&c, 'p', 0), 0);
	/* Under a debugger. */
	assert_int_equal(ptrace(PTRACE_SEIZE, c.pid, 0, 0), 0);
	refused(c.pid, -EBUSY, "is traced by process");
	ptrace(PTRACE_INTERRUPT, c.pid, 0, 0);
	waitpid(c.pid, &status, __WALL);
	ptrace(PTRACE_DETACH, c.pid, 0, 0);
	assert_int_equal(child_ask(&c, 'f', 0), 0);
	/* One that has ended and was not waited for. */
	kill(c.pid, SIGKILL);
	siginfo_t info;
	waitid(P_PID, (id_t)c.pid, &info, WEXITED | WNOWAIT);
	refused(c.pid, -ESRCH, "has ended");
	child_end(&c);
}

static void another_users(void **state)
{
	struct child c = { 0 };
	int status;
	pid_t pid;

	(void)state;
	if (getuid()) {
		print_message("# skip: only root can play two users\n");
		skip();
	}
	assert_true(child_make(&c, CHILD_QUIET, NULL, NULL));
	pid = fork();
	if (!pid) {
		struct tide__attach a;

		if (setgid(65534) || setuid(65534))
			_exit(1);
		_exit(tide__attach_open(&a, c.pid, NULL, &err) &&
		      strstr(err.text, "CAP_SYS_PTRACE") ? 0 : 2);
	}
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
	assert_int_equal(child_ask(&c, 'f', 0), 0);
	child_end(&c);
}

static void tracked_by_another(void **state)
{
	struct tide__attach a, b;
	struct child c = { 0 };

	(void)state;
	assert_true(child_make(&c, CHILD_QUIET, NULL, NULL));
	attach_and_arm(&a, &c);
	attach(&b, &c);
	assert_int_equal(tide__uffd_arm(b.uffd, b.pagemap, c.memory,
					CHILD_BYTES, &err), -EBUSY);
	/* The first one did not suffer. */
	scan(&a, &c);
	child_ask(&c, 'w', 1);
	assert_int_equal(scan(&a, &c), 1);
	tide__attach_close(&b);
	tide__attach_close(&a);
	child_end(&c);
}

/* A filter that kills whoever makes a userfaultfd. */
static void forbid(void)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { sizeof(f) / sizeof(*f), f };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		child_faults++;
}

static void behind_a_filter(void **state)
{
	struct tide__attach a;
	struct child c = { 0 };
	int ret;

	(void)state;
	assert_true(child_make(&c, CHILD_CALLS, NULL, forbid));
	assert_int_equal(child_ask(&c, 'f', 0), 0);
	for (int i = 0; i < 30; i++) {
		ret = tide__attach_open(&a, c.pid, NULL, &err);
		if (ret == -EPERM) {
			assert_non_null(strstr(err.text, "CAP_SYS_ADMIN"));
			break;
		}
		if (ret)
			fail_msg("%s", err.text);
		tide__attach_close(&a);
		assert_int_equal(child_ask(&c, 'f', 0), 0);
		/* The filter is there again. */
		assert_int_equal(child_lines(c.pid, "status", "Seccomp:\t2"),
				 1);
	}
	child_end(&c);
}

/* Two at once, again and again: each gets through or says why not. */
static void two_at_once(void **state)
{
	struct child c = { 0 };
	pid_t pid[2];
	int status;

	(void)state;
	assert_true(child_make(&c, CHILD_CALLS | CHILD_ALARMS, NULL, NULL));
	for (int p = 0; p < 2; p++) {
		pid[p] = fork();
		if (pid[p])
			continue;
		for (int i = 0; i < 100; i++) {
			struct tide__attach a;
			int ret = tide__attach_open(&a, c.pid, NULL, &err);

			if (ret && ret != -EBUSY && ret != -EAGAIN) {
				fprintf(stderr, "%s\n", err.text);
				_exit(1);
			}
			tide__attach_close(&a);
		}
		_exit(0);
	}
	for (int p = 0; p < 2; p++) {
		waitpid(pid[p], &status, 0);
		assert_int_equal(status, 0);
	}
	assert_int_equal(child_ask(&c, 'f', 0), 0);
	child_end(&c);
}

static void memory_is_found(void **state)
{
	struct tide__maps maps;
	struct tide__ram ram;
	struct child c = { 0 };
	bool found = false;

	(void)state;
	assert_true(child_make(&c, CHILD_QUIET, NULL, NULL));
	assert_int_equal(tide__maps_read(&maps, c.pid, &err), 0);
	assert_int_equal(tide__ram_find(&ram, &maps, CHILD_BYTES, &err), 0);
	for (size_t i = 0; i < ram.count; i++)
		found |= ram.area[i].start <= (uintptr_t)c.memory &&
			 ram.area[i].start + ram.area[i].len_bytes >=
			     (uintptr_t)c.memory + CHILD_BYTES;
	assert_true(found);
	/* More than addresses can reach; a sanitizer maps terabytes. */
	assert_int_equal(tide__ram_find(&ram, &maps, UINT64_C(1) << 60, &err),
			 -ENOENT);
	tide__maps_free(&maps);
	child_end(&c);
}

/* A child with the same memfd: it could write unseen. */
static void sharers_are_named(void **state)
{
	int fd = memfd_create("ram", MFD_CLOEXEC);
	struct tide__maps maps;
	struct tide__ram ram;
	struct child c = { 0 };
	char number[16], *memory;

	(void)state;
	assert_int_equal(ftruncate(fd, CHILD_BYTES), 0);
	memory = mmap(NULL, CHILD_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
		      fd, 0);
	assert_true(child_make(&c, CHILD_QUIET, memory, NULL));
	assert_int_equal(tide__maps_read(&maps, c.pid, &err), 0);
	assert_int_equal(tide__ram_find(&ram, &maps, CHILD_BYTES, &err), 0);
	tide__maps_free(&maps);
	assert_int_equal(tide__ram_sharer(&ram, c.pid, &err), -EBUSY);
	snprintf(number, sizeof(number), "process %d ", getpid());
	assert_non_null(strstr(err.text, number));
	munmap(memory, CHILD_BYTES);
	assert_int_equal(tide__ram_sharer(&ram, c.pid, &err), 0);
	close(fd);
	child_end(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_are_understood),
		cmocka_unit_test(memory_is_found),
		cmocka_unit_test(writes_are_seen),
		cmocka_unit_test(every_kind_of_memory),
		cmocka_unit_test(nobody_notices),
		cmocka_unit_test(one_that_forks),
		cmocka_unit_test(one_that_execs),
		cmocka_unit_test(a_spinner_keeps_its_registers),
		cmocka_unit_test(refusals),
		cmocka_unit_test(another_users),
		cmocka_unit_test(tracked_by_another),
		cmocka_unit_test(behind_a_filter),
		cmocka_unit_test(two_at_once),
		cmocka_unit_test(sharers_are_named),
	};

	if (tide_source_probe(TIDE_SOURCE_FOREIGN, &err)) {
		if (err.code != -EILSEQ) {
			printf("1..0 # SKIP %s\n", err.text);
			return 0;
		}
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
