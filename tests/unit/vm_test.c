/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The reference VMM: every pattern runs and verifies; a VM loaded from state
 * and memory goes on; a page that is torn or old is found; software marks.
 */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "../../guest/virtio.h"
#include "base/clock.h"
#include "vm/internal.h"

#define SECOND 1000000000ull

static void msleep(long ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&ts, NULL);
}

/* It runs: a busy machine may give a guest its processor late. */
static void await_written(struct vm *vm, uint64_t pages)
{
	for (int i = 0; i < 60000 && vm_pages_written(vm) <= pages; i++)
		msleep(1);
	assert_true(vm_pages_written(vm) > pages);
}

static void config_for(struct vm_config *c, unsigned int pattern,
		       enum vm_accel accel)
{
	vm_config_defaults(c);
	c->accel = accel;
	if (accel == VM_ACCEL_PROCESS)
		c->source = TIDE_SOURCE_UFFD;
	c->memory_bytes = 32ull << 20;
	c->pattern = pattern;
	c->rate_pages_per_s = 0;
}

static void need_kvm(void)
{
	if (vm_accel_here() == VM_ACCEL_KVM)
		return;
	print_message("# skip: /dev/kvm cannot be opened\n");
	skip();
}

static struct vm *start(const struct vm_config *c)
{
	struct tide_error err;
	struct vm *vm = NULL;

	if (vm_create(&vm, c, &err))
		fail_msg("%s: %s", err.origin, err.text);
	assert_int_equal(vm_resume(vm, NULL), 0);
	return vm;
}

static void verify_ok(struct vm *vm)
{
	struct vm_verdict v;
	struct tide_error err;

	if (vm_verify(vm, 20 * SECOND, &v, &err))
		fail_msg("%s: %s", err.origin, err.text);
	assert_int_equal(v.bad, 0);
	assert_int_equal(v.disk_bad, 0);
}

static void every_pattern(enum vm_accel accel)
{
	for (unsigned int p = 0; p < GUEST_PATTERNS; p++) {
		struct vm_config c;
		struct vm *vm;

		config_for(&c, p, accel);
		c.hole = p & 1;
		c.vcpus = 1 + p % 4;
		vm = start(&c);
		msleep(50);
		if (p != GUEST_IDLE)
			await_written(vm, 100);
		verify_ok(vm);
		if (p == GUEST_IDLE)
			assert_int_equal(vm_pages_written(vm), 0);
		vm_destroy(vm);
	}
}

static void every_pattern_kvm(void **state)
{
	(void)state;
	need_kvm();
	every_pattern(VM_ACCEL_KVM);
}

static void every_pattern_process(void **state)
{
	(void)state;
	every_pattern(VM_ACCEL_PROCESS);
}

static void rate_is_kept(void **state)
{
	struct vm_config c;
	uint64_t before, pages, start_ns, ns;
	bool kept = false;
	struct vm *vm;

	(void)state;
	config_for(&c, GUEST_UNIFORM, VM_ACCEL_AUTO);
	if (vm_accel_here() != VM_ACCEL_KVM)
		c.source = TIDE_SOURCE_UFFD;
	c.rate_pages_per_s = 2000;
	vm = start(&c);
	msleep(100);
	/* Once will do: what else runs here may take the processor. */
	for (int i = 0; i < 20 && !kept; i++) {
		start_ns = tide__now_ns();
		before = vm_pages_written(vm);
		msleep(500);
		pages = vm_pages_written(vm) - before;
		ns = tide__now_ns() - start_ns;
		kept = pages * SECOND >= 600 * ns &&
		       pages * SECOND <= 2200 * ns;
		print_message("# %llu pages in %llu ms\n",
			      (unsigned long long)pages,
			      (unsigned long long)ns / 1000000);
	}
	assert_true(kept);
	vm_destroy(vm);
}

