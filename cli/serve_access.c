/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See serve_access.h. A rule is NAME:WHO, and NAME may have colons, too: it is
 * the longest name of an export that the rule begins with. Who is named for an
 * export but could not even connect is a mistake that is said at once.
 */
#include "cli/serve_access.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A uid, and what follows it. False: there is none. */
static bool take_uid(const char **text, uint32_t *uid)
{
	unsigned long long number;
	char *end;

	if (**text < '0' || **text > '9')
		return false;
	errno = 0;
	number = strtoull(*text, &end, 10);
	/* The greatest is nobody's: it means "no uid" to the kernel. */
	if (errno || number >= UINT32_MAX || (*end && *end != ',') ||
	    (*end && !end[1]))
		return false;
	*text = *end ? end + 1 : end;
	*uid = (uint32_t)number;
	return true;
}

int serve_users_parse(struct serve_users *u, const struct cli_parsed *p)
{
	const char *all = cli_text(p, "allow-uid"), *text = all;
	bool good = true;

	u->any = all && !strcmp(all, "any");
	if (!all || u->any)
		return 0;
	do
		good = u->count < SERVE_MAX_UIDS &&
		       take_uid(&text, &u->uids[u->count++]);
	while (good && *text);
	return good ? 0 : cli_fail(p->command, CLI_USAGE,
				   "--allow-uid=%s: it takes numbers of users, "
				   "at most %d, with commas between, or 'any'",
				   all, SERVE_MAX_UIDS);
}

static bool may_connect(const struct serve_users *u, uint32_t uid)
{
	if (u->any || !uid || uid == geteuid())
		return true;
	for (size_t i = 0; i < u->count; i++)
		if (u->uids[i] == uid)
			return true;
	return false;
}

/* The disk that @rule is of, and who it names. */
static const struct serve_disk *disk_of(const struct serve_disks *disks,
					const char *rule, const char **who)
{
	const struct serve_disk *found = NULL;

	for (int i = 0; i < disks->count; i++) {
		const struct serve_disk *d = &disks->list[i];
		size_t n = strlen(d->name);

		if (!strncmp(rule, d->name, n) && rule[n] == ':' &&
		    (!found || n > strlen(found->name))) {
			found = d;
			*who = rule + n + 1;
		}
	}
	return found;
}

struct rules {
	const struct cli_parsed *p;
	const struct serve_users *users;
	const char *option;
	int (*add)(const struct rules *r, const struct serve_disk *d,
		   const char *rule, const char *who);
};

static int no_memory(const struct rules *r)
{
	return cli_fail(r->p->command, CLI_FAILED, "no memory for --%s",
			r->option);
}

static int add_uids(const struct rules *r, const struct serve_disk *d,
		    const char *rule, const char *who)
{
	do {
		uint32_t uid;

		if (!take_uid(&who, &uid))
			return cli_fail(r->p->command, CLI_USAGE,
					"--export-uid=%s: it takes NAME:UID, "
					"more with commas between", rule);
		if (!may_connect(r->users, uid))
			return cli_fail(r->p->command, CLI_USAGE,
					"--export-uid=%s: user %" PRIu32
					" may not connect at all; name it in "
					"--allow-uid, too", rule, uid);
		if (nbd_export_allow_uid(d->export, uid))
			return no_memory(r);
	} while (*who);
	return 0;
}

static int add_identity(const struct rules *r, const struct serve_disk *d,
			const char *rule, const char *who)
{
	if (!*who)
		return cli_fail(r->p->command, CLI_USAGE,
				"--export-identity=%s: it takes NAME:IDENTITY",
				rule);
	return nbd_export_allow_identity(d->export, who) ? no_memory(r) : 0;
}

static int apply(const struct rules *r, const struct serve_disks *disks)
{
	const char *all = cli_text(r->p, r->option);
	char *copy = all ? strdup(all) : NULL, *next = copy;
	int code = all && !copy ? no_memory(r) : 0;

	while (next && !code) {
		const char *rule = strsep(&next, "\n"), *who;
		const struct serve_disk *d = disk_of(disks, rule, &who);

		code = d ? r->add(r, d, rule, who)
			 : cli_fail(r->p->command, CLI_USAGE,
				    "--%s=%s: no disk of that name is served "
				    "here", r->option, rule);
	}
	free(copy);
	return code;
}

int serve_access_parse(const struct serve_users *users,
		       const struct serve_disks *disks,
		       const struct cli_parsed *p)
{
	const struct rules uids = { p, users, "export-uid", add_uids };
	const struct rules identities = { p, users, "export-identity",
					  add_identity };
	int code;

	/* A certificate that nobody checked says nothing. */
	if (cli_text(p, "export-identity") && !cli_text(p, "tls-psk") &&
	    !cli_flag(p, "tls-verify"))
		return cli_fail(p->command, CLI_USAGE,
				"--export-identity needs --tls with "
				"--tls-verify, or --tls-psk: else nobody has "
				"an identity");
	code = apply(&uids, disks);
	return code ? code : apply(&identities, disks);
}
