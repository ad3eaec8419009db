/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/test.h"
#include "wire/frame.h"

TEST(round_trip)
{
	static const struct frame table[] = {
		{FRAME_HELLO, 0, 0, 0},
		{FRAME_EVENT, FRAME_FLAG_END, 1, FRAME_MAX},
		{FRAME_PING, 0, UINT32_MAX, 258},
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		uint8_t raw[FRAME_HEADER];
		struct frame f = {0};

		frame_put(raw, &table[i]);
		CHECK(!frame_get(raw, &f, NULL));
		CHECK(f.type == table[i].type && f.flags == table[i].flags);
		CHECK(f.stream == table[i].stream && f.length == table[i].length);
	}
}

TEST(byte_order)
{
	uint8_t raw[FRAME_HEADER];
	static const uint8_t want[FRAME_HEADER] = {1, 3, 1, 0, 4, 3, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0};

	frame_put(raw, &(struct frame){FRAME_DATA, FRAME_FLAG_END, 0x01020304, 65536});
	CHECK(!memcmp(raw, want, sizeof(want)));
}

TEST(hostile)
{
	static const struct {
		unsigned at;
		uint8_t byte;
	} table[] = {{0, 0}, {0, 2}, {1, 0},  {1, 11},	 {1, 255}, {2, 8},
		     {3, 1}, {8, 1}, {10, 2}, {11, 255}, {12, 1},  {15, 128}};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		uint8_t raw[FRAME_HEADER];
		struct frame f = {.type = 77};
		struct err e = {0};

		frame_put(raw, &(struct frame){FRAME_DATA, 0, 1, FRAME_MAX});
		raw[table[i].at] = table[i].byte;
		CHECK(frame_get(raw, &f, &e) == -1);
		CHECK(e.kind == ERR_CORRUPT && e.text[0] && f.type == 77);
	}
}
