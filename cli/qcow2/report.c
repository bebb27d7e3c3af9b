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
			&report->check, census, &err)) {
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

void qcow2_report_print(const struct qcow2_report *report)
{
	const struct qcow2_check *c = &report->check;
	uint64_t all = 0;

	for (int i = 0; i < QCOW2_PROBLEM_COUNT; i++)
		all += c->found[i];
	for (uint32_t i = 0; i < report->count; i++)
		printf("%-9s %s\n",
		       qcow2_problem_name(report->problems[i].type),
		       report->problems[i].text);
	if (all > report->count)
		printf("... and %llu more\n",
		       (unsigned long long)(all - report->count));
	printf("%llu corruptions, %llu leaked clusters; %llu of %llu clusters "
	       "of the file in use\n",
	       (unsigned long long)qcow2_check_corruptions(c),
	       (unsigned long long)c->found[QCOW2_PROBLEM_LEAK],
	       (unsigned long long)c->used_clusters,
	       (unsigned long long)c->clusters);
}

static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)value);
}

json_t *qcow2_report_json(const struct qcow2_image *image,
			  const struct qcow2_report *report)
{
	const struct qcow2_check *c = &report->check;
	json_t *list = json_array(), *o = json_object();

	for (uint32_t i = 0; i < report->count; i++)
		json_array_append_new(
			list,
			json_pack("{s:s, s:o, s:s%}", "type",
				  qcow2_problem_name(report->problems[i].type),
				  "offset",
				  number(report->problems[i].offset_bytes),
				  "text", report->problems[i].text,
				  strlen(report->problems[i].text)));
	json_object_set_new(o, "image", json_string(image->path));
	json_object_set_new(o, "corruptions",
			    number(qcow2_check_corruptions(c)));
	json_object_set_new(o, "leaks", number(c->found[QCOW2_PROBLEM_LEAK]));
	for (int i = 0; i < QCOW2_PROBLEM_COUNT; i++)
		json_object_set_new(
			o, qcow2_problem_name((enum qcow2_problem_type)i),
			number(c->found[i]));
	json_object_set_new(o, "file_clusters", number(c->clusters));
	json_object_set_new(o, "used_clusters", number(c->used_clusters));
	json_object_set_new(o, "guest_clusters", number(c->guest_clusters));
	json_object_set_new(o, "data_clusters", number(c->data_clusters));
	json_object_set_new(o, "compressed_clusters",
			    number(c->packed_clusters));
	json_object_set_new(o, "zero_clusters", number(c->zero_clusters));
	json_object_set_new(o, "problems", list);
	return o;
}
