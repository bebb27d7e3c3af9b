/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The log of `tidemark serve`: one line an event, key=value or JSON, to a file
 * or to standard error.
 *
 * Whoever has something to say puts a line into memory and goes on; a thread
 * writes. When the file, or who reads the pipe, does not keep up, lines are
 * lost and counted, and a line says how many: nobody who serves ever waits for
 * who reads. SIGHUP opens the file anew (logrotate moves it away before).
 */
#ifndef CLI_SERVE_LOG_H
#define CLI_SERVE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/error.h"

enum serve_level { SERVE_INFO, SERVE_WARNING, SERVE_ERROR };

/* What is not known is left out: NULL, 0, false. */
struct serve_line {
	enum serve_level level;
	const char *event; /* one word, always there */
	const char *export;
	uint64_t client; /* its number */
	bool has_uid;
	uint32_t uid;
	const char *identity; /* of TLS */
	const char *text;
};

struct serve_log;

/*
 * Before any other thread is started: blocks SIGHUP, which is the log's from
 * then on. @path (borrowed) NULL: standard error. 0 or -errno.
 */
int serve_log_start(struct serve_log **out, const char *path, bool json,
		    struct tide_error *err);
/* From any thread; never waits for the file. A log that is NULL is silent. */
void serve_log(struct serve_log *log, const struct serve_line *line);
/* Until what was said is written, for a second at most. */
void serve_log_flush(struct serve_log *log);
/* The same, then the end. A thread that hangs is left behind. */
void serve_log_stop(struct serve_log *log);
/* Lines that were lost so far. */
uint64_t serve_log_lost(const struct serve_log *log);

/*
 * A line without its end, into @to; how long it is. For serve_log, and tests.
 */
size_t serve_log_format(char *to, size_t room, const struct serve_line *line,
			uint64_t now_ms, bool json);

#endif
