/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench/migrate: what a migration costs.
 *
 * Bulk: the engine moves 256 MiB of random pages between two threads; the
 * rival sends the same bytes with plain send and recv in pieces of 256 KiB over
 * the same kind of socket. Interleaved, 9 times each, medians and quartiles.
 * Downtime: a KVM guest of 256 MiB that writes 2,000 pages/s, moved 9 times;
 * the longest vCPU stall of each phase with it. Timed: the calls as a VMM makes
 * them; not timed: connecting, and filling memory.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../guest/control.h"
#include "base/clock.h"
#include "tidemark/precopy.h"
#include "tls/streams.h"
#include "vm/migrate_ops.h"

#define BYTES (256ull << 20)
#define PIECE (256u << 10)
#define REPS 9
#define MAX_CHANNELS 4

static int connected_pair(bool tcp, int pair[2])
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	socklen_t len = sizeof(sin);
	int listener, one = 1;

	if (!tcp)
		return socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(listener, (struct sockaddr *)&sin, sizeof(sin)) ||
	    listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&sin, &len))
		return -1;
	pair[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(pair[0], (struct sockaddr *)&sin, sizeof(sin)))
		return -1;
	pair[1] = accept(listener, NULL, NULL);
	setsockopt(pair[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(pair[1], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	close(listener);
	return 0;
}

static void *map(void)
{
	void *p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return p;
}

static void fill(unsigned char *memory)
{
	uint64_t x = 88172645463325252ull;

	for (uint64_t i = 0; i < BYTES; i += 8) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(memory + i, &x, 8);
	}
}

/* ---- the rival ---- */

struct plain {
	int fd;
	unsigned char *memory;
	uint64_t first, bytes;
};

static void *plain_receive(void *arg)
{
	struct plain *p = arg;
	uint64_t done = 0;

	while (done < p->bytes) {
		ssize_t n = recv(p->fd, p->memory + p->first + done,
				 p->bytes - done, 0);

		if (n <= 0)
			exit(1);
		done += (uint64_t)n;
	}
	return send(p->fd, "!", 1, 0) == 1 ? NULL : p;
}

static void *plain_send(void *arg)
{
	struct plain *p = arg;
	uint64_t done = 0;
	char ack;

	while (done < p->bytes) {
		uint64_t want = p->bytes - done < PIECE ? p->bytes - done
							: PIECE;
		ssize_t n = send(p->fd, p->memory + p->first + done, want, 0);

		if (n <= 0)
			exit(1);
		done += (uint64_t)n;
	}
	return recv(p->fd, &ack, 1, 0) == 1 ? NULL : p;
}

static double plain_seconds(bool tcp, unsigned int channels,
			    unsigned char *from, unsigned char *to)
{
	struct plain side[2][MAX_CHANNELS];
	pthread_t thread[2][MAX_CHANNELS];
	uint64_t start;
	double took;

	madvise(to, BYTES, MADV_DONTNEED);
	for (unsigned int i = 0; i < channels; i++) {
		int pair[2];

		if (connected_pair(tcp, pair))
			exit(1);
		for (unsigned int k = 0; k < 2; k++)
			side[k][i] = (struct plain){
				pair[k], k ? to : from, i * (BYTES / channels),
				BYTES / channels };
	}
	start = tide__now_ns();
	for (unsigned int i = 0; i < channels; i++) {
		pthread_create(&thread[1][i], NULL, plain_receive, &side[1][i]);
		pthread_create(&thread[0][i], NULL, plain_send, &side[0][i]);
	}
	for (unsigned int i = 0; i < channels; i++) {
		pthread_join(thread[0][i], NULL);
		pthread_join(thread[1][i], NULL);
	}
	took = (double)(tide__now_ns() - start) / 1e9;
	for (unsigned int i = 0; i < channels; i++) {
		close(side[0][i].fd);
		close(side[1][i].fd);
	}
	return took;
}

/* ---- TLS ---- */

/* [0] the source's, [1] the receiver's. */
static struct tls_creds *creds[2];
static const char *key_path;

static void make_creds(void)
{
	char path[] = "/tmp/tidemark-bench-XXXXXX";
	static const char key[] = "bench:0123456789abcdef0123456789abcdef\n";
	int fd = mkstemp(path);
	struct tide_error err;

	if (fd < 0 || write(fd, key, sizeof(key) - 1) != sizeof(key) - 1 ||
	    tls_creds_psk(&creds[0], path, NULL, TLS_CLIENT, &err) ||
	    tls_creds_psk(&creds[1], path, NULL, TLS_SERVER, &err)) {
		fprintf(stderr, "bench: %s\n", fd < 0 ? path : err.text);
		exit(1);
	}
	close(fd);
	/*
	 * A server looks into it again at each handshake: it goes at the end.
	 */
	key_path = strdup(path);
}

/* Both handshakes of a pair, in turn. */
static void shake_hands(struct tls_streams *const side[2], const int fd[2])
{
	bool wants_write;
	struct tide_error err;
	int ret[2] = { -EAGAIN, -EAGAIN };

	for (int k = 0; k < 2; k++)
		if (tls_streams_open(side[k], fd[k], &err))
			exit(1);
	while (ret[0] || ret[1])
		for (int k = 0; k < 2; k++) {
			if (ret[k])
				ret[k] = tls_streams_shake(side[k], fd[k],
							   &wants_write, &err);
			if (ret[k] && ret[k] != -EAGAIN) {
				fprintf(stderr, "bench: %s\n", err.text);
				exit(1);
			}
		}
}

/* ---- the engine ---- */

struct move {
	struct tide_slots *slots;
	unsigned char *memory;
	int fd[MAX_CHANNELS];
	unsigned int next;
	struct tide_precopy_options options;
	struct tide_precopy_result result;
	uint64_t bulk_ns;
	int ret;
};

static int nothing(void *o, struct tide_error *err)
{
	(void)o;
	(void)err;
	return 0;
}

static int no_harvest(void *o, struct tide_set *set, struct tide_error *err)
{
	(void)set;
	return nothing(o, err);
}

static int no_state(void *o, void **state, size_t *len, struct tide_error *err)
{
	*state = calloc(1, *len = 1);
	return nothing(o, err);
}

static void note(void *o, const struct tide_round *round)
{
	struct move *m = o;

	if (round->finished && round->kind == TIDE_ROUND_BULK)
		m->bulk_ns = round->elapsed_ns;
}

static int far_prepare(void *o, const struct tide_slot *wanted, size_t count,
		       struct tide_slots *slots, struct tide_error *err)
{
	struct move *m = o;
	struct tide_slot slot = wanted[0];

	(void)count;
	slot.host = m->memory;
	return tide_slots_insert(slots, &slot, err);
}

static int far_load(void *o, const void *state, size_t len,
		    struct tide_error *err)
{
	(void)state;
	(void)len;
	return nothing(o, err);
}

static int far_accept(void *o, struct tide_error *err)
{
	struct move *m = o;

	(void)err;
	return m->fd[m->next++];
}

static void *far_main(void *o)
{
	static const struct tide_receive_ops ops = {
		.prepare = far_prepare, .load_state = far_load,
		.resume = nothing };
	struct move *m = o;

	m->ret = tide_receive_run(far_accept, m->slots, &ops, m, &m->options,
				  &m->result, NULL);
	return NULL;
}

static double engine_seconds(bool tcp, unsigned int channels,
			     unsigned char *from, unsigned char *to,
			     bool checksum, bool tls)
{
	static const struct tide_precopy_ops ops = {
		.harvest = no_harvest, .pause = nothing, .resume = nothing,
		.save_state = no_state, .progress = note };
	struct tide_slot slot = { 0, 0, 0, BYTES, from };
	struct move near = { 0 }, far = { .memory = to };
	struct tls_streams *streams[2] = { NULL };
	struct tide_set *set;
	struct tide_error err;
	pthread_t thread;

	for (int k = 0; tls && k < 2; k++)
		if (tls_streams_create(&streams[k], creds[k], NULL, &err))
			exit(1);
	madvise(to, BYTES, MADV_DONTNEED);
	tide_slots_create(&near.slots, NULL);
	tide_slots_create(&far.slots, NULL);
	tide_slots_insert(near.slots, &slot, NULL);
	tide_set_create(&set, BYTES / 4096, NULL);
	for (unsigned int i = 0; i < channels; i++) {
		int pair[2];

		if (connected_pair(tcp, pair))
			exit(1);
		near.fd[i] = pair[0];
		far.fd[i] = pair[1];
		if (tls)
			shake_hands(streams, pair);
	}
	tide_precopy_defaults(&near.options);
	near.options.checksum = checksum;
	near.options.stream_ops = tls ? &tls_stream_ops : NULL;
	near.options.stream_opaque = streams[0];
	far.options = near.options;
	far.options.stream_opaque = streams[1];
	pthread_create(&thread, NULL, far_main, &far);
	if (tide_precopy_run(near.fd, channels, near.slots, set, &ops, &near,
			     &near.options, &near.result, &err)) {
		fprintf(stderr, "bench: %s\n", err.text);
		exit(1);
	}
	pthread_join(thread, NULL);
	if (memcmp(from, to, BYTES)) {
		fprintf(stderr, "bench: the copies differ\n");
		exit(1);
	}
	for (unsigned int i = 0; i < channels; i++)
		close(near.fd[i]);
	for (int k = 0; k < 2; k++)
		tls_streams_destroy(streams[k]);
	tide_slots_destroy(near.slots);
	tide_slots_destroy(far.slots);
	tide_set_destroy(set);
	return (double)near.bulk_ns / 1e9;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v)
{
	qsort(v, REPS, sizeof(*v), by_value);
	return v[REPS / 2];
}

static void bench_bulk(unsigned char *from, unsigned char *to)
{
	printf("bulk, 256 MiB of data, MB/s: median [quartiles]\n"
	       "%-6s %-8s %22s %22s %22s %22s  ratios\n", "socket", "channels",
	       "plain send/recv", "engine, XXH3", "engine, no checksum",
	       "engine, TLS");
	for (int tcp = 0; tcp < 2; tcp++) {
		for (unsigned int ch = 1; ch <= MAX_CHANNELS; ch *= 4) {
			double v[4][REPS], m[4];

			for (int r = 0; r < REPS; r++) {
				v[0][r] = plain_seconds(tcp, ch, from, to);
				v[1][r] = engine_seconds(tcp, ch, from, to,
							 true, false);
				v[2][r] = engine_seconds(tcp, ch, from, to,
							 false, false);
				v[3][r] = engine_seconds(tcp, ch, from, to,
							 false, true);
			}
			printf("%-6s %-8u", tcp ? "tcp" : "unix", ch);
			for (int k = 0; k < 4; k++) {
				m[k] = median(v[k]);
				printf(" %8.0f [%5.0f,%6.0f]",
				       BYTES / m[k] / 1e6,
				       BYTES / v[k][REPS * 3 / 4] / 1e6,
				       BYTES / v[k][REPS / 4] / 1e6);
			}
			printf("  %.2f %.2f\n", m[0] / m[1], m[0] / m[3]);
			fflush(stdout);
		}
	}
}

/* ---- downtime of a real guest ---- */

struct arrival {
	struct vm_migration m;
	int fd;
	struct tide_precopy_options options;
	struct tide_precopy_result result;
};

static int arrival_accept(void *o, struct tide_error *err)
{
	(void)err;
	return ((struct arrival *)o)->fd;
}

static void *arrival_main(void *o)
{
	struct arrival *a = o;

	vm_receive(&a->m, &a->options, &a->result, NULL);
	return NULL;
}

static void harvests(void *opaque, const struct tide_round *round)
{
	double *worst = opaque;

	if (round->finished && (double)round->harvest_ns > *worst)
		*worst = (double)round->harvest_ns;
}

static double one_downtime(struct vm_stalls *worst, double *harvest_ns)
{
	const struct timespec warm = { 0, 400000000 };
	struct vm_migration near = { .progress = harvests,
				     .opaque = harvest_ns };
	struct arrival far = { 0 };
	struct tide_precopy_options o;
	struct tide_precopy_result result;
	struct tide_error err;
	struct vm_config c;
	pthread_t thread;
	int pair[2];

	vm_config_defaults(&c);
	c.pattern = GUEST_UNIFORM;
	c.rate_pages_per_s = 2000;
	c.serial_path = "/dev/null";
	if (vm_accel_here() != VM_ACCEL_KVM)
		c.source = TIDE_SOURCE_UFFD;
	if (vm_create(&near.vm, &c, &err) || vm_resume(near.vm, &err) ||
	    vm_create_incoming(&far.m.vm, &c, &err) ||
	    connected_pair(false, pair)) {
		fprintf(stderr, "bench: %s\n", err.text);
		exit(1);
	}
	nanosleep(&warm, NULL);
	tide_precopy_defaults(&o);
	o.downtime_target_ns = 5000000;
	far.options = o;
	far.fd = pair[1];
	far.m.accept = arrival_accept;
	far.m.opaque = &far;
	pthread_create(&thread, NULL, arrival_main, &far);
	if (vm_migrate(&near, pair, 1, &o, &result, &err)) {
		fprintf(stderr, "bench: %s\n", err.text);
		exit(1);
	}
	pthread_join(thread, NULL);
	for (int p = VM_PHASE_BULK; p <= VM_PHASE_STOP; p++) {
		struct vm_stalls s;

		vm_get_stalls(near.vm, (enum vm_phase)p, &s);
		if (s.longest_ns > worst[p].longest_ns)
			worst[p].longest_ns = s.longest_ns;
		for (int b = 0; b < 64; b++)
			worst[p].bucket[b] += s.bucket[b];
	}
	close(pair[0]);
	vm_destroy(near.vm);
	vm_destroy(far.m.vm);
	return (double)result.downtime_ns / 1e6;
}

static void bench_downtime(void)
{
	static const char *const names[] = { "none", "bulk", "dirty", "stop" };
	struct vm_stalls worst[4] = { 0 };
	double v[REPS], harvest_ns = 0;

	for (int r = 0; r < REPS; r++)
		v[r] = one_downtime(worst, &harvest_ns);
	median(v);
	printf("\ndowntime, 256 MiB guest writing 2,000 pages/s, ms: median "
	       "%.2f [%.2f, %.2f], worst %.2f\n", v[REPS / 2], v[REPS / 4],
	       v[REPS * 3 / 4], v[REPS - 1]);
	printf("slowest harvest and cut: %.1f us, %.3f ms per GiB\n",
	       harvest_ns / 1e3, harvest_ns / 1e6 * 4);
	printf("vCPU stalls: how long writing one page took, all %d runs\n",
	       REPS);
	for (int p = VM_PHASE_BULK; p <= VM_PHASE_STOP; p++) {
		printf("%-6s longest %8.1f us ", names[p],
		       (double)worst[p].longest_ns / 1e3);
		for (int b = 0; b < 40; b++)
			if (worst[p].bucket[b])
				printf(" %s%.6g us:%llu", b ? "<" : "<",
				       (double)(2ull << b) / 1e3,
				       (unsigned long long)worst[p].bucket[b]);
		putchar('\n');
	}
}

int main(void)
{
	unsigned char *from = map(), *to = map();

	fill(from);
	make_creds();
	bench_bulk(from, to);
	unlink(key_path);
	for (int k = 0; k < 2; k++)
		tls_creds_destroy(creds[k]);
	munmap(from, BYTES);
	munmap(to, BYTES);
	bench_downtime();
	return 0;
}
