-- SPDX-License-Identifier: Apache-2.0
-- Records of streams. id: when it came, in µs, and always more than the one before, also after all others were trimmed.
CREATE TABLE stream_record (
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	shard INTEGER NOT NULL, -- its serial, never used again
	key TEXT NOT NULL,
	data BLOB NOT NULL
);
CREATE INDEX stream_record_shard ON stream_record(shard); -- and id, which is the row's own
