/* SPDX-License-Identifier: Apache-2.0 */
/* What was measured several times: quantiles and the mean, each with the interval that holds it in 95 of 100 cases. */
#pragma once
#include <stddef.h>
#include "sched/known.h"

struct sample {
	double *v;
	size_t n, cap;
};
struct estimate {
	double value, low, high;
	size_t n; /* 0: there is none */
};
void sample_add(struct sample *s, double v);
void sample_sort(struct sample *s); /* before quantiles are asked for */
/* By order statistics: no shape of the distribution is assumed. Where n is too small for one of the two, it is the least or
 * the greatest that was seen. */
struct estimate sample_quantile(const struct sample *s, double q);
struct estimate sample_mean(const struct sample *s);
struct known estimate_known(struct estimate v); /* as it was measured */
void sample_done(struct sample *s);
