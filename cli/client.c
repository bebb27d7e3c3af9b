/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/client.h"
#include "cli/vm/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/wire.h"

int client_open(const char *path, struct tide_error *err)
{
	char *address;
	int fd;

	if (asprintf(&address, "unix:%s", path) < 0)
		return tide_error_set(err, -ENOMEM, "client", TIDE_NO_OFFSET,
				      "no memory");
	fd = wire_connect(address, err);
	free(address);
	return fd;
}

json_t *client_ask(int fd, json_t *request, int timeout_ms)
{
	struct wire_lines lines = { .fd = fd };
	json_t *reply = NULL;

	if (!wire_put(fd, request))
		reply = wire_get(&lines, timeout_ms);
	wire_lines_fini(&lines);
	json_decref(request);
	return reply;
}

json_t *client_migrate_request(const struct cli_parsed *p, const char *to)
{
	json_t *request = json_pack("{s:s, s:s, s:b}", "command", "migrate",
				    "to", to, "stop_anyway",
				    cli_flag(p, "stop-anyway"));

	if (request && vm_move_request(p, request)) {
		json_decref(request);
		request = NULL;
	}
	return request;
}

json_t *client_migrate(int fd, json_t *request,
		       void (*on_round)(void *opaque, const json_t *round),
		       void *opaque)
{
	struct wire_lines lines = { .fd = fd };
	json_t *event = NULL, *result = NULL;

	if (!wire_put(fd, request)) {
		while (!result && (event = wire_get(&lines, -1))) {
			const json_t *round = json_object_get(event, "round");

			if (round)
				on_round(opaque, round);
			result = json_incref(json_object_get(event, "result"));
			json_decref(event);
		}
	}
	wire_lines_fini(&lines);
	json_decref(request);
	return result;
}

const char *client_text(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

long long client_integer(const json_t *object, const char *name)
{
	return (long long)json_integer_value(json_object_get(object, name));
}

double client_real(const json_t *object, const char *name)
{
	return json_real_value(json_object_get(object, name));
}

static void print_stalls(const json_t *stalls)
{
	static const char *const phases[] = { "bulk", "dirty", "stop" };

	for (unsigned int i = 0; i < 3; i++) {
		const json_t *phase = json_object_get(stalls, phases[i]);
		long long ns = client_integer(phase, "longest_ns");

		if (ns)
			printf("longest vCPU stall, %s rounds: %.1f us\n",
			       phases[i], (double)ns / 1e3);
	}
}

void client_print_status(const json_t *status)
{
	char reason[CLI_SHOWN];

	printf("state: %s\naccel: %s\nsource: %s\n",
	       client_text(status, "state"), client_text(status, "accel"),
	       client_text(status, "source"));
	if (*client_text(status, "reason"))
		printf("reason: %s\n",
		       cli_show(reason, client_text(status, "reason")));
	if (*client_text(status, "failure"))
		printf("failure: %s\n",
		       cli_show(reason, client_text(status, "failure")));
	if (json_object_get(status, "memory_bytes"))
		printf("memory: %lld MiB\nvcpus: %lld\npattern: %s\n"
		       "pages written: %lld\n",
		       client_integer(status, "memory_bytes") >> 20,
		       client_integer(status, "vcpus"),
		       client_text(status, "pattern"),
		       client_integer(status, "pages_written"));
	print_stalls(json_object_get(status, "stalls"));
}
