-- SPDX-License-Identifier: Apache-2.0
-- How $LATEST is to run (enum lane_wish, base/lane.h), how it runs now (enum lane), and how many events one instance of the
-- container lane serves at once (0: the default).
ALTER TABLE function ADD COLUMN lane INTEGER NOT NULL DEFAULT 0;
ALTER TABLE function ADD COLUMN lane_now INTEGER NOT NULL DEFAULT 0;
ALTER TABLE function ADD COLUMN concurrency INTEGER NOT NULL DEFAULT 0;
