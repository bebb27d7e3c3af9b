/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_TRACE_RECORD_PID_H
#define CLI_TRACE_RECORD_PID_H

#include "cli/options.h"

/* Record process --pid into @folder, which is there. An exit code. */
int trace_record_pid(const struct cli_parsed *p, const char *folder);

#endif
