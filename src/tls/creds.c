/* SPDX-License-Identifier: BSD-2-Clause */
/* What both kinds of credentials share. */
#include "tls/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct tls_creds *tls__creds_new(enum tls_role role, const char *priority)
{
	struct tls_creds *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->role = role;
	if (gnutls_priority_init(&c->priority, priority, NULL)) {
		free(c);
		return NULL;
	}
	return c;
}

void tls_creds_destroy(struct tls_creds *c)
{
	if (!c)
		return;
	if (c->x509)
		gnutls_certificate_free_credentials(c->x509);
	if (c->psk_server)
		gnutls_psk_free_server_credentials(c->psk_server);
	if (c->psk_client)
		gnutls_psk_free_client_credentials(c->psk_client);
	gnutls_priority_deinit(c->priority);
	free(c);
}

int tls__fault(struct tide_error *err, const char *path, int ret)
{
	int code = ret == GNUTLS_E_MEMORY_ERROR ? -ENOMEM : -EINVAL;

	return tide_error_set(err, code, "tls", TIDE_NO_OFFSET, "%s: %s", path,
			      gnutls_strerror(ret));
}

/*
 * What we could read as root, others can only if the mode lets them: a key
 * that anybody has says nothing about who sends.
 */
int tls__check_file(const char *path, bool secret, struct tide_error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	int ret = fd < 0 || fstat(fd, &st) ? -errno : 0;

	if (fd >= 0)
		close(fd);
	if (ret)
		return tide_error_set(err, ret, "tls", TIDE_NO_OFFSET, "%s: %s",
				      path, strerror(-ret));
	if (!S_ISREG(st.st_mode))
		return tide_error_set(err, -EINVAL, "tls", TIDE_NO_OFFSET,
				      "%s is not a file", path);
	if (secret && st.st_mode & (S_IROTH | S_IWOTH))
		return tide_error_set(err, -EPERM, "tls", TIDE_NO_OFFSET,
				      "%s: a secret that everybody may read; "
				      "chmod o= it", path);
	return 0;
}
