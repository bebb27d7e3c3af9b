/* SPDX-License-Identifier: BSD-2-Clause */
/* Options that several commands about a VM share: one text each. */
#ifndef CLI_VM_OPTIONS_H
#define CLI_VM_OPTIONS_H

#include <jansson.h>

#include "cli/options.h"
#include "tidemark/error.h"
#include "tidemark/precopy.h"
#include "vm/vm.h"

#define OPT_CONTROL                                                            \
	{ "control", "PATH", CLI_TEXT, NULL, "the VM's control socket" }
#define OPT_JSON { "json", NULL, CLI_FLAG, NULL, "print one JSON object" }
#define OPT_END { NULL, NULL, CLI_FLAG, NULL, NULL }
#define OPT_HOST                                                               \
	{ "accel", "NAME", CLI_TEXT, "auto",                                   \
	  "kvm, process (threads play the guest), or auto" },                  \
	{ "source", "NAME", CLI_TEXT, "auto",                                  \
	  "how writes are tracked: log-manual, log-legacy, ring, uffd, auto" }
#define OPT_DISK                                                               \
	{ "disk", "PATH", CLI_TEXT, NULL,                                      \
	  "image behind the guest's disk; both sides name the same" },         \
	{ "disk-format", "NAME", CLI_TEXT, NULL,                               \
	  "raw or qcow2; else what its first bytes say, which a guest with a " \
	  "raw disk may write" },                                              \
	{ "allow-folder", "FOLDER", CLI_TEXT, NULL,                            \
	  "where backing and data files may lie, besides an image's own" }
#define OPT_GUEST                                                              \
	{ "memory", "SIZE", CLI_SIZE, "256M", "guest RAM, in steps of 2M",     \
	  VM_MIN_MEMORY_BYTES, VM_MAX_MEMORY_BYTES },                          \
	{ "slots", "N", CLI_COUNT, "2", "memory slots that RAM is cut into",   \
	  1, VM_MAX_SLOTS },                                                   \
	{ "hole", NULL, CLI_FLAG, NULL, "leave a gap between the slots" },     \
	{ "vcpus", "N", CLI_COUNT, "2", "virtual CPUs", 1, VM_MAX_VCPUS },     \
	{ "pattern", "NAME", CLI_TEXT, "hotset",                               \
	  "idle, sequential, uniform, hotset, zipf or mixed" },                \
	{ "rate", "N", CLI_COUNT, "20000",                                     \
	  "pages written per second; 0: as fast as it goes", 0, 1u << 30 },    \
	{ "footprint", "SIZE", CLI_SIZE, "0",                                  \
	  "memory that the guest works on; 0: all of it" },                    \
	{ "seed", "N", CLI_COUNT, "1", "seed of the guest's random numbers" }
/*
 * What a move may be asked for, on the command line and in JSON alike: ranges
 * and defaults of requests come from here (vm_move_number).
 */
#define OPT_STALL                                                              \
	{ "stall-timeout", "MS", CLI_MILLISECONDS, "10000",                    \
	  "give up when no byte moves for so long", 100 }
#define OPT_MOVE(downtime_ms)                                                  \
	{ "channels", "N", CLI_COUNT, "1", "connections to send over", 1,      \
	  TIDE_PRECOPY_MAX_CHANNELS },                                         \
	{ "zstd", "LEVEL", CLI_COUNT, "0", "compress pages; 0: do not", 0,     \
	  19 },                                                                \
	{ "bandwidth", "SIZE", CLI_SIZE, "0",                                  \
	  "bytes per second at most; 0: no limit" },                           \
	{ "downtime", "MS", CLI_MILLISECONDS, downtime_ms,                     \
	  "stop the guest once this would be its downtime" },                  \
	OPT_STALL,                                                             \
	{ "max-rounds", "N", CLI_COUNT, "30",                                  \
	  "rounds before the verdict 'will not converge'", 1,                  \
	  10000 },                                                             \
	{ "max-throttle", "PERCENT", CLI_COUNT, "99",                          \
	  "slow the guest down by so much at most; 0: never", 0,               \
	  99 },                                                                \
	{ "stop-anyway", NULL, CLI_FLAG, NULL,                                 \
	  "stop the guest even if the downtime will be missed" }

/*
 * The value of --@option in a "migrate" request, where its name may differ
 * (docs/control-socket.md), or its default. 0; -EINVAL with what it may be.
 */
int vm_move_number(const json_t *request, const char *option, uint64_t *value,
		   struct tide_error *err);
/* The numbers of the command line into @request. 0 or -ENOMEM. */
int vm_move_request(const struct cli_parsed *p, json_t *request);

/* "auto" resolved for this host. 0 or -errno with the reason. */
int vm_options_host(const struct cli_parsed *p, struct vm_config *config,
		    struct tide_error *err);
int vm_options_guest(const struct cli_parsed *p, struct vm_config *config,
		     struct tide_error *err);

#endif
