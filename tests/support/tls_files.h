/* SPDX-License-Identifier: BSD-2-Clause */
/* Certificates and keys for tests, made on the spot: nothing that expires. */
#ifndef TIDE_TESTS_TLS_FILES_H
#define TIDE_TESTS_TLS_FILES_H

/*
 * In @folder, which is made: ca-cert.pem, server-cert.pem and -key.pem (for
 * the names "host.test" and "localhost", and 127.0.0.1), client-cert.pem and
 * -key.pem ("CN=client"), and keys.psk with one key of "alice" and one of
 * "bob". Each folder has a CA and keys of its own. 0, or -1.
 */
int tls_files_make(const char *folder);

#endif
