/* SPDX-License-Identifier: BSD-2-Clause */
/* The control socket from the client's side; used by vm_client.c and demo.c. */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include <jansson.h>
#include <stdbool.h>

#include "cli/options.h"
#include "tidemark/error.h"

int client_open(const char *path, struct tide_error *err);
/* Sends @request (taken); the answer, or NULL. */
json_t *client_ask(int fd, json_t *request, int timeout_ms);
/* The "migrate" request with the options of OPT_MOVE. */
json_t *client_migrate_request(const struct cli_parsed *p, const char *to);
/* Sends it (taken), calls @on_round for each round; the result, or NULL. */
json_t *client_migrate(int fd, json_t *request,
		       void (*on_round)(void *opaque, const json_t *round),
		       void *opaque);
void client_print_status(const json_t *status);

const char *client_text(const json_t *object, const char *name);	/* "" */
long long client_integer(const json_t *object, const char *name);
double client_real(const json_t *object, const char *name);

#endif
