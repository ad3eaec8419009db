// SPDX-License-Identifier: Apache-2.0
'use strict';
/*
 * What the Node runtime does around a process image (docs/snapshots.md). Loaded, before any code of the user, only where
 * one is made, so it costs no plain start anything.
 *
 * All instances of an image begin with the same memory. What has to differ between them is made anew after the restore:
 * the environment, Math.random, and OpenSSL's generators with what node:crypto keeps of their output.
 */
const crypto = require('crypto');
const reseed = require('./reseed.node');

const UUIDS = 128, INTS = 1024; // how many values node:crypto fetches at a time

/*
 * V8's generator cannot be seeded again. This one takes its numbers from OpenSSL, and must be there before the user's
 * code: that may keep the function.
 */
const pool = new Uint32Array(1024);
let at = pool.length;

Object.defineProperty(Math, 'random', {
	value: {
		random()
		{
			if (at === pool.length) {
				crypto.randomFillSync(pool);
				at = 0;
			}
			return ((pool[at++] >>> 5) * 67108864 + (pool[at++] >>> 6)) / 9007199254740992;
		},
	}.random,
	writable: true, enumerable: false, configurable: true,
});

function anew()
{
	reseed();
	at = pool.length;
	for (let i = 0; i < UUIDS; i++)
		crypto.randomUUID();
	for (let i = 0; i < INTS; i++)
		crypto.randomInt(2);
}

function before()
{
	const v8 = require('v8');

	v8.setFlagsFromString('--expose-gc');
	require('vm').runInNewContext('gc')();
	v8.setFlagsFromString('--no-expose-gc');
	for (let i = 0; i < 20; i++)
		anew(); // compiled, and what it sets up when it is called first is in the image
}

/* body: NAME=value of the new instance, each with a NUL. */
function after(body)
{
	for (const pair of body.split('\0')) {
		const equals = pair.indexOf('=');

		if (equals > 0)
			process.env[pair.slice(0, equals)] = pair.slice(equals + 1);
	}
	anew();
}

module.exports = { before, after };
