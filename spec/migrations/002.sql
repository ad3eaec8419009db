-- SPDX-License-Identifier: Apache-2.0
-- Published versions are revisions with a number; they share code by digest. $LATEST's has version 0.
ALTER TABLE revision ADD COLUMN function TEXT NOT NULL DEFAULT '';
ALTER TABLE revision ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
ALTER TABLE revision ADD COLUMN snapstart INTEGER NOT NULL DEFAULT 0;
UPDATE revision SET function = coalesce((SELECT name FROM function WHERE function.revision = revision.serial), '');
CREATE INDEX revision_version ON revision (function, version) WHERE version > 0;

ALTER TABLE function ADD COLUMN last_version INTEGER NOT NULL DEFAULT 0; -- a number never comes twice
ALTER TABLE function ADD COLUMN aliases TEXT NOT NULL DEFAULT '[]';      -- JSON, store/rows.c
ALTER TABLE function ADD COLUMN provisioned TEXT NOT NULL DEFAULT '[]';  -- JSON, store/rows.c
ALTER TABLE function ADD COLUMN reserved INTEGER NOT NULL DEFAULT -1;    -- concurrency; -1: none
ALTER TABLE function ADD COLUMN min_instances INTEGER NOT NULL DEFAULT 0;
ALTER TABLE function ADD COLUMN max_instances INTEGER NOT NULL DEFAULT 0; -- 0: no limit
ALTER TABLE function ADD COLUMN keep_us INTEGER NOT NULL DEFAULT -1;      -- -1: as the policy thinks

ALTER TABLE event ADD COLUMN qualifier TEXT NOT NULL DEFAULT ''; -- resolved anew at each try
