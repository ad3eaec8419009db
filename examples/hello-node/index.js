// SPDX-License-Identifier: Apache-2.0
'use strict';

// Takes one event with a list of numbers, directly or as the JSON body of an HTTP request, and returns what it found in it.
exports.handler = async (event, context) => {
	const isHttp = Boolean(event && event.requestContext);
	let input = event;
	if (isHttp) {
		const text = event.isBase64Encoded ? Buffer.from(event.body, 'base64').toString() : event.body || '{}';
		try {
			input = JSON.parse(text);
		} catch (e) {
			return { statusCode: 400, body: JSON.stringify({ message: `the body is not JSON: ${e.message}` }) };
		}
	}
	const values = Array.isArray(input && input.values) ? input.values.filter(Number.isFinite) : [];
	const result = {
		type: (input && input.type) || 'unknown',
		count: values.length,
		sum: values.reduce((sum, value) => sum + value, 0),
		requestId: context.awsRequestId,
	};
	console.log(`processed ${result.type} with ${result.count} values`);
	return result;
};
