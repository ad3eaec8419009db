# SPDX-License-Identifier: Apache-2.0
"""The parts of the demo that are easier in Python: rows in, predictions beside the truth, latencies.

    demo_calls.py question ROWS.csv          the JSON to send
    demo_calls.py table ROWS.csv ANSWER      predictions beside the truth
    demo_calls.py latency URL COLD_S COUNT   calls it COUNT times on one connection
"""
import csv
import http.client
import json
import os
import sys
import time
from urllib.parse import urlsplit

COLOUR = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def tint(text, code):
    return f"\x1b[{code}m{text}\x1b[0m" if COLOUR else text


def read_rows(path):
    with open(path, newline="") as f:
        rows = list(csv.reader(line for line in f if not line.startswith("#")))[1:]
    return [([float(x) for x in row[:4]], row[4]) for row in rows]


def question(path):
    print(json.dumps({"rows": [row for row, _ in read_rows(path)]}))


def table(path, answer):
    rows = read_rows(path)
    with open(answer) as f:
        predictions = json.load(f)["predictions"]
    print(f"  {'sepal and petal, cm':22}{'truth':13}{'prediction':13}probability")
    right = 0
    for (row, truth), found in zip(rows, predictions, strict=True):
        name = found["name"]
        right += name == truth
        sizes = "  ".join(f"{x:.1f}" for x in row)
        mark = "" if name == truth else tint("   wrong", "31")
        print(f"  {sizes:22}{truth:13}{name:13}{found['probabilities'][name]:11.3f}{mark}")
    print(f"  {right} of {len(rows)} right")


def percentile(values, share):
    return values[min(int(len(values) * share), len(values) - 1)]


def latency(url, cold_s, count):
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=30)
    body = json.dumps({"rows": [[5.1, 3.5, 1.4, 0.2]]})
    took = []
    for _ in range(count + 1):
        begin = time.perf_counter()
        connection.request("POST", where.path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        took.append((time.perf_counter() - begin) * 1000)
        if answer.status != 200:
            raise SystemExit(f"demo: status {answer.status}: {text[:300]!r}")
    took = sorted(took[1:])  # without the one that opened the connection
    p50, p90, p99 = (percentile(took, share) for share in (0.5, 0.9, 0.99))
    print(f"  cold   {cold_s * 1000:8.1f} ms   sandbox, Python, import of scikit-learn, fitting the model; no instance ran before")
    print(f"  warm   {p50:8.2f} ms   median of {count} calls; p90 {p90:.2f}, p99 {p99:.2f}, slowest {took[-1]:.2f}")


def main(argv):
    verb, args = argv[1], argv[2:]
    if verb == "question":
        question(args[0])
    elif verb == "table":
        table(args[0], args[1])
    elif verb == "latency":
        latency(args[0], float(args[1]), int(args[2]))
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv)
