-- SPDX-License-Identifier: Apache-2.0
CREATE TABLE record ( -- store/record.h
	key TEXT NOT NULL PRIMARY KEY,
	value TEXT NOT NULL
) WITHOUT ROWID;
