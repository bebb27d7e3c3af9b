/* SPDX-License-Identifier: BSD-2-Clause */
#include "tls_files.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct party {
	gnutls_x509_privkey_t key;
	gnutls_x509_crt_t cert;
};

static int put(const char *folder, const char *name, const void *bytes,
	       size_t len)
{
	char path[512];
	int fd, bad;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -1;
	bad = write(fd, bytes, len) != (ssize_t)len;
	return close(fd) || bad ? -1 : 0;
}

static int put_party(const char *folder, const char *name,
		     const struct party *p)
{
	gnutls_datum_t pem;
	char file[64];
	int ret;

	if (gnutls_x509_crt_export2(p->cert, GNUTLS_X509_FMT_PEM, &pem))
		return -1;
	snprintf(file, sizeof(file), "%s-cert.pem", name);
	ret = put(folder, file, pem.data, pem.size);
	gnutls_free(pem.data);
	if (gnutls_x509_privkey_export2(p->key, GNUTLS_X509_FMT_PEM, &pem))
		return -1;
	snprintf(file, sizeof(file), "%s-key.pem", name);
	ret |= put(folder, file, pem.data, pem.size);
	gnutls_free(pem.data);
	return ret;
}

/* Signed by @ca; NULL: by itself, as a CA. */
static int make(struct party *p, const char *name, unsigned char serial,
		const struct party *ca)
{
	time_t now = time(NULL);
	int ret = gnutls_x509_privkey_init(&p->key);

	ret |= gnutls_x509_privkey_generate(p->key, GNUTLS_PK_ECDSA,
		GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
	ret |= gnutls_x509_crt_init(&p->cert);
	ret |= gnutls_x509_crt_set_version(p->cert, 3);
	ret |= gnutls_x509_crt_set_serial(p->cert, &serial, 1);
	ret |= gnutls_x509_crt_set_activation_time(p->cert, now - 3600);
	ret |= gnutls_x509_crt_set_expiration_time(p->cert, now + 86400);
	ret |= gnutls_x509_crt_set_dn_by_oid(p->cert,
		GNUTLS_OID_X520_COMMON_NAME, 0, name,
		(unsigned int)strlen(name));
	ret |= gnutls_x509_crt_set_key(p->cert, p->key);
	ret |= gnutls_x509_crt_set_basic_constraints(p->cert, !ca, -1);
	ret |= gnutls_x509_crt_set_key_usage(p->cert, ca
		? GNUTLS_KEY_DIGITAL_SIGNATURE : GNUTLS_KEY_KEY_CERT_SIGN);
	return ret;
}

static int sign(struct party *p, const struct party *ca)
{
	return gnutls_x509_crt_sign2(p->cert, ca->cert, ca->key,
				     GNUTLS_DIG_SHA256, 0);
}

static int name_server(struct party *p)
{
	struct in_addr here = { htonl(INADDR_LOOPBACK) };
	int ret = gnutls_x509_crt_set_subject_alt_name(p->cert,
		GNUTLS_SAN_DNSNAME, "host.test", 9, GNUTLS_FSAN_SET);

	ret |= gnutls_x509_crt_set_subject_alt_name(p->cert,
		GNUTLS_SAN_DNSNAME, "localhost", 9, GNUTLS_FSAN_APPEND);
	ret |= gnutls_x509_crt_set_subject_alt_name(p->cert,
		GNUTLS_SAN_IPADDRESS, &here, 4, GNUTLS_FSAN_APPEND);
	return ret | gnutls_x509_crt_set_key_purpose_oid(p->cert,
		GNUTLS_KP_TLS_WWW_SERVER, 0);
}

static void drop(struct party *p)
{
	gnutls_x509_crt_deinit(p->cert);
	gnutls_x509_privkey_deinit(p->key);
}

static int make_keys(const char *folder)
{
	unsigned char random[32];
	char text[256];
	int len = 0;

	if (gnutls_rnd(GNUTLS_RND_KEY, random, sizeof(random)))
		return -1;
	len += snprintf(text, sizeof(text), "alice:");
	for (int i = 0; i < 16; i++)
		len += snprintf(text + len, 3, "%02x", random[i]);
	len += snprintf(text + len, 6, "\nbob:");
	for (int i = 16; i < 32; i++)
		len += snprintf(text + len, 3, "%02x", random[i]);
	text[len++] = '\n';
	return put(folder, "keys.psk", text, (size_t)len);
}

int tls_files_make(const char *folder)
{
	struct party ca = { 0 }, server = { 0 }, client = { 0 };
	int ret = mkdir(folder, 0700) && errno != EEXIST ? -1 : 0;

	ret |= make(&ca, "test CA", 1, NULL) || sign(&ca, &ca);
	ret |= make(&server, "host.test", 2, &ca) || name_server(&server) ||
	      sign(&server, &ca);
	ret |= make(&client, "client", 3, &ca) ||
	      gnutls_x509_crt_set_key_purpose_oid(client.cert,
						  GNUTLS_KP_TLS_WWW_CLIENT,
						  0) ||
	      sign(&client, &ca);
	ret |= put_party(folder, "ca", &ca) ||
	      put_party(folder, "server", &server) ||
	      put_party(folder, "client", &client) || make_keys(folder);
	drop(&ca);
	drop(&server);
	drop(&client);
	return ret ? -1 : 0;
}

#ifdef TLS_FILES_MAIN
/* tls-files FOLDER...: for scripts. */
int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (tls_files_make(argv[i])) {
			fprintf(stderr, "tls-files: %s: failed\n", argv[i]);
			return 1;
		}
	return argc < 2;
}
#endif