static void damage_is_found(enum vm_accel accel)
{
	struct vm_config c;
	struct vm_verdict v;
	struct guest_control *control;
	struct guest_record *record, old;
	struct tide_slot slot;
	struct vm *vm;

	config_for(&c, GUEST_SEQUENTIAL, accel);
	c.vcpus = 1;
	vm = start(&c);
	await_written(vm, 100);
	vm_pause(vm, NULL);
	assert_true(tide_slots_find_gpa(vm_slots(vm), 0, &slot));
	control = (void *)((char *)slot.host + GUEST_CONTROL);
	record = (void *)((char *)slot.host +
			  control->region[0].first * GUEST_PAGE_BYTES);
	old = *record;
	assert_int_equal(old.magic, GUEST_MAGIC);
	/* Idle, and the batch that was under way done: no repair by writing. */
	control->pattern = GUEST_IDLE;
	vm_resume(vm, NULL);
	verify_ok(vm);
	vm_pause(vm, NULL);
	old = *record;
	record->body[77] ^= 1;
	vm_resume(vm, NULL);
	assert_int_equal(vm_verify(vm, 20 * SECOND, &v, NULL), 0);
	assert_int_equal(v.bad, 1);
	assert_int_equal(v.first_bad, control->region[0].first);
	assert_string_equal(v.first_bad_kind, "content");
	*record = old;
	verify_ok(vm);
	/* An older version of the page, whole: what a lost update leaves. */
	((uint32_t *)((char *)slot.host + GUEST_VERSIONS))[0]++;
	assert_int_equal(vm_verify(vm, 20 * SECOND, &v, NULL), 0);
	assert_int_equal(v.bad, 1);
	assert_string_equal(v.first_bad_kind, "version");
	vm_destroy(vm);
}

static void damage_is_found_kvm(void **state)
{
	(void)state;
	need_kvm();
	damage_is_found(VM_ACCEL_KVM);
}

static void damage_is_found_process(void **state)
{
	(void)state;
	damage_is_found(VM_ACCEL_PROCESS);
}

static char *make_disk(void)
{
	char *path = strdup("/tmp/tidemark-disk-XXXXXX");
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 4 << 20), 0);
	close(fd);
	return path;
}

/* Copy a paused VM into another, as a migration does, and let it go on. */
static void state_moves(enum vm_accel accel)
{
	struct tide_slot slots[16], to;
	struct vm_config c;
	struct vm *a, *b = NULL;
	struct tide_error err;
	char *disk = make_disk();
	uint64_t from = 0, written;
	size_t n = 0, len;
	void *blob;

	config_for(&c, GUEST_MIXED, accel);
	c.hole = true;
	c.disk_path = disk;
	a = start(&c);
	await_written(a, 100);
	msleep(80);
	vm_pause(a, NULL);
	while (tide_slots_next(vm_slots(a), from, &slots[n])) {
		from = slots[n].gpa_bytes + slots[n].len_bytes;
		n++;
	}
	assert_int_equal(vm_save_state(a, &blob, &len, NULL), 0);
	assert_int_equal(vm_create_incoming(&b, &c, NULL), 0);
	assert_int_equal(vm_prepare_incoming(b, slots, n, NULL), 0);
	for (size_t i = 0; i < n; i++) {
		assert_true(tide_slots_find_id(vm_slots(b), slots[i].id, &to));
		memcpy(to.host, slots[i].host, to.len_bytes);
	}
	if (vm_load_state(b, blob, len, &err))
		fail_msg("%s: %s", err.origin, err.text);
	assert_true(vm_memory_hash(a) == vm_memory_hash(b));
	written = vm_pages_written(a);
	assert_int_equal(vm_pages_written(b), written);
	vm_resume(b, NULL);
	await_written(b, written);
	verify_ok(b);
	assert_int_equal(vm_pages_written(a), written);
	vm_destroy(a);
	vm_destroy(b);
	free(blob);
	unlink(disk);
	free(disk);
}

static void state_moves_kvm(void **state)
{
	(void)state;
	need_kvm();
	state_moves(VM_ACCEL_KVM);
}

static void state_moves_process(void **state)
{
	(void)state;
	state_moves(VM_ACCEL_PROCESS);
}

static void damaged_state_is_refused(void **state)
{
	struct vm_config c;
	struct tide_error err;
	struct vm *a, *b;
	size_t len;
	void *blob;

	(void)state;
	config_for(&c, GUEST_IDLE, VM_ACCEL_PROCESS);
	a = start(&c);
	vm_pause(a, NULL);
	assert_int_equal(vm_save_state(a, &blob, &len, NULL), 0);
	assert_int_equal(vm_create_incoming(&b, &c, NULL), 0);
	assert_true(vm_load_state(b, blob, 7, &err) < 0);
	assert_non_null(strstr(err.text, "too short"));
	((char *)blob)[0] ^= 1;
	assert_true(vm_load_state(b, blob, len, &err) < 0);
	assert_non_null(strstr(err.text, "version"));
	free(blob);
	vm_destroy(a);
	vm_destroy(b);
}

