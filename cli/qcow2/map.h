/* SPDX-License-Identifier: BSD-2-Clause */
/* Between the files of tidemark qcow2 map. */
#ifndef CLI_QCOW2_MAP_H
#define CLI_QCOW2_MAP_H

#include "cli/qcow2/image.h"

/* What a cluster is used for, for people: bit n of @uses, or "free". */
const char *qcow2_use_name(uint32_t use);
#define QCOW2_USES (QCOW2_USE_PACKED + 1)

/* The picture; CLI_OK or an exit code after the reason was said. */
int qcow2_map_svg(const struct cli_parsed *p, const struct qcow2_image *image,
		  const struct qcow2_census *census, const char *path);
int qcow2_map_guest(const struct cli_parsed *p,
		    const struct qcow2_image *image);

#endif
