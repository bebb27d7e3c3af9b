/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the verbs of tidemark qcow2 share: an image file, open, and its header.
 */
#ifndef CLI_QCOW2_IMAGE_H
#define CLI_QCOW2_IMAGE_H

#include "qcow2/check/check.h"
#include "qcow2/format/header.h"
#include "qcow2/format/reader.h"
#include "cli/json_out.h"
#include "cli/options.h"

struct qcow2_image {
	const char *path;
	int fd;
	bool in_use; /* another process has it open for writing */
	struct qcow2_reader reader;
	struct qcow2_header header; /* parsed tolerantly */
};

/* Exit statuses of check and repair; not those of other commands. */
enum qcow2_exit {
	QCOW2_CLEAN = 0,
	QCOW2_NOT_CHECKED = 1,
	QCOW2_CORRUPT = 2,
	QCOW2_LEAKS = 3,
};

/*
 * Open the only word of the command line. CLI_OK, or the exit code after the
 * reason was said on stderr.
 */
int qcow2_image_open(const struct cli_parsed *p, bool writable,
		     struct qcow2_image *image);
int qcow2_image_open_path(const struct cli_parsed *p, const char *path,
			  bool writable, struct qcow2_image *image);
/* Look at the file anew after it was changed. */
int qcow2_image_reread(const struct cli_parsed *p, struct qcow2_image *image);
void qcow2_image_close(struct qcow2_image *image);

/* A check whose problems are kept up to a limit, and then said. */
#define QCOW2_REPORT_PROBLEMS (QCOW2_PROBLEM_COUNT * QCOW2_CHECK_SAID)
struct qcow2_report {
	struct qcow2_check check;
	struct qcow2_problem *problems; /* owned */
	uint32_t count;
};
int qcow2_report_make(const struct cli_parsed *p,
		      const struct qcow2_image *image,
		      struct qcow2_report *report,
		      struct qcow2_census *census);
void qcow2_report_fini(struct qcow2_report *report);
enum qcow2_exit qcow2_report_exit(const struct qcow2_report *report);
void qcow2_report_print(const struct qcow2_image *image,
			const struct qcow2_report *report);
/* Members of the object that is open in @j. */
void qcow2_report_json(struct cli_json *j, const struct qcow2_image *image,
		       const struct qcow2_report *report);
/* --force-share, for the verbs that only read. */
#define QCOW2_FORCE_SHARE                                                      \
	{ "force-share", NULL, CLI_FLAG, NULL,                                 \
	  "look although another process writes the image; what is said "      \
	  "may be wrong" }

#endif
