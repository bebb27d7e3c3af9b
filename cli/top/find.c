/* SPDX-License-Identifier: BSD-2-Clause */
/* Which processes of this host are VMs. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attach/target.h"
#include "cli/top/watch.h"

/* The kernel cuts names off after 15 bytes. */
static const char *const programs[] = {
	"qemu-system-", "qemu-kvm", "kvm", "firecracker", "cloud-hyperviso",
	"crosvm", "lkvm",
};

static bool known(const char *name)
{
	for (size_t i = 0; i < sizeof(programs) / sizeof(*programs); i++) {
		size_t n = strlen(programs[i]);

		/* One that ends in a dash goes on. */
		if (programs[i][n - 1] == '-' ? !strncmp(name, programs[i], n)
					      : !strcmp(name, programs[i]))
			return true;
	}
	return false;
}

static bool holds_kvm(int pid)
{
	char path[64], to[64];
	struct dirent *e;
	bool found = false;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	while (d && !found && (e = readdir(d))) {
		ssize_t n = readlinkat(dirfd(d), e->d_name, to,
				       sizeof(to) - 1);

		if (n <= 0)
			continue;
		to[n] = 0;
		found = !strcmp(to, "anon_inode:kvm-vm");
	}
	if (d)
		closedir(d);
	return found;
}

size_t top_find(int *pids, size_t max)
{
	struct tide__target t;
	struct dirent *e;
	size_t n = 0;
	DIR *d = opendir("/proc");

	while (d && n < max && (e = readdir(d))) {
		int pid = atoi(e->d_name);

		if (pid <= 0 || pid == getpid() ||
		    tide__target_look(&t, pid, pid, NULL) || t.state == 'Z')
			continue;
		if (known(t.name) || holds_kvm(pid))
			pids[n++] = pid;
	}
	if (d)
		closedir(d);
	return n;
}
