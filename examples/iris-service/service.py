# SPDX-License-Identifier: Apache-2.0
"""Which iris is it? The model of ../iris as a web application: POST /predict {"rows": [[5.1, 3.5, 1.4, 0.2], ...]}, port 5000."""
import flask
import numpy
import waitress
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

iris = load_iris()
names = [str(name) for name in iris.target_names]
seen = [i for i in range(len(iris.data)) if i % 10 != 0]
model = LogisticRegression(max_iter=1000).fit(iris.data[seen], iris.target[seen])
app = flask.Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 1 << 20


@app.post("/predict")
@app.post("/service/predict")  # through the gateway, which passes paths on as they came
def predict():
    try:
        rows = numpy.array(flask.request.get_json(force=True)["rows"], dtype=float)
        probabilities = model.predict_proba(rows)
    except (ValueError, TypeError, KeyError):
        return {"message": 'expected {"rows": [[5.1, 3.5, 1.4, 0.2], ...]}, four numbers a row'}, 400
    return {"predictions": [{"name": names[row.argmax()], "probabilities": {n: round(float(p), 4) for n, p in zip(names, row)}} for row in probabilities]}


@app.get("/healthz")
def healthz():
    return "ok\n"


waitress.serve(app, host="0.0.0.0", port=5000, threads=4)
