# SPDX-License-Identifier: Apache-2.0
"""Which iris is it? A scikit-learn model that answers over HTTP and over the Lambda API.

The body of a request, or the event of a direct invocation, is {"rows": [[5.1, 3.5, 1.4, 0.2], ...]}: sepal length,
sepal width, petal length and petal width in centimetres, one flower a row.

The model is fitted while the function initialises: fitting takes about 10 ms on the data that scikit-learn carries with
it, so no model file has to match the installed version. Every tenth flower is left out of it; those are rows.csv.
"""
import base64
import json
import math

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

MAX_ROWS = 10000

iris = load_iris()
features = len(iris.feature_names)
names = [str(name) for name in iris.target_names]
seen = [i for i in range(len(iris.data)) if i % 10 != 0]
model = LogisticRegression(max_iter=1000).fit(iris.data[seen], iris.target[seen])


class BadInput(ValueError):
    """What the caller sent is not what the model takes; the text says what is wrong."""


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def rows_of(question):
    rows = question.get("rows") if isinstance(question, dict) else None
    if not isinstance(rows, list) or not rows:
        raise BadInput('expected {"rows": [[5.1, 3.5, 1.4, 0.2], ...]} with at least one row')
    if len(rows) > MAX_ROWS:
        raise BadInput(f"{len(rows)} rows are more than the {MAX_ROWS} that one request may hold")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, list) or len(row) != features or not all(map(is_number, row)):
            raise BadInput(f"row {number} is not a list of {features} numbers ({', '.join(iris.feature_names)})")
    return rows


def predict(question):
    probabilities = model.predict_proba(rows_of(question))
    return {
        "predictions": [
            {
                "name": names[row.argmax()],
                "probabilities": {name: round(float(p), 4) for name, p in zip(names, row)},
            }
            for row in probabilities
        ]
    }


def question_in(event):
    body = event.get("body") or ""
    try:
        if event.get("isBase64Encoded"):
            body = base64.b64decode(body, validate=True)
        return json.loads(body)
    except ValueError as e:
        raise BadInput(f"the body is not JSON: {e}") from None


def answer(status, what):
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json"},
        "body": json.dumps(what),
    }


def handler(event, context):
    if not isinstance(event, dict) or "requestContext" not in event:
        return predict(event)  # a direct invocation: a BadInput becomes the function error
    try:
        return answer(200, predict(question_in(event)))
    except BadInput as e:
        return answer(400, {"message": str(e)})
