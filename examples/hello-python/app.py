# SPDX-License-Identifier: Apache-2.0
"""The smallest useful function: greets whom the query string or the event names."""
import os

GREETING = os.environ.get("GREETING", "Hello")


def handler(event, context):
    asked = event if isinstance(event, dict) else {}
    name = (asked.get("queryStringParameters") or asked).get("name", "world")
    return {"message": f"{GREETING}, {name}!", "request": context.aws_request_id}