/* Each byte of the head: refused, or the guest can be paused and destroyed. */
static void every_byte_of_the_head(void **state)
{
	struct tide_slot slots[16], to;
	unsigned int refused = 0;
	struct tide_error err;
	char *disk = make_disk();
	struct vm_config c;
	uint64_t from = 0;
	size_t n = 0, len;
	struct vm *a, *b;
	char *blob;

	(void)state;
	config_for(&c, GUEST_MIXED, VM_ACCEL_PROCESS);
	c.disk_path = disk;
	a = start(&c);
	await_written(a, 100);
	msleep(20);
	vm_pause(a, NULL);
	while (tide_slots_next(vm_slots(a), from, &slots[n])) {
		from = slots[n].gpa_bytes + slots[n].len_bytes;
		n++;
	}
	assert_int_equal(vm_save_state(a, (void **)&blob, &len, NULL), 0);
	for (size_t at = 0; at < len; at++) {
		int ret;

		blob[at] ^= 0x13;
		assert_int_equal(vm_create_incoming(&b, &c, NULL), 0);
		assert_int_equal(vm_prepare_incoming(b, slots, n, NULL), 0);
		/* the low pages steer; the others may be empty */
		tide_slots_find_id(vm_slots(b), slots[0].id, &to);
		memcpy(to.host, slots[0].host, 2 << 20);
		ret = vm_load_state(b, blob, len, &err);
		if (ret) {
			assert_int_equal(ret, -EPROTO);
			refused++;
		} else {
			vm_resume(b, NULL);
			msleep(1);
			vm_pause(b, NULL);
		}
		vm_destroy(b);
		blob[at] ^= 0x13;
	}
	assert_true(refused >= 50 && refused < len);
	print_message("# %u of %zu bytes refused\n", refused, len);
	free(blob);
	vm_destroy(a);
	unlink(disk);
	free(disk);
}

/* Each byte of the rings: a broken queue holds neither thread nor pause. */
static void every_byte_of_the_rings(void **state)
{
	struct tide_slot slots[16], to;
	char *disk = make_disk(), *blob, *queue;
	struct vm_config c;
	uint64_t from = 0;
	size_t n = 0, len;
	struct vm *a, *b;

	(void)state;
	config_for(&c, GUEST_MIXED, VM_ACCEL_PROCESS);
	c.disk_path = disk;
	a = start(&c);
	await_written(a, 100);
	msleep(20);
	vm_pause(a, NULL);
	while (tide_slots_next(vm_slots(a), from, &slots[n])) {
		from = slots[n].gpa_bytes + slots[n].len_bytes;
		n++;
	}
	assert_int_equal(vm_save_state(a, (void **)&blob, &len, NULL), 0);
	for (size_t at = 0; at < 0x400; at += 5) {
		assert_int_equal(vm_create_incoming(&b, &c, NULL), 0);
		assert_int_equal(vm_prepare_incoming(b, slots, n, NULL), 0);
		tide_slots_find_id(vm_slots(b), slots[0].id, &to);
		memcpy(to.host, slots[0].host, 2 << 20);
		queue = (char *)to.host + GUEST_QUEUE;
		queue[at] ^= 0x55;
		assert_int_equal(vm_load_state(b, blob, len, NULL), 0);
		vm_resume(b, NULL);
		msleep(2);
		vm_pause(b, NULL);
		vm_destroy(b);
	}
	free(blob);
	vm_destroy(a);
	unlink(disk);
	free(disk);
}

/* What a sender may write into the page by which threads of ours work. */
static const char *spoil(struct guest_control *c, unsigned int how)
{
	switch (how) {
	case 0:
		c->region[0].first = 0x7000000;
		return "region";
	case 1:
		c->region[0].first = GUEST_CONTROL / GUEST_PAGE_BYTES;
		return "region";
	case 2:
		c->region[c->regions - 1].count += 1 << 20;
		return "region";
	case 3:
		c->region[0].first = UINT64_MAX / GUEST_PAGE_BYTES + 2;
		return "region";
	case 4:
		c->region[0].count = 0;
		return "too few";
	case 5:
		c->work_pages = 1 << 24;
		return "versions";
	case 6:
		c->work_pages = 0;
		return "counts";
	case 7:
		c->regions = GUEST_MAX_REGIONS + 1;
		return "counts";
	case 8:
		c->vcpus = 0;
		return "not the page";
	case 9:
		c->pattern = GUEST_PATTERNS;
		return "not the page";
	case 10:
		c->disk_blocks = 1;
		return "disk";
	case 11:
		c->batch = UINT32_MAX;
		return "counts";
	default:
		return NULL;
	}
}

