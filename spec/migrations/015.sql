-- SPDX-License-Identifier: Apache-2.0
-- The trace that the record's sender was part of, as X-Amzn-Trace-Id; NULL: none. Readers do not see it: a mapping's batch is linked to it.
ALTER TABLE stream_record ADD COLUMN trace TEXT;
