/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TIDE_NBD_PAGES_H
#define TIDE_NBD_PAGES_H

#include <stdbool.h>

struct nbd_request;

/*
 * Can the read be answered from the export's reader_fd, without a wait worth
 * speaking of? pages.c says when.
 */
bool nbd_pages_can(const struct nbd_request *r);

#endif
