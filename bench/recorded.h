/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where recordings of real guests lie that are too large for the repository:
 * TIDEMARK_RECORDED names the folder, else it is the one beside the checkout.
 */
#ifndef BENCH_RECORDED_H
#define BENCH_RECORDED_H

#include <stdbool.h>
#include <stddef.h>

/* The path of @what in that folder; true if it is there to read. */
bool bench_recorded(char *path, size_t size, const char *what);

#endif
