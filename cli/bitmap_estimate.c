/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tidemark bitmap estimate: a recorded trace of a disk's writes is played at
 * many granularities and chunk sizes (bitmaps/journey.h), and what comes of it
 * is said: what incremental backups would copy, what the bitmap takes, what it
 * costs to move it in rounds.
 */
#include <inttypes.h>
#include <string.h>

#include "bitmaps/journey.h"
#include "bitmaps/writes.h"
#include "cli/bitmap_estimate_svg.h"
#include "cli/json_out.h"
#include "cli/output.h"

/* A bitmap below this travels once, when nobody writes any more. */
#define SMALL_BYTES (UINT64_C(1) << 20)

const uint32_t estimate_shifts[ESTIMATE_SHIFTS] = { 12, 13, 14, 15, 16, 17, 18,
						    19, 20, 21 };
const uint32_t estimate_chunks[ESTIMATE_CHUNKS] = {
	32, 128, 256, 512, 1024, 2048, 4096, 16384, 131072, 1u << 20
};

struct task {
	struct writes w;
	uint64_t size_bytes, backups, rounds;
	struct estimate e;
};

/* Writes [first, last) of @parts equal stretches of time begin at @at. */
static int play(const struct task *t, struct journey *j, size_t *at,
		uint64_t part, uint64_t parts)
{
	uint64_t span = 0, end;
	int ret = 0;

	for (size_t i = 0; i < t->w.count; i++)
		if (t->w.list[i].t_us > span)
			span = t->w.list[i].t_us;
	end = part + 1 == parts ? UINT64_MAX : span / parts * (part + 1);
	for (; *at < t->w.count && t->w.list[*at].t_us <= end && !ret; ++*at)
		ret = journey_write(j, t->w.list[*at].offset_bytes,
				    t->w.list[*at].length_bytes);
	return ret;
}

static int play_backups(const struct task *t, struct journey *j, uint64_t *sum)
{
	size_t at = 0;
	int ret = 0;

	for (uint64_t b = 0; b < t->backups && !ret; b++) {
		uint64_t dirty;

		ret = play(t, j, &at, b, t->backups);
		dirty = j->dirty << j->bits.shift;
		*sum += dirty < t->size_bytes ? dirty : t->size_bytes;
		journey_clear(j);
	}
	return ret;
}

/* Half of the time it is only written; in the other it moves, too. */
static int play_move(const struct task *t, struct journey *j,
		     struct estimate_row *row)
{
	uint64_t parts = t->rounds * 2;
	size_t at = 0;
	int ret = 0;

	for (uint64_t p = 0; p < parts && !ret; p++) {
		ret = play(t, j, &at, p, parts);
		for (size_t c = 0; c < ESTIMATE_CHUNKS && !ret; c++) {
			struct journey_sent s;

			if (p + 1 < t->rounds)
				continue; /* it does not move yet */
			s = journey_round(j, c);
			row->stop_bytes[c] = s.bits_bytes + s.head_bytes;
			row->sent_bytes[c] += row->stop_bytes[c];
		}
	}
	return ret;
}

static int play_row(const struct task *t, uint32_t shift,
		    struct estimate_row *row)
{
	struct journey j;
	int ret = journey_init(&j, t->size_bytes, shift, estimate_chunks,
			       ESTIMATE_CHUNKS);

	if (ret)
		return ret;
	row->bitmap_bytes = (j.bits.bits + 7) / 8;
	ret = play_backups(t, &j, &row->backup_bytes);
	if (!ret)
		ret = play_move(t, &j, row);
	journey_fini(&j);
	return ret;
}

/*
 * The coarsest granularity whose backups copy no more than a quarter more than
 * the finest's; and of the chunk sizes the largest that sends no more than a
 * twentieth more than the best.
 */
static void recommend(struct estimate *e)
{
	const struct estimate_row *row;
	uint64_t min = e->row[0].backup_bytes;

	for (size_t i = 0; i < ESTIMATE_SHIFTS; i++)
		if (e->row[i].backup_bytes <= min + min / 4)
			e->best_row = i;
	row = &e->row[e->best_row];
	min = UINT64_MAX;
	for (size_t c = 0; c < ESTIMATE_CHUNKS; c++)
		if (row->sent_bytes[c] < min)
			min = row->sent_bytes[c];
	for (size_t c = 0; c < ESTIMATE_CHUNKS; c++)
		if (row->sent_bytes[c] <= min + min / 20)
			e->best_chunk = c;
	e->once = row->bitmap_bytes < SMALL_BYTES;
}

static void print_row(const struct estimate_row *row, uint32_t shift)
{
	size_t best = 0;

	for (size_t c = 0; c < ESTIMATE_CHUNKS; c++)
		if (row->sent_bytes[c] < row->sent_bytes[best])
			best = c;
	printf("%7uK %16" PRIu64 " %14" PRIu64 " %14" PRIu64 " %10u %12" PRIu64
	       " %12" PRIu64 "\n", 1u << shift >> 10, row->backup_bytes,
	       row->bitmap_bytes, row->sent_bytes[best], estimate_chunks[best],
	       row->sent_bytes[4], row->stop_bytes[4]);
}

