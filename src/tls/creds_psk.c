/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pre-shared keys. The file is read as a whole when the credentials are made,
 * so that a line that is no key is reported then, and not in some handshake. A
 * server reads it again at each handshake: keys may be added and removed while
 * it runs.
 */
#include "tls/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Only suites that prove the key, and with an exchange that keeps recorded
 * traffic secret if the key becomes known later.
 */
static const char priority[] = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:"
			       "-KX-ALL:+ECDHE-PSK:+DHE-PSK" TLS__CIPHERS;

#define MIN_HEX 32u		/* 128 bits */

static bool is_key(const char *hex)
{
	size_t len = strlen(hex);

	return len >= MIN_HEX && len % 2 == 0 &&
	       strspn(hex, "0123456789abcdefABCDEF") == len;
}

/* Look at each line; @out, if it is wanted, is the key of @name, malloc'ed. */
static int read_keys(const char *file, const char *name, char **owner,
		     char **key, struct tide_error *err)
{
	FILE *f = fopen(file, "re");
	char *line = NULL;
	size_t room = 0;
	unsigned long number = 0, keys = 0;
	int ret = f ? 0 : tide_error_set(err, -errno, "tls", TIDE_NO_OFFSET,
					 "%s: %s", file, strerror(errno));

	while (!ret && getline(&line, &room, f) >= 0) {
		char *colon = strrchr(line, ':');

		number++;
		line[strcspn(line, "\r\n")] = 0;
		if (!*line || *line == '#')
			continue;
		if (!colon || colon == line || !is_key(colon + 1)) {
			ret = tide_error_set(err, -EINVAL, "tls",
					     TIDE_NO_OFFSET,
					     "%s, line %lu: not NAME:KEY with "
					     "a key of %u or more hexadecimal "
					     "digits", file, number, MIN_HEX);
			break;
		}
		keys++;
		*colon = 0;
		if (*key || (name && strcmp(name, line)))
			continue;
		*owner = strdup(line);
		*key = strdup(colon + 1);
		if (!*owner || !*key)
			ret = tls__fault(err, file, GNUTLS_E_MEMORY_ERROR);
	}
	if (line)
		explicit_bzero(line, room);
	free(line);
	if (f)
		fclose(f);
	if (!ret && !keys)
		ret = tide_error_set(err, -EINVAL, "tls", TIDE_NO_OFFSET,
				     "%s: no key in it", file);
	return ret;
}

static int load_client(struct tls_creds *c, const char *file, const char *name,
		       const char *owner, const char *key,
		       struct tide_error *err)
{
	gnutls_datum_t hex = { (unsigned char *)key,
			       key ? (unsigned int)strlen(key) : 0 };
	int ret;

	if (!key)
		return tide_error_set(err, -ENOKEY, "tls", TIDE_NO_OFFSET,
				      "%s: no key of '%s' in it", file, name);
	ret = gnutls_psk_allocate_client_credentials(&c->psk_client);
	if (!ret)
		ret = gnutls_psk_set_client_credentials(c->psk_client, owner,
							&hex,
							GNUTLS_PSK_KEY_HEX);
	return ret ? tls__fault(err, file, ret) : 0;
}

static int load_server(struct tls_creds *c, const char *file,
		       struct tide_error *err)
{
	int ret = gnutls_psk_allocate_server_credentials(&c->psk_server);

	if (!ret)
		ret = gnutls_psk_set_server_credentials_file(c->psk_server,
							     file);
	/* Named groups of RFC 7919 for DHE-PSK in TLS 1.2. */
	if (!ret)
		ret = gnutls_psk_set_server_known_dh_params(
			c->psk_server, GNUTLS_SEC_PARAM_MEDIUM);
	return ret ? tls__fault(err, file, ret) : 0;
}

int tls_creds_psk(struct tls_creds **out, const char *file, const char *name,
		  enum tls_role role, struct tide_error *err)
{
	struct tls_creds *c = tls__creds_new(role, priority);
	char *owner = NULL, *key = NULL;
	int ret;

	if (!c)
		return tls__fault(err, file, GNUTLS_E_MEMORY_ERROR);
	ret = tls__check_file(file, true, err);
	if (!ret)
		ret = read_keys(file, name, &owner, &key, err);
	if (!ret)
		ret = role == TLS_SERVER
			 ? load_server(c, file, err)
			 : load_client(c, file, name, owner, key, err);
	if (key)
		explicit_bzero(key, strlen(key));
	free(owner);
	free(key);
	if (ret) {
		tls_creds_destroy(c);
		return ret;
	}
	*out = c;
	return 0;
}
