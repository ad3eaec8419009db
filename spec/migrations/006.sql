-- SPDX-License-Identifier: Apache-2.0
-- Container images; layers/<diff id> holds what they are made of. A reference that was pulled anew leaves its old image, while
-- somebody runs from it, under NAME@sha256:DIGEST, moved.
CREATE TABLE image (
	reference TEXT NOT NULL PRIMARY KEY, -- normalised
	digest TEXT NOT NULL,                -- hex, of the manifest
	config_digest TEXT NOT NULL,
	created_us INTEGER NOT NULL,         -- by whoever made it; 0: not said
	pulled_us INTEGER NOT NULL,
	layers TEXT NOT NULL,                -- "diff id:bytes" from the lowest, a space between
	config TEXT NOT NULL,                -- the image's own JSON
	moved INTEGER NOT NULL
) WITHOUT ROWID;
