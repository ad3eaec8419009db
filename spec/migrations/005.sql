-- SPDX-License-Identifier: Apache-2.0
ALTER TABLE function RENAME COLUMN snapshot_off TO snapshot; -- 0: auto, 1: off, 2: on
