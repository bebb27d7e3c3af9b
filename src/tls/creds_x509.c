/* SPDX-License-Identifier: BSD-2-Clause */
/* Certificates: a CA that both sides trust says who a side is. */
#include "tls/internal.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

static const char priority[] =
	"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2" TLS__CIPHERS;

static int in_folder(char path[PATH_MAX], const char *folder, const char *name,
		     struct tide_error *err)
{
	if (snprintf(path, PATH_MAX, "%s/%s", folder, name) >= PATH_MAX)
		return tide_error_set(err, -ENAMETOOLONG, "tls",
				      TIDE_NO_OFFSET, "%s/%s: too long a path",
				      folder, name);
	return 0;
}

static int load_ca(struct tls_creds *c, const char *folder,
		   struct tide_error *err)
{
	char path[PATH_MAX];
	int ret = in_folder(path, folder, "ca-cert.pem", err);

	if (!ret)
		ret = tls__check_file(path, false, err);
	if (ret)
		return ret;
	ret = gnutls_certificate_set_x509_trust_file(c->x509, path,
						     GNUTLS_X509_FMT_PEM);
	if (ret <= 0)
		return ret ? tls__fault(err, path, ret)
			  : tide_error_set(err, -EINVAL, "tls", TIDE_NO_OFFSET,
					   "%s: no certificate in it", path);
	ret = in_folder(path, folder, "ca-crl.pem", err);
	if (ret || access(path, F_OK))
		return ret;
	ret = gnutls_certificate_set_x509_crl_file(c->x509, path,
						   GNUTLS_X509_FMT_PEM);
	return ret < 0 ? tls__fault(err, path, ret) : 0;
}

/* Ours: a client may have none, if it has neither half. */
static int load_own(struct tls_creds *c, const char *folder,
		    struct tide_error *err)
{
	bool server = c->role == TLS_SERVER;
	char cert[PATH_MAX], key[PATH_MAX];
	int ret = in_folder(cert, folder, server ? "server-cert.pem"
						: "client-cert.pem", err);

	if (!ret)
		ret = in_folder(key, folder, server ? "server-key.pem"
						   : "client-key.pem", err);
	if (ret)
		return ret;
	if (!server && access(cert, F_OK) && access(key, F_OK))
		return 0;
	ret = tls__check_file(cert, false, err);
	if (!ret)
		ret = tls__check_file(key, true, err);
	if (ret)
		return ret;
	ret = gnutls_certificate_set_x509_key_file(c->x509, cert, key,
						   GNUTLS_X509_FMT_PEM);
	return ret < 0 ? tls__fault(err, cert, ret) : 0;
}

int tls_creds_x509(struct tls_creds **out, const char *folder,
		   enum tls_role role, bool verify, struct tide_error *err)
{
	struct tls_creds *c = tls__creds_new(role, priority);
	int ret;

	if (!c)
		return tls__fault(err, folder, GNUTLS_E_MEMORY_ERROR);
	c->verify = role == TLS_CLIENT || verify;
	ret = gnutls_certificate_allocate_credentials(&c->x509);
	ret = ret ? tls__fault(err, folder, ret) : load_ca(c, folder, err);
	if (!ret)
		ret = load_own(c, folder, err);
	if (ret) {
		tls_creds_destroy(c);
		return ret;
	}
	*out = c;
	return 0;
}
