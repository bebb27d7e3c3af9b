/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whatever a scraper sends to the metrics socket, in one piece or in two,
 * through the real server: the answer is the verdict's, whole, and with the
 * length that it says; who sends no whole head gets none; the next one is
 * served.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/serve_http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char page[] = "tidemark_up 1\n";
static struct sockaddr_un name = { .sun_family = AF_UNIX };
static socklen_t name_length;

static char *make(void *opaque, size_t *length)
{
	char *text = strdup(page);

	(void)opaque;
	*length = sizeof(page) - 1;
	return text;
}

static void start(void)
{
	static struct serve_http *h;
	static const struct serve_http_page p = { "/metrics", "text/plain",
						  make, NULL };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	/* In the abstract namespace: nothing to clear away. */
	name_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
		(size_t)snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1,
				 "tidemark-fuzz-%d", (int)getpid()));
	if (fd < 0 || bind(fd, (struct sockaddr *)&name, name_length) ||
	    listen(fd, 16) || serve_http_start(&h, &fd, 1, &p, NULL))
		abort();
}

static void put(int fd, const uint8_t *bytes, size_t length)
{
	/* It may have been judged already, and be gone. */
	if (length && send(fd, bytes, length, MSG_NOSIGNAL) < 0)
		return;
}

/* All of the answer. */
static size_t get(int fd, char *to, size_t room)
{
	size_t have = 0;
	ssize_t n;

	while (have < room && (n = recv(fd, to + have, room - have, 0)) > 0)
		have += (size_t)n;
	to[have] = 0;
	return have;
}

static void check_answer(const char *answer, size_t length, int verdict)
{
	const char *body = strstr(answer, "\r\n\r\n");
	const char *says = strstr(answer, "\r\nContent-Length: ");
	int code = 0;

	if (sscanf(answer, "HTTP/1.0 %d ", &code) != 1 || code != verdict ||
	    !body || !says || says > body)
		abort();
	body += 4;
	length -= (size_t)(body - answer);
	/* HEAD has the length, and nothing behind it. */
	if (length && length != strtoul(says + 18, NULL, 10))
		abort();
	if (length && (code != SERVE_HTTP_OK || strcmp(body, page)))
		abort();
}

static void talk(const uint8_t *data, size_t size, size_t first)
{
	static char answer[65536];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	size_t length;
	int verdict;

	if (fd < 0 || connect(fd, (struct sockaddr *)&name, name_length))
		abort();
	put(fd, data, first);
	put(fd, data + first, size - first);
	shutdown(fd, SHUT_WR);
	length = get(fd, answer, sizeof(answer) - 1);
	close(fd);
	verdict = serve_http_judge((const char *)data, size, "/metrics");
	/* In one piece it is one verdict; else the first that there was. */
	if (length && first == size)
		check_answer(answer, length, verdict);
	else if (length && strncmp(answer, "HTTP/1.0 ", 9))
		abort();
	if (verdict == SERVE_HTTP_OK && first == size && !length)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t good[] = "GET /metrics HTTP/1.0\r\n\r\n";
	static uint32_t calls;

	if (!name_length)
		start();
	if (!size || size > 8192)
		return 0;
	talk(data, size, size);
	talk(data, size, *data % (size + 1));
	if (!(calls++ % 64))
		talk(good, sizeof(good) - 1, sizeof(good) - 1);
	return 0;
}
