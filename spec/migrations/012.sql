-- SPDX-License-Identifier: Apache-2.0
-- Messages of queues. store/queue.h says what the columns mean.
CREATE TABLE message (
	id INTEGER PRIMARY KEY,
	queue INTEGER NOT NULL,
	due_us INTEGER NOT NULL,
	visible_us INTEGER NOT NULL,
	receives INTEGER NOT NULL,
	first_us INTEGER NOT NULL,
	sent_us INTEGER NOT NULL,
	uuid TEXT NOT NULL,
	body TEXT NOT NULL,
	attributes TEXT,
	grp TEXT,
	dedup TEXT,
	sender TEXT,
	trace TEXT,
	source TEXT
);
CREATE INDEX message_due ON message (queue, due_us);
CREATE INDEX message_group ON message (queue, grp) WHERE grp IS NOT NULL;
-- What FIFO queues were sent in the last minutes, also when it is deleted.
CREATE TABLE dedup (
	queue INTEGER NOT NULL,
	key TEXT NOT NULL,
	sent_us INTEGER NOT NULL,
	id INTEGER NOT NULL,
	uuid TEXT NOT NULL,
	PRIMARY KEY (queue, key)
) WITHOUT ROWID;
CREATE INDEX dedup_sent ON dedup (sent_us);
