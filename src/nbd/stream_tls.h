/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TIDE_NBD_STREAM_TLS_H
#define TIDE_NBD_STREAM_TLS_H

#include "nbd/stream.h"
#include "tls/tls.h"

/* TLS for the streams of a server; @creds outlive it. */
void nbd_security_tls(struct nbd_security *security,
		      const struct tls_creds *creds);

#endif
