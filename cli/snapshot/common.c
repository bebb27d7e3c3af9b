/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/snapshot/common.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

bool snapshot_parse_time(const char *text, uint64_t *ns)
{
	static const struct {
		const char *unit;
		uint64_t ns;
	} units[] = {
		{ "ms", 1000000 }, { "s", 1000000000 },
		{ "m", UINT64_C(60000000000) },
		{ "h", UINT64_C(3600000000000) },
	};
	char *end;
	unsigned long n;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	n = strtoul(text, &end, 10);
	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++)
		if (!strcmp(end, units[i].unit) && !errno && n && n < 1000000) {
			*ns = n * units[i].ns;
			return true;
		}
	return false;
}

void snapshot_id_text(char to[37], const struct snap_id *id)
{
	tide__text_uuid(to, id->byte);
}

int snapshot_failed(const struct cli_command *command,
		    const struct tide_error *err)
{
	int code = err->code == -EBADMSG    ? CLI_UNVERIFIED :
		   err->code == -EBUSY	    ? CLI_REFUSED :
		   err->code == -EOPNOTSUPP ? CLI_REFUSED :
		   err->code == -EPERM	    ? CLI_REFUSED :
					      CLI_FAILED;

	return cli_fail(command, code, "%s", err->text);
}
