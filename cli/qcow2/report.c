/* SPDX-License-Identifier: BSD-2-Clause */
/* What a check found, as text and as JSON; shared by check and repair. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/qcow2/image.h"

static void keep(void *opaque, const struct qcow2_problem *p)
{
	struct qcow2_report *r = opaque;

	if (r->count < QCOW2_REPORT_PROBLEMS)
		r->problems[r->count++] = *p;
}

int qcow2_report_make(const struct cli_parsed *p,
		      const struct qcow2_image *image,
		      struct qcow2_report *report,
		      struct qcow2_census *census)
{
	struct tide_error err;

	*report = (struct qcow2_report){ 0 };
	report->problems = calloc(QCOW2_REPORT_PROBLEMS,
				  sizeof(*report->problems));
	if (!report->problems)
		return cli_fail(p->command, QCOW2_NOT_CHECKED, "no memory");
	if (qcow2_check(&image->reader, &image->header, keep, report,
			&report->check, census, &err) ||
	    qcow2_check_names(image->path, &image->header, keep, report,
			      &report->check, &err)) {
		qcow2_report_fini(report);
		return cli_fail(p->command, QCOW2_NOT_CHECKED, "%s: %s",
				image->path, err.text);
	}
	return CLI_OK;
}

void qcow2_report_fini(struct qcow2_report *report)
{
	free(report->problems);
	*report = (struct qcow2_report){ 0 };
}

enum qcow2_exit qcow2_report_exit(const struct qcow2_report *report)
{
	if (qcow2_check_corruptions(&report->check))
		return QCOW2_CORRUPT;
	return report->check.found[QCOW2_PROBLEM_LEAK] ? QCOW2_LEAKS :
							 QCOW2_CLEAN;
}

void qcow2_report_print(const struct qcow2_image *image,
			const struct qcow2_report *report)
{
	const char *doubt = image->in_use ? "in use    " : "";
	const struct qcow2_check *c = &report->check;
	uint64_t all = 0;

	for (int i = 0; i < QCOW2_PROBLEM_COUNT; i++)
		all += c->found[i];
	for (uint32_t i = 0; i < report->count; i++)
		printf("%s%-9s %s\n", doubt,
		       qcow2_problem_name(report->problems[i].type),
		       report->problems[i].text);
	if (all > report->count)
		printf("%s... and %llu more\n", doubt,
		       (unsigned long long)(all - report->count));
	printf("%s%llu corruptions, %llu leaked clusters; %llu of %llu "
	       "clusters of the file in use\n",
	       doubt, (unsigned long long)qcow2_check_corruptions(c),
	       (unsigned long long)c->found[QCOW2_PROBLEM_LEAK],
	       (unsigned long long)c->used_clusters,
	       (unsigned long long)c->clusters);
	if (image->in_use)
		printf("%sanother process writes the image: this may all be "
		       "wrong\n", doubt);
}

static void problems_json(struct cli_json *j, const struct qcow2_report *report)
{
	cli_json_array(j, "problems");
	for (uint32_t i = 0; i < report->count; i++) {
		const struct qcow2_problem *p = &report->problems[i];

		cli_json_object(j, NULL);
		cli_json_text(j, "type", qcow2_problem_name(p->type));
		cli_json_number(j, "offset", p->offset_bytes);
		cli_json_text(j, "text", p->text);
		cli_json_close(j);
	}
	cli_json_close(j);
}

void qcow2_report_json(struct cli_json *j, const struct qcow2_image *image,
		       const struct qcow2_report *report)
{
	const struct qcow2_check *c = &report->check;

	cli_json_text(j, "image", image->path);
	cli_json_bool(j, "in_use", image->in_use);
	cli_json_number(j, "corruptions", qcow2_check_corruptions(c));
	cli_json_number(j, "leaks", c->found[QCOW2_PROBLEM_LEAK]);
	for (int i = 0; i < QCOW2_PROBLEM_COUNT; i++)
		cli_json_number(j, qcow2_problem_name(
					   (enum qcow2_problem_type)i),
				c->found[i]);
	cli_json_number(j, "file_clusters", c->clusters);
	cli_json_number(j, "used_clusters", c->used_clusters);
	cli_json_number(j, "guest_clusters", c->guest_clusters);
	cli_json_number(j, "data_clusters", c->data_clusters);
	cli_json_number(j, "compressed_clusters", c->packed_clusters);
	cli_json_number(j, "zero_clusters", c->zero_clusters);
	problems_json(j, report);
}