static void control_page_is_checked(void **state)
{
	struct tide_slot slots[16], to;
	const char *fault = "";
	struct tide_error err;
	struct vm_config c;
	uint64_t from = 0;
	size_t n = 0, len;
	struct vm *a, *b;
	void *blob;

	(void)state;
	config_for(&c, GUEST_UNIFORM, VM_ACCEL_PROCESS);
	a = start(&c);
	vm_pause(a, NULL);
	while (tide_slots_next(vm_slots(a), from, &slots[n])) {
		from = slots[n].gpa_bytes + slots[n].len_bytes;
		n++;
	}
	assert_int_equal(vm_save_state(a, &blob, &len, NULL), 0);
	for (unsigned int how = 0; fault; how++) {
		int ret;

		assert_int_equal(vm_create_incoming(&b, &c, NULL), 0);
		assert_int_equal(vm_prepare_incoming(b, slots, n, NULL), 0);
		for (size_t i = 0; i < n; i++) {
			tide_slots_find_id(vm_slots(b), slots[i].id, &to);
			memcpy(to.host, slots[i].host, to.len_bytes);
		}
		tide_slots_find_id(vm_slots(b), slots[0].id, &to);
		fault = spoil((void *)((char *)to.host + GUEST_CONTROL), how);
		ret = vm_load_state(b, blob, len, &err);
		if (!fault)
			assert_int_equal(ret, 0);
		else if (ret >= 0 || !strstr(err.text, fault))
			fail_msg("%u: %d, %s", how, ret, ret ? err.text : "");
		vm_destroy(b);
	}
	free(blob);
	vm_destroy(a);
}

/* A register of the disk's, written as a guest does. */
static void put_half(struct vm *vm, uint32_t offset, uint64_t gpa)
{
	vm__disk_write(vm, offset, (uint32_t)gpa);
	vm__disk_write(vm, offset + 4, (uint32_t)(gpa >> 32));
}

/*
 * Found by fuzzing: rings at odd addresses, where an index cannot be loaded at
 * once. The specification wants them aligned.
 */
static void found_rings_that_are_not_aligned(void **state)
{
	static const uint32_t part[] = { VIRTIO_QUEUE_DESC, VIRTIO_QUEUE_DRIVER,
					 VIRTIO_QUEUE_DEVICE };
	static const uint64_t off[] = { 0, 8, 1, 2 };
	const struct tide_slot wanted = { 0, 0, 0, 2 << 20, NULL };
	char *disk = make_disk();
	struct tide_slot slot;
	struct vm_config c;

	(void)state;
	config_for(&c, GUEST_MIXED, VM_ACCEL_PROCESS);
	c.disk_path = disk;
	for (unsigned int bad = 0; bad < 4; bad++) {
		struct virtq_avail *avail;
		struct vm *vm;

		assert_int_equal(vm_create_incoming(&vm, &c, NULL), 0);
		assert_int_equal(vm_prepare_incoming(vm, &wanted, 1, NULL), 0);
		assert_true(tide_slots_find_gpa(vm_slots(vm), 0, &slot));
		for (unsigned int i = 0; i < 3; i++)
			put_half(vm, part[i], GUEST_QUEUE + 0x400 * i +
				 (bad == i + 1 ? off[bad] : 0));
		/* A request that is there, whatever its descriptors say. */
		avail = (void *)((char *)slot.host + GUEST_QUEUE + 0x400);
		avail->idx = bad == 1;
		vm__disk_write(vm, VIRTIO_QUEUE_READY, 1);
		vm__disk_write(vm, VIRTIO_QUEUE_NOTIFY, 0);
		assert_int_equal(vm__disk_read(vm, VIRTIO_STATUS),
				 bad ? 64 : 0);
		vm_destroy(vm);
	}
	unlink(disk);
	free(disk);
}

static unsigned int threads_here(void)
{
	DIR *dir = opendir("/proc/self/task");
	unsigned int n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2;
}

/* One that was joined may stand in the list for a moment. */
static void expect_threads(unsigned int n)
{
	for (int i = 0; i < 30000 && threads_here() != n; i++)
		msleep(1);
	assert_int_equal(threads_here(), n);
}

