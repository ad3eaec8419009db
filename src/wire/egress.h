/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way out of sandboxes (docs/decisions/007-the-way-out.md): what tandem-net builds at the start of the spawner, and
 * what the spawner then gives to each sandbox. Addresses are of 240.0.0.0/4, which nobody uses: they cannot collide with
 * those of a host or its neighbours.
 */
#pragma once
#include <stdint.h>
#include <stdio.h>

#define EGRESS_ID_MAX	   64 /* spawners of one host, as state_take_ids numbers them */
#define EGRESS_FD	   3 /* tandem-net's: struct egress_said comes back, with the router's namespace when it is there */
#define EGRESS_FIRST	   16 /* index of the first sandbox's device in the router */
#define EGRESS_SERIAL_MASK 0x7ffffffu
#define EGRESS_OWN	   "eth0" /* the sandbox's end */
#define EGRESS_OWN_INDEX   2	  /* behind lo */
/* One less than IPv6 needs: the kernel then gives a device no IPv6 half, which would speak by itself, and is half of what a
 * pair takes in memory and a third of its making. Datagrams that are longer come in pieces: the router lets them (before). */
#define EGRESS_MTU 1279
#define EGRESS_UP  "up" /* the router's end of its pair with the host */

#define EGRESS_TABLE	    "tandem"   /* the router's nftables, of the family ip */
#define EGRESS_SET_CLOSED   "closed"   /* addresses of sandboxes to which the internet is not open */
#define EGRESS_SET_DECLARED "declared" /* address of a sandbox, range that it may connect to */

/* Never used twice before 2^27 namespaces were made: what the router still remembers of a connection is nobody else's. */
static inline uint32_t egress_address(uint32_t serial)
{
	return 0xf0000000u | (serial & EGRESS_SERIAL_MASK);
}

/* Those of the router, towards the host: 0 for public addresses, 1 for what was declared, which may be the host itself. */
static inline uint32_t egress_router_address(unsigned id, unsigned declared)
{
	return 0xfc000001u + (id << 8) + declared;
}

static inline void egress_host_device(unsigned id, char out[16])
{
	snprintf(out, 16, "tandem%u", id % EGRESS_ID_MAX);
}

struct egress_said {
	int32_t failed;
	int32_t forwards_now; /* the host did not before */
	char text[200];	      /* why, NUL-terminated */
};
