/* SPDX-License-Identifier: Apache-2.0 */
/* The price book and this machine, for verbs that price what they measured, simulated or read. */
#pragma once
#include "cli/cli.h"
#include "ledger/prices.h"
struct price_here {
	struct prices prices;
	struct price_machine
		machine; /* what an hour costs as the daemon has it; as the book has it where none answers */
	double vcpus, memory_bytes;
};
int cli_price_here(struct cli *c, struct price_here *ret, struct err *e);
#ifdef __aarch64__
#define CLI_ARCH PRICE_ARM
#else
#define CLI_ARCH PRICE_X86
#endif
