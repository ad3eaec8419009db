// SPDX-License-Identifier: Apache-2.0
/*
 * Preloaded into node by `tandem env` (NODE_OPTIONS=--require). aws-sdk v2 does not know AWS_ENDPOINT_URL: the first time that a program
 * loads it, its global configuration gets that endpoint. Does nothing in a program that does not load it, nothing without
 * AWS_ENDPOINT_URL, and never throws into the program. ES modules reach a CommonJS package through the same loader.
 */
'use strict';
(() => {
	const endpoint = process.env.AWS_ENDPOINT_URL;
	if (!endpoint || process.env.AWS_IGNORE_CONFIGURED_ENDPOINT_URLS === 'true')
		return;
	let Module;
	try {
		Module = require('module');
	} catch {
		return;
	}
	const load = Module._load;
	if (typeof load !== 'function')
		return;
	const seen = new WeakSet();

	/* The whole package, its core, or one client (aws-sdk/clients/lambda): all share the configuration of AWS core. */
	function configure(core) {
		if (!core || !core.config || typeof core.config.update !== 'function' || seen.has(core.config))
			return;
		seen.add(core.config);
		/* What the program sets itself, before or later, wins: only an empty place is filled. */
		if (core.config.endpoint === undefined)
			core.config.update({endpoint, s3ForcePathStyle: true});
	}

	Module._load = function (request, parent, isMain) {
		const loaded = load.apply(this, arguments);
		try {
			if (typeof request === 'string' && request.includes('aws-sdk') && !request.includes('@aws-sdk')) {
				if (loaded && loaded.VERSION && String(loaded.VERSION).startsWith('2.'))
					configure(loaded);
				else if (typeof loaded === 'function' && loaded.serviceIdentifier && parent)
					configure(load.call(this, 'aws-sdk/lib/core', parent, false));
			}
		} catch {
			/* a program must not suffer from a convenience */
		}
		return loaded;
	};
})();
