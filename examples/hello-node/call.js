// SPDX-License-Identifier: Apache-2.0
'use strict';

// A program as it stands in many code bases: nothing in it knows of Tandem. `eval "$(tandem env)"` in the shell that
// starts it sets the endpoint, key and region, also for this old SDK (npm install aws-sdk).
const AWS = require('aws-sdk');

const event = { type: 'reading', values: [1, 2, 3.5] };

new AWS.Lambda().invoke({
	FunctionName: 'event-processor',
	Payload: JSON.stringify(event),
	InvocationType: 'RequestResponse',
}).promise().then((answer) => {
	console.log(answer.StatusCode, answer.Payload.toString());
}, (error) => {
	console.error(`${error.code}: ${error.message}`);
	process.exitCode = 1;
});
