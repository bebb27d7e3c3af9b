/* SPDX-License-Identifier: BSD-2-Clause */
/* Built where there is no libnbd: nothing can be opened. */
#include "backup/source.h"

#include <errno.h>

static int none(struct tide_error *err)
{
	return tide_error_set(err, -ENOTSUP, "nbd", TIDE_NO_OFFSET,
			      "this tidemark was built without libnbd, which "
			      "speaks to NBD servers");
}

int backup_source_open(const char *uri,
		       const struct backup_source_options *options,
		       struct backup_source **out, struct tide_error *err)
{
	(void)uri;
	(void)options;
	(void)out;
	return none(err);
}

void backup_source_close(struct backup_source *s)
{
	(void)s;
}

uint64_t backup_source_size(const struct backup_source *s)
{
	(void)s;
	return 0;
}

int backup_source_at(struct backup_source *s, uint64_t offset_bytes,
		     uint64_t *length_bytes, uint32_t *flags,
		     struct tide_error *err)
{
	(void)s;
	(void)offset_bytes;
	(void)length_bytes;
	(void)flags;
	return none(err);
}

int backup_source_read(struct backup_source *s, uint32_t worker,
		       uint64_t offset_bytes, void *buf, uint64_t length_bytes,
		       struct tide_error *err)
{
	(void)s;
	(void)worker;
	(void)offset_bytes;
	(void)buf;
	(void)length_bytes;
	return none(err);
}

int backup_source_write(struct backup_source *s, uint32_t worker,
			uint64_t offset_bytes, const void *buf,
			uint64_t length_bytes, struct tide_error *err)
{
	(void)s;
	(void)worker;
	(void)offset_bytes;
	(void)buf;
	(void)length_bytes;
	return none(err);
}

int backup_source_zero(struct backup_source *s, uint32_t worker,
		       uint64_t offset_bytes, uint64_t length_bytes,
		       struct tide_error *err)
{
	(void)s;
	(void)worker;
	(void)offset_bytes;
	(void)length_bytes;
	return none(err);
}

int backup_source_flush(struct backup_source *s, struct tide_error *err)
{
	(void)s;
	return none(err);
}

int backup_source_look(const char *uri, char **export, char **control,
		       struct tide_error *err)
{
	(void)uri;
	(void)export;
	(void)control;
	return none(err);
}
