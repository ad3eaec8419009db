-- SPDX-License-Identifier: Apache-2.0
ALTER TABLE function ADD COLUMN snapshot_off INTEGER NOT NULL DEFAULT 0; -- instances always start plainly
