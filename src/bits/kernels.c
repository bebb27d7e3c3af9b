/* SPDX-License-Identifier: BSD-2-Clause */
#include "bits/kernels.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tidemark/scan.h"

/* In order of preference. */
static const struct tide__kernels *const all[] = {
#if defined(__x86_64__)
	&tide__kernels_avx512,
	&tide__kernels_avx2,
#elif defined(__aarch64__)
	&tide__kernels_neon,
#endif
	&tide__kernels_scalar,
};

static bool usable(const struct tide__kernels *kernels)
{
#if defined(__x86_64__)
	__builtin_cpu_init();	/* reads CPUID and XGETBV */
	if (kernels == &tide__kernels_avx512)
		return __builtin_cpu_supports("avx512f") &&
		       __builtin_cpu_supports("avx512bw") &&
		       __builtin_cpu_supports("avx512vl") &&
		       __builtin_cpu_supports("avx512vbmi2") &&
		       __builtin_cpu_supports("bmi2");
	if (kernels == &tide__kernels_avx2)
		return __builtin_cpu_supports("avx2") &&
		       __builtin_cpu_supports("bmi") &&
		       __builtin_cpu_supports("popcnt");
#endif
	(void)kernels;
	return true;
}

const struct tide__kernels *tide__kernels_named(const char *name)
{
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		if (!strcmp(name, all[i]->name))
			return usable(all[i]) ? all[i] : NULL;
	return NULL;
}

const struct tide__kernels *tide__kernels_pick(void)
{
	const char *wanted = getenv("TIDEMARK_ISA");
	const struct tide__kernels *forced =
	    wanted ? tide__kernels_named(wanted) : NULL;

	for (size_t i = 0; !forced; i++)
		if (usable(all[i]))
			return all[i];
	return forced;
}

const char *tide_isa_name(void)
{
	return tide__kernels_pick()->name;
}
