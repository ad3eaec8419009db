-- SPDX-License-Identifier: Apache-2.0
-- Events are read a few of a function at a time, the earliest first; they go with their function.
ALTER TABLE event ADD COLUMN trace TEXT NOT NULL DEFAULT ''; -- X-Amzn-Trace-Id, given on at each try
DELETE FROM event WHERE function NOT IN (SELECT name FROM function);
CREATE INDEX event_due ON event (function, not_before_us);
ALTER TABLE revision ADD COLUMN dead_letter TEXT; -- ARN, of asynchronous events that fail
