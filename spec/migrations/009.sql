-- SPDX-License-Identifier: Apache-2.0
ALTER TABLE revision ADD COLUMN image TEXT; -- of a function that is one; code_sha256 is its digest then
