// SPDX-License-Identifier: Apache-2.0
'use strict';

exports.handler = async () => ({ message: 'hello' });
