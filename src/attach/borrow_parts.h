/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files that borrow a thread share; the story is in borrow.c. */
#ifndef TIDE_ATTACH_BORROW_PARTS_H
#define TIDE_ATTACH_BORROW_PARTS_H

#include <stddef.h>

#include "attach/arch.h"
#include "attach/borrow.h"
#include "attach/gadgets.h"
#include "attach/maps.h"

#define TIDE__MS UINT64_C(1000000)

struct tide__borrow {
	const struct tide__target *target;
	const struct tide__borrow_step *step;
	int pidfd;
	int mem;		/* its /proc/PID/mem */
	unsigned int patience_ms;
	bool kernel_faults;
	struct tide__borrowed *out;
	struct tide_error *err;
	int ret;

	struct tide__maps maps;
	struct tide__gadgets gadgets;
	bool accept_eintr;
	bool stuck;		/* a thread did not come when it was called */
	uint64_t start_ns;
	/* of the thread at hand */
	int tid;
	bool attached, stopped;
	struct tide__saved *saved;
	uint64_t code, data, cookie, frame[2], since_ns;
};

/* For tests, see struct tide__borrow_step. */
void tide__borrow_at(const struct tide__borrow *b, int point);
int tide__borrow_fail(struct tide__borrow *b, int ret, const char *what);
int tide__borrow_peek(const struct tide__borrow *b, uint64_t at, void *to,
		      size_t n);
int tide__borrow_poke(const struct tide__borrow *b, uint64_t at,
		      const void *from, size_t n);

/* borrow_thread.c: ptrace. Stopped, or -errno; -EAGAIN not now. */
int tide__borrow_seize(struct tide__borrow *b);
/* Until its next stop; after signals it is continued by @how again. */
int tide__borrow_next_stop(struct tide__borrow *b, long how);
int tide__borrow_continue(struct tide__borrow *b, long how, int signal);
void tide__borrow_let_go(struct tide__borrow *b);
/* Signals of a thread that we still hold are passed on. */
void tide__borrow_pass_signals(struct tide__borrow *b);
/* Between two looks at whether the other side has come further. */
void tide__borrow_nap(unsigned int *turn);

/* borrow_chain.c: the chain of frames, and the code page it maps. */
bool tide__borrow_in_sequence(const struct tide__borrow *b);
uint64_t tide__borrow_place(const struct tide__borrow *b);
int tide__borrow_lay_chain(struct tide__borrow *b);
int tide__borrow_map_code(struct tide__borrow *b);

/* borrow_stub.c: the code in that page, and what it brings. */
int tide__borrow_start_stub(struct tide__borrow *b);
int tide__borrow_fetch(struct tide__borrow *b);

#endif
