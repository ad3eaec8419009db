-- SPDX-License-Identifier: Apache-2.0
ALTER TABLE revision ADD COLUMN egress TEXT; -- as store/function.h has it