/* The guest of @a arrives at @b, up to where GO was due. */
static void arrive(struct vm *a, struct vm *b)
{
	struct tide_slot slot, slots[16], to;
	struct tide_error err;
	uint64_t from = 0;
	size_t n = 0, len;
	void *blob;

	while (tide_slots_next(vm_slots(a), from, &slot)) {
		from = slot.gpa_bytes + slot.len_bytes;
		slots[n++] = slot;
	}
	assert_int_equal(vm_save_state(a, &blob, &len, NULL), 0);
	if (vm_prepare_incoming(b, slots, n, &err))
		fail_msg("%s", err.text);
	for (size_t i = 0; i < n; i++) {
		assert_true(tide_slots_find_id(vm_slots(b), slots[i].id, &to));
		memcpy(to.host, slots[i].host, to.len_bytes);
	}
	if (vm_load_state(b, blob, len, &err))
		fail_msg("%s: %s", err.origin, err.text);
	free(blob);
}

/*
 * Guests of which GO never came, then one that comes: nothing of the others is
 * left, in vCPUs, threads or reasons to be dead.
 */
static void the_next_one_after(enum vm_accel accel)
{
	struct vm_config c, many;
	unsigned int threads;
	struct vm *a, *lost, *b;

	config_for(&c, GUEST_UNIFORM, accel);
	many = c;
	c.vcpus = 1;
	many.vcpus = 8;
	a = start(&c);
	lost = start(&many);
	msleep(20);
	vm_pause(a, NULL);
	vm_pause(lost, NULL);
	threads = threads_here();
	assert_int_equal(vm_create_incoming(&b, &c, NULL), 0);
	for (unsigned int i = 0; i < 3; i++) {
		arrive(lost, b);
		expect_threads(threads + 8);
		assert_int_equal(vm_forget_incoming(b, NULL), 0);
		expect_threads(threads);
		assert_int_equal(tide_slots_count(vm_slots(b)), 0);
	}
	arrive(a, b);
	expect_threads(threads + 1);
	assert_int_equal(vm_resume(b, NULL), 0);
	msleep(20);
	verify_ok(b);
	vm_destroy(a);
	vm_destroy(lost);
	vm_destroy(b);
}

static void the_next_one_kvm(void **state)
{
	(void)state;
	need_kvm();
	the_next_one_after(VM_ACCEL_KVM);
}

static void the_next_one_process(void **state)
{
	(void)state;
	the_next_one_after(VM_ACCEL_PROCESS);
}

static void slots_come_and_go(void **state)
{
	struct vm_config c;
	struct vm *vm;
	uint32_t id;

	(void)state;
	need_kvm();
	config_for(&c, GUEST_UNIFORM, VM_ACCEL_KVM);
	vm = start(&c);
	assert_int_equal(vm_track_start(vm, NULL), 0);
	for (int i = 0; i < 20; i++) {
		uint64_t gpa = 512ull << 20;

		assert_int_equal(vm_add_slot(vm, gpa, 4 << 20, &id, NULL), 0);
		assert_true(tide_set_is_dirty(vm_set(vm), gpa / 4096 + 5));
		assert_int_equal(tide_source_harvest(vm_source(vm), vm_set(vm),
						     NULL), 0);
		assert_int_equal(vm_remove_slot(vm, id, NULL), 0);
	}
	assert_int_equal(tide_slots_count(vm_slots(vm)), 2);
	verify_ok(vm);
	vm_destroy(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_pattern_kvm),
		cmocka_unit_test(every_pattern_process),
		cmocka_unit_test(rate_is_kept),
		cmocka_unit_test(damage_is_found_kvm),
		cmocka_unit_test(damage_is_found_process),
		cmocka_unit_test(state_moves_kvm),
		cmocka_unit_test(state_moves_process),
		cmocka_unit_test(damaged_state_is_refused),
		cmocka_unit_test(every_byte_of_the_head),
		cmocka_unit_test(every_byte_of_the_rings),
		cmocka_unit_test(control_page_is_checked),
		cmocka_unit_test(found_rings_that_are_not_aligned),
		cmocka_unit_test(the_next_one_kvm),
		cmocka_unit_test(the_next_one_process),
		cmocka_unit_test(slots_come_and_go),
	};

	return cmocka_run_group_tests_name("vm", tests, NULL, NULL);
}
