/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vCPU threads: starting, pausing, resuming, and pacing them.
 *
 * A thread holds a share of in_guest exactly while it may touch guest memory.
 * Pausing clears want_run, kicks every vCPU, and waits for in_guest to reach
 * 0; a vCPU that was about to enter the guest is turned back by KVM's
 * immediate_exit, which the kick sets under the lock and which the vCPU clears
 * before it looks at want_run. So no kick can be missed.
 *
 * Whoever else writes to the guest's memory while it runs, on behalf of a
 * device or because memory was plugged, takes a share likewise. So a pause has
 * waited for all writers, and what they wrote and marked is harvested after it.
 *
 * Pacing: the guest comes back after every batch of pages; here it sleeps so
 * that its rate is what was asked, and longer if it is throttled. The sleep is
 * on the condition variable, so a pause ends it.
 */
#include <errno.h>
#include <string.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "vm/internal.h"

#define IDLE_SLEEP_NS 1000000u
#define LONGEST_SLEEP_NS 1000000000ull

bool vm__wants_run(const struct vm *vm)
{
	/* Pairs with the stores under the lock; the lock decides in the end. */
	return tide__load_acquire(&vm->want_run);
}

static void *vcpu_main(void *arg)
{
	struct vm_vcpu *vcpu = arg;
	struct vm *vm = vcpu->vm;

	pthread_mutex_lock(&vm->lock);
	while (!vm->quit) {
		if (!vm->want_run) {
			pthread_cond_wait(&vm->changed, &vm->lock);
			continue;
		}
		vm->in_guest++;
		vcpu->batch_start_ns = tide__now_ns();
		pthread_mutex_unlock(&vm->lock);
		vm->ops->run(vcpu);
		pthread_mutex_lock(&vm->lock);
		vm->in_guest--;
		pthread_cond_broadcast(&vm->changed);
	}
	pthread_mutex_unlock(&vm->lock);
	return NULL;
}

int vm__threads_start(struct vm *vm, struct tide_error *err)
{
	for (unsigned int i = 0; i < vm->config.vcpus; i++) {
		struct vm_vcpu *vcpu = &vm->vcpu[i];
		int ret = pthread_create(&vcpu->thread, NULL, vcpu_main, vcpu);

		if (ret)
			return tide_error_set(err, -ret, "vm", i,
					      "cannot start the thread of vCPU "
					      "%u: %s", i, strerror(ret));
		vcpu->has_thread = true;
	}
	return 0;
}

bool vm_write_begin(struct vm *vm)
{
	bool may;

	pthread_mutex_lock(&vm->lock);
	may = vm->want_run;
	vm->in_guest += may;
	pthread_mutex_unlock(&vm->lock);
	return may;
}

void vm_write_end(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	vm->in_guest--;
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
}

int vm_pause(struct vm *vm, struct tide_error *err)
{
	(void)err;
	pthread_mutex_lock(&vm->lock);
	tide__store_release(&vm->want_run, false);
	pthread_cond_broadcast(&vm->changed);
	if (vm->in_guest) {
		for (unsigned int i = 0; i < vm->config.vcpus; i++)
			vm->ops->kick(&vm->vcpu[i]);
	}
	while (vm->in_guest)
		pthread_cond_wait(&vm->changed, &vm->lock);
	pthread_mutex_unlock(&vm->lock);
	return 0;
}

int vm_resume(struct vm *vm, struct tide_error *err)
{
	int ret = vm__disk_take(vm, err);

	if (ret)
		return ret;
	pthread_mutex_lock(&vm->slot_lock);
	vm->frozen = false;
	pthread_mutex_unlock(&vm->slot_lock);
	pthread_mutex_lock(&vm->lock);
	if (vm->failure.code) {
		if (err)
			*err = vm->failure;
		ret = vm->failure.code;
	} else {
		tide__store_release(&vm->want_run, true);
		pthread_cond_broadcast(&vm->changed);
	}
	pthread_mutex_unlock(&vm->lock);
	return ret;
}

bool vm_is_running(const struct vm *vm)
{
	return vm__wants_run(vm);
}

void vm__fail(struct vm *vm, const struct tide_error *err)
{
	pthread_mutex_lock(&vm->lock);
	if (!vm->failure.code)
		vm->failure = *err;
	tide__store_release(&vm->want_run, false);
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
}

bool vm_failed(struct vm *vm, struct tide_error *err)
{
	bool failed;

	pthread_mutex_lock(&vm->lock);
	failed = vm->failure.code != 0;
	if (failed && err)
		*err = vm->failure;
	pthread_mutex_unlock(&vm->lock);
	return failed;
}

void vm__threads_end(struct vm *vm)
{
	vm_pause(vm, NULL);
	pthread_mutex_lock(&vm->lock);
	vm->quit = true;
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
	for (unsigned int i = 0; i < GUEST_MAX_VCPUS; i++) {
		if (vm->vcpu[i].has_thread)
			pthread_join(vm->vcpu[i].thread, NULL);
		vm->vcpu[i].has_thread = false;
	}
}

static void sleep_until(struct vm *vm, uint64_t until_ns)
{
	struct timespec ts = { .tv_sec = (time_t)(until_ns / 1000000000u),
			       .tv_nsec = (long)(until_ns % 1000000000u) };

	pthread_mutex_lock(&vm->lock);
	while (vm->want_run &&
	       pthread_cond_timedwait(&vm->changed, &vm->lock, &ts) == 0)
		;
	pthread_mutex_unlock(&vm->lock);
}

void vm__pace(struct vm_vcpu *vcpu, uint32_t pages)
{
	struct vm *vm = vcpu->vm;
	const struct vm_config *c = &vm->config;
	unsigned int percent = tide__load_relaxed(&vm->throttle_percent);
	uint64_t now = tide__now_ns(), until = 0, took;

	took = now - vcpu->batch_start_ns;
	if (c->pattern == GUEST_IDLE)
		until = now + IDLE_SLEEP_NS;
	else if (c->rate_pages_per_s)
		until = vcpu->batch_start_ns +
			pages * 1000000000ull * c->vcpus / c->rate_pages_per_s;
	if (percent) {
		uint64_t rest = took * percent / (100 - percent);

		if (rest > LONGEST_SLEEP_NS)
			rest = LONGEST_SLEEP_NS;
		if (now + rest > until)
			until = now + rest;
	}
	if (until > now)
		sleep_until(vm, until);
	/*
	 * The next batch is due from when this one was, so that a late wake-up
	 * does not lower the rate; but what was missed long ago is not made up.
	 */
	now = tide__now_ns();
	vcpu->batch_start_ns = c->rate_pages_per_s && !percent && until &&
			now - until < 5000000u && now > until ? until : now;
}

void vm_throttle(struct vm *vm, unsigned int percent)
{
	tide__store_relaxed(&vm->throttle_percent, percent > 99 ? 99 : percent);
}
