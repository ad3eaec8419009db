/* SPDX-License-Identifier: Apache-2.0 */
#include "base/enc.h"
#include "store/digest.h"
#include "tests/test.h"

TEST(sha256)
{
	char hex[65];

	digest_sha256_hex("", 0, hex);
	CHECK_STR(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	digest_sha256_hex("abc", 3, hex);
	CHECK_STR(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

/* RFC 4231, cases 2 and 6 (a key longer than a block). */
TEST(hmac_sha256)
{
	uint8_t d[32];
	char hex[65], key[131];

	digest_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, d);
	enc_hex(d, 32, hex);
	CHECK_STR(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	memset(key, 0xaa, sizeof(key));
	digest_hmac_sha256(key, sizeof(key), "Test Using Larger Than Block-Size Key - Hash Key First", 54, d);
	enc_hex(d, 32, hex);
	CHECK_STR(hex, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}
