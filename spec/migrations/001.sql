-- SPDX-License-Identifier: Apache-2.0
-- serial and id must never come twice in the life of a state, also after the newest row is gone: AUTOINCREMENT.
CREATE TABLE setting (
	name TEXT NOT NULL PRIMARY KEY,
	value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE revision (
	serial INTEGER PRIMARY KEY AUTOINCREMENT,
	id TEXT NOT NULL,
	runtime TEXT NOT NULL,
	kind INTEGER NOT NULL,
	handler TEXT,
	role TEXT,
	description TEXT,
	code_sha256 TEXT NOT NULL,
	code_bytes INTEGER NOT NULL,
	layers TEXT NOT NULL,        -- hex digests, a space between
	memory_mb INTEGER NOT NULL,
	timeout_s INTEGER NOT NULL,
	tmp_mb INTEGER NOT NULL,
	cpu_quota_us INTEGER NOT NULL,
	env TEXT NOT NULL,           -- JSON object
	modified_us INTEGER NOT NULL
);

CREATE TABLE function (
	name TEXT NOT NULL PRIMARY KEY,
	project TEXT NOT NULL,
	revision INTEGER NOT NULL,
	state INTEGER NOT NULL,
	reason TEXT,
	reason_code TEXT NOT NULL,
	tags TEXT NOT NULL,          -- JSON object
	route TEXT,
	allow TEXT,
	access_key TEXT NOT NULL,
	secret_key TEXT NOT NULL,
	created_us INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE event (
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	request_id TEXT NOT NULL,
	function TEXT NOT NULL,
	accepted_us INTEGER NOT NULL,
	not_before_us INTEGER NOT NULL,
	attempts INTEGER NOT NULL,
	payload BLOB NOT NULL
);
