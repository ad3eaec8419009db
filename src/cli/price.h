/* SPDX-License-Identifier: Apache-2.0 */
/* The price book, for verbs that price what they measured, simulated or read. */
#pragma once
#include "cli/cli.h"
#include "ledger/prices.h"
int cli_prices(struct prices *ret, struct err *e); /* spec/prices.json beside the helpers */
struct price_here {				   /* with what an hour of this machine costs, as the daemon has it */
	struct prices prices;
	struct price_machine machine;
};
int cli_price_here(struct cli *c, struct price_here *ret, struct err *e);
#ifdef __aarch64__
#define CLI_ARCH PRICE_ARM
#else
#define CLI_ARCH PRICE_X86
#endif
