-- SPDX-License-Identifier: Apache-2.0
ALTER TABLE function ADD COLUMN pool INTEGER NOT NULL DEFAULT 0; -- blanks that are held ready for its bursts
