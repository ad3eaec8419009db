-- SPDX-License-Identifier: Apache-2.0
CREATE TABLE object (
	bucket TEXT NOT NULL,
	key TEXT NOT NULL,
	id INTEGER NOT NULL, -- of its body; grows with every write of the key
	size INTEGER NOT NULL,
	etag TEXT NOT NULL,
	modified_us INTEGER NOT NULL,
	meta TEXT NOT NULL, -- JSON: headers, checksum, tags
	PRIMARY KEY (bucket, key)
) WITHOUT ROWID;
CREATE TABLE object_body (
	id INTEGER PRIMARY KEY,
	files TEXT, -- "NAME:SIZE NAME:SIZE ...", in objects/; NULL: it is small, and in data
	data BLOB
);
CREATE TABLE upload (
	bucket TEXT NOT NULL,
	key TEXT NOT NULL,
	id TEXT NOT NULL,
	created_us INTEGER NOT NULL,
	meta TEXT NOT NULL,
	PRIMARY KEY (bucket, key, id)
) WITHOUT ROWID;
CREATE TABLE upload_part (
	upload TEXT NOT NULL,
	number INTEGER NOT NULL,
	file TEXT NOT NULL,
	size INTEGER NOT NULL,
	etag TEXT NOT NULL,
	modified_us INTEGER NOT NULL,
	checksum TEXT NOT NULL, -- of it, as text; "": none
	PRIMARY KEY (upload, number)
) WITHOUT ROWID;
