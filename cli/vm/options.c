/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/vm/options.h"

#include <errno.h>
#include <string.h>

static int bad(struct tide_error *err, const char *option, const char *value)
{
	return tide_error_set(err, -EINVAL, "options", TIDE_NO_OFFSET,
			      "--%s=%s: there is no such %s; see --help",
			      option, value, option);
}

int vm_options_host(const struct cli_parsed *p, struct vm_config *config,
		    struct tide_error *err)
{
	const char *accel = cli_text(p, "accel");
	const char *source = cli_text(p, "source");

	if (!strcmp(accel, "auto"))
		config->accel = vm_accel_here();
	else if (!strcmp(accel, "kvm"))
		config->accel = VM_ACCEL_KVM;
	else if (!strcmp(accel, "process"))
		config->accel = VM_ACCEL_PROCESS;
	else
		return bad(err, "accel", accel);
	if (!strcmp(source, "auto"))
		config->source = config->accel == VM_ACCEL_KVM
				     ? TIDE_SOURCE_LOG_MANUAL
				     : TIDE_SOURCE_UFFD;
	else if (tide_source_kind_parse(source, &config->source) ||
		 config->source == TIDE_SOURCE_FOREIGN)
		return bad(err, "source", source);
	config->disk_path = cli_text(p, "disk");
	config->disk_format = cli_text(p, "disk-format");
	config->disk_folder = cli_text(p, "allow-folder");
	return 0;
}

int vm_options_guest(const struct cli_parsed *p, struct vm_config *config,
		     struct tide_error *err)
{
	const char *pattern = cli_text(p, "pattern");

	if (vm_pattern_parse(pattern, &config->pattern))
		return bad(err, "pattern", pattern);
	config->memory_bytes = cli_number(p, "memory");
	config->slots = (unsigned int)cli_number(p, "slots");
	config->hole = cli_flag(p, "hole");
	config->vcpus = (unsigned int)cli_number(p, "vcpus");
	config->rate_pages_per_s = cli_number(p, "rate");
	config->footprint_bytes = cli_number(p, "footprint");
	config->seed = cli_number(p, "seed");
	return 0;
}

static const struct cli_option move_options[] = { OPT_MOVE("300"), OPT_END };

/* Where a number of the command line stands in a request. */
static const struct {
	const char *option, *member;
} members[] = {
	{ "channels", "channels" },	{ "zstd", "zstd" },
	{ "bandwidth", "bandwidth" },	{ "downtime", "downtime_ms" },
	{ "stall-timeout", "stall_ms" }, { "max-rounds", "max_rounds" },
	{ "max-throttle", "max_throttle" },
};

#define MEMBERS (sizeof(members) / sizeof(*members))

static const char *member_of(const char *option)
{
	unsigned int i = 0;

	while (strcmp(members[i].option, option))
		i++;
	return members[i].member;
}

int vm_move_number(const json_t *request, const char *option, uint64_t *value,
		   struct tide_error *err)
{
	const char *member = member_of(option);
	const json_t *j = json_object_get(request, member);
	json_int_t given = json_integer_value(j);
	const struct cli_option *o = move_options;
	uint64_t min, max;

	while (strcmp(o->name, option))
		o++;
	cli_range(o, &min, &max);
	if (!j && cli_parse_size(o->usual, value))
		return 0;
	if (!json_is_integer(j) || given < 0 || (uint64_t)given < min ||
	    (uint64_t)given > max)
		return tide_error_set(err, -EINVAL, "vm", TIDE_NO_OFFSET,
				      "%s is a number from %llu to %llu",
				      member, (unsigned long long)min,
				      (unsigned long long)max);
	*value = (uint64_t)given;
	return 0;
}

int vm_move_request(const struct cli_parsed *p, json_t *request)
{
	for (unsigned int i = 0; i < MEMBERS; i++)
		if (json_object_set_new(
			request, members[i].member,
			json_integer((json_int_t)cli_number(
			    p, members[i].option))))
			return -ENOMEM;
	return 0;
}
