/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/bitmap_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void bitmap_file_begin(FILE *to, uint64_t size_bytes,
		       uint64_t granularity_bytes)
{
	fprintf(to, "tidemark-bitmap 1 size %" PRIu64 " granularity %" PRIu64
		"\n", size_bytes, granularity_bytes);
}

static int failed(const char *path, int code, struct tide_error *err)
{
	return tide_error_set(err, code, "bitmap", TIDE_NO_OFFSET, "%s: %s",
			      path, strerror(-code));
}

static int bad_line(const char *path, uint64_t line, const char *why,
		    struct tide_error *err)
{
	return tide_error_set(err, -EINVAL, "bitmap", TIDE_NO_OFFSET,
			      "%s: line %" PRIu64 ": %s", path, line, why);
}

/* The first line: how fine it is, and that it is of a disk of that size. */
static const char *read_head(FILE *from, uint64_t size_bytes, uint32_t *shift)
{
	uint64_t size, granularity;
	char line[128];

	if (!fgets(line, sizeof(line), from) ||
	    sscanf(line, "tidemark-bitmap 1 size %" SCNu64 " granularity %"
		   SCNu64, &size, &granularity) != 2)
		return "this is no bitmap that tidemark exported";
	if (size != size_bytes)
		return "it is of a disk of another size";
	if (granularity < 512 || granularity > UINT64_C(1) << 31 ||
	    granularity & (granularity - 1))
		return "its granularity is no power of two from 512 to 2G";
	*shift = (uint32_t)__builtin_ctzll(granularity);
	if (cbt_bits_of(size, *shift) > CBT_MAX_BITS)
		return "it is too fine for so large a disk";
	return NULL;
}

/* False: something that is no digit, or too many of them. */
static bool take_number(const char **at, uint64_t *value)
{
	const char *from = *at;

	*value = 0;
	for (; **at >= '0' && **at <= '9'; ++*at)
		*value = *value * 10 + (uint64_t)(**at - '0');
	return *at > from && *at - from < 19;
}

static const char *take_line(const char *line, uint64_t size_bytes,
			     struct cbt_image *out)
{
	uint64_t offset, length;

	if (!take_number(&line, &offset) || *line++ != ' ' ||
	    !take_number(&line, &length) || (*line && *line != '\n'))
		return "a line is OFFSET LENGTH, in bytes";
	if (!length || offset > size_bytes || length > size_bytes - offset)
		return "it reaches over the end of the disk";
	if (cbt_image_set(out, offset >> out->shift,
			  cbt_bits_of(offset + length, out->shift)))
		return "no memory";
	return NULL;
}

static int read_lines(const char *path, FILE *from, uint64_t size_bytes,
		      struct cbt_image *out, struct tide_error *err)
{
	uint64_t number = 1;
	char line[128];

	while (fgets(line, sizeof(line), from)) {
		const char *wrong = take_line(line, size_bytes, out);

		number++;
		if (wrong)
			return bad_line(path, number, wrong, err);
	}
	return ferror(from) ? failed(path, -EIO, err) : 0;
}

int bitmap_file_read(const char *path, uint64_t size_bytes,
		     struct cbt_image *out, struct tide_error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), ret;
	FILE *from = fd < 0 ? NULL : fdopen(fd, "r");
	const char *wrong;
	struct stat st;
	uint32_t shift;

	if (!from || fstat(fd, &st) < 0) {
		ret = failed(path, -errno, err);
		if (fd >= 0 && !from)
			close(fd);
		return ret;
	}
	wrong = S_ISREG(st.st_mode) ? read_head(from, size_bytes, &shift)
				    : "this is no regular file";
	if (wrong)
		ret = bad_line(path, 1, wrong, err);
	else if (cbt_image_init(out, cbt_bits_of(size_bytes, shift), shift))
		ret = failed(path, -ENOMEM, err);
	else
		ret = read_lines(path, from, size_bytes, out, err);
	if (ret && !wrong)
		cbt_image_fini(out);
	fclose(from);
	return ret;
}