static void print_text(const struct task *t)
{
	const struct estimate *e = &t->e;
	const struct estimate_row *row = &e->row[e->best_row];

	printf("%zu writes, a disk of %" PRIu64 " bytes, %" PRIu64
	       " backups, a move in %" PRIu64 " rounds\n"
	       "%8s %16s %14s %14s %10s %12s %12s\n",
	       t->w.count, t->size_bytes, t->backups, t->rounds, "blocks",
	       "backups copy", "bitmap", "move sends", "by chunks", "by 1024",
	       "stop of it");
	for (size_t i = 0; i < ESTIMATE_SHIFTS; i++)
		print_row(&e->row[i], estimate_shifts[i]);
	printf("recommended: blocks of %uK", 1u << estimate_shifts[e->best_row]
						     >> 10);
	if (e->once)
		printf("; the bitmap is small, it travels once, when nobody "
		       "writes: %" PRIu64 " bytes\n", row->bitmap_bytes);
	else
		printf(", chunks of %u\n", estimate_chunks[e->best_chunk]);
}

static int print_json(const struct cli_parsed *p, const struct task *t)
{
	struct cli_json j;

	cli_json_begin(&j, stdout);
	cli_json_object(&j, NULL);
	cli_json_number(&j, "writes", t->w.count);
	cli_json_number(&j, "size_bytes", t->size_bytes);
	cli_json_array(&j, "granularities");
	for (size_t i = 0; i < ESTIMATE_SHIFTS; i++) {
		const struct estimate_row *row = &t->e.row[i];

		cli_json_object(&j, NULL);
		cli_json_number(&j, "granularity_bytes",
				UINT64_C(1) << estimate_shifts[i]);
		cli_json_number(&j, "backup_bytes", row->backup_bytes);
		cli_json_number(&j, "bitmap_bytes", row->bitmap_bytes);
		cli_json_array(&j, "moves");
		for (size_t c = 0; c < ESTIMATE_CHUNKS; c++) {
			cli_json_object(&j, NULL);
			cli_json_number(&j, "chunk_bytes", estimate_chunks[c]);
			cli_json_number(&j, "sent_bytes", row->sent_bytes[c]);
			cli_json_number(&j, "stop_bytes", row->stop_bytes[c]);
			cli_json_close(&j);
		}
		cli_json_close(&j);
		cli_json_close(&j);
	}
	cli_json_close(&j);
	cli_json_number(&j, "recommended_granularity_bytes",
			UINT64_C(1) << estimate_shifts[t->e.best_row]);
	cli_json_number(&j, "recommended_chunk_bytes",
			estimate_chunks[t->e.best_chunk]);
	cli_json_bool(&j, "travels_once", t->e.once);
	cli_json_close(&j);
	return cli_json_end(&j, p->command);
}

static int tell(const struct cli_parsed *p, const struct task *t)
{
	const char *svg = cli_text(p, "svg");
	struct output_file out;
	struct tide_error err;
	int code = CLI_OK;

	if (svg && output_open(&out, svg, cli_flag(p, "force"), &err))
		return cli_fail(p->command, CLI_FAILED, "%s", err.text);
	if (svg)
		estimate_draw(out.file, &t->e);
	if (svg && output_close(&out, &err))
		return cli_fail(p->command, CLI_FAILED, "%s", err.text);
	if (cli_flag(p, "json"))
		code = print_json(p, t);
	else
		print_text(t);
	return code;
}

static int run(const struct cli_parsed *p)
{
	struct task t = { .size_bytes = cli_number(p, "size"),
			  .backups = cli_number(p, "backups"),
			  .rounds = cli_number(p, "rounds") };
	struct tide_error err;
	int ret = 0, code;

	if (p->argc != 1)
		return cli_fail(p->command, CLI_USAGE, "which trace?");
	if (writes_load(&t.w, p->argv[0], &err))
		return cli_fail(p->command, CLI_FAILED, "%s", err.text);
	if (!t.size_bytes)
		t.size_bytes = t.w.end_bytes;
	if (!t.w.count || cbt_bits_of(t.size_bytes, estimate_shifts[0]) >
				  CBT_MAX_BITS)
		ret = cli_fail(p->command, CLI_FAILED, "%s: it writes nothing, "
			       "or its disk is too large", p->argv[0]);
	for (size_t i = 0; i < ESTIMATE_SHIFTS && !ret; i++)
		if (play_row(&t, estimate_shifts[i], &t.e.row[i]))
			ret = cli_fail(p->command, CLI_FAILED, "no memory");
	if (!ret)
		recommend(&t.e);
	code = ret ? ret : tell(p, &t);
	writes_fini(&t.w);
	return code;
}

static const struct cli_option options[] = {
	{ "size", "SIZE", CLI_SIZE, NULL,
	  "of the disk; without it, where the last write ends",
	  512, UINT64_C(1) << 47 },
	{ "backups", "N", CLI_COUNT, "4",
	  "incremental backups in the time of the trace", 1, 1000 },
	{ "rounds", "N", CLI_COUNT, "8",
	  "of a move that takes the later half of that time", 1, 1000 },
	{ "svg", "PATH", CLI_TEXT, NULL, "draw it into PATH, too" },
	OPT_FORCE,
	{ "json", NULL, CLI_FLAG, NULL, "print one JSON object" },
	{ 0 },
};

const struct cli_command cli_bitmap_estimate = {
	.name = "bitmap estimate",
	.summary = "Say what granularities would cost, from a recorded trace",
	.words = "TRACE",
	.options = options,
	.run = run,
};
