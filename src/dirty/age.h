/* SPDX-License-Identifier: BSD-2-Clause */
/* For tests: an age map whose stamps are used up sooner. */
#ifndef TIDE_DIRTY_AGE_H
#define TIDE_DIRTY_AGE_H

#include "tidemark/age.h"

/* Renew after @stamps stamps (2 to 65535) instead of 65535. */
void tide__age_set_limit(struct tide_age *age, uint32_t stamps);

#endif
