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
	int rc = in_folder(path, folder, "ca-cert.pem", err);

	if (!rc)
		rc = tls__check_file(path, false, err);
	if (rc)
		return rc;
	rc = gnutls_certificate_set_x509_trust_file(c->x509, path,
						    GNUTLS_X509_FMT_PEM);
	if (rc <= 0)
		return rc ? tls__fault(err, path, rc)
			  : tide_error_set(err, -EINVAL, "tls", TIDE_NO_OFFSET,
					   "%s: no certificate in it", path);
	rc = in_folder(path, folder, "ca-crl.pem", err);
	if (rc || access(path, F_OK))
		return rc;
	rc = gnutls_certificate_set_x509_crl_file(c->x509, path,
						  GNUTLS_X509_FMT_PEM);
	return rc < 0 ? tls__fault(err, path, rc) : 0;
}

/* Ours: a client may have none, if it has neither half. */
static int load_own(struct tls_creds *c, const char *folder,
		    struct tide_error *err)
{
	bool server = c->role == TLS_SERVER;
	char cert[PATH_MAX], key[PATH_MAX];
	int rc = in_folder(cert, folder, server ? "server-cert.pem"
						: "client-cert.pem", err);

	if (!rc)
		rc = in_folder(key, folder, server ? "server-key.pem"
						   : "client-key.pem", err);
	if (rc)
		return rc;
	if (!server && access(cert, F_OK) && access(key, F_OK))
		return 0;
	rc = tls__check_file(cert, false, err);
	if (!rc)
		rc = tls__check_file(key, true, err);
	if (rc)
		return rc;
	rc = gnutls_certificate_set_x509_key_file(c->x509, cert, key,
						  GNUTLS_X509_FMT_PEM);
	return rc < 0 ? tls__fault(err, cert, rc) : 0;
}

int tls_creds_x509(struct tls_creds **out, const char *folder,
		   enum tls_role role, bool verify, struct tide_error *err)
{
	struct tls_creds *c = tls__creds_new(role, priority);
	int rc;

	if (!c)
		return tls__fault(err, folder, GNUTLS_E_MEMORY_ERROR);
	c->verify = role == TLS_CLIENT || verify;
	rc = gnutls_certificate_allocate_credentials(&c->x509);
	rc = rc ? tls__fault(err, folder, rc) : load_ca(c, folder, err);
	if (!rc)
		rc = load_own(c, folder, err);
	if (rc) {
		tls_creds_destroy(c);
		return rc;
	}
	*out = c;
	return 0;
}
