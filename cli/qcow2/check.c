/* SPDX-License-Identifier: BSD-2-Clause */
/* tidemark qcow2 check: is the image consistent, and if not, what and where. */
#include "cli/qcow2/image.h"

static int print_json(const struct cli_parsed *p,
		      const struct qcow2_image *image,
		      const struct qcow2_report *report)
{
	struct cli_json j;

	cli_json_begin(&j, stdout);
	cli_json_object(&j, NULL);
	qcow2_report_json(&j, image, report);
	cli_json_close(&j);
	return cli_json_end(&j, p->command);
}

static int run(const struct cli_parsed *p)
{
	struct qcow2_image image;
	struct qcow2_report report;
	int code = qcow2_image_open(p, false, &image);

	if (code)
		return code;
	code = qcow2_report_make(p, &image, &report, NULL);
	if (!code) {
		code = (int)qcow2_report_exit(&report);
		if (!cli_flag(p, "json"))
			qcow2_report_print(&image, &report);
		else if (print_json(p, &image, &report))
			code = QCOW2_NOT_CHECKED;
		qcow2_report_fini(&report);
	}
	qcow2_image_close(&image);
	return code;
}

static const struct cli_option options[] = {
	{ "json", NULL, CLI_FLAG, NULL, "print one JSON object" },
	QCOW2_FORCE_SHARE,
	{ NULL, NULL, CLI_FLAG, NULL, NULL },
};

const struct cli_command cli_qcow2_check = {
	.name = "qcow2 check",
	.summary = "Say whether a qcow2 image is consistent",
	.words = "IMAGE",
	.options = options,
	.run = run,
};
