/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_RECORDER_INTERNAL_H
#define TESTS_RECORDER_INTERNAL_H

#include <pthread.h>

#include "recorder.h"

struct recorder {
	pthread_mutex_t lock;
	struct recorder_event *events;
	uint64_t count, room;
	struct recorder_fault fault;
	uint64_t matched, faults;
	struct recorder_image base; /* the file when it was opened */
};

#endif
