# SPDX-License-Identifier: Apache-2.0
"""The parts of the demo that are easier in Python: rows in, predictions beside the truth, latencies.

    demo_calls.py question ROWS.csv          the JSON to send
    demo_calls.py table ROWS.csv ANSWER OTHER        predictions beside the truth; whether the other answer is the same
    demo_calls.py latency TANDEM URL FIRST_S COUNT   calls it COUNT times on one connection, and some times when nothing runs
    demo_calls.py service TANDEM URL COUNT           the same of the service, and once when it sleeps
"""
import csv
import http.client
import json
import os
import subprocess
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


def table(path, answer, other):
    rows = read_rows(path)
    with open(answer) as f, open(other) as g:
        predictions, others = json.load(f)["predictions"], json.load(g)["predictions"]
    print(f"  {'sepal and petal, cm':22}{'truth':13}{'prediction':13}probability")
    right = 0
    for (row, truth), found in zip(rows, predictions, strict=True):
        name = found["name"]
        right += name == truth
        sizes = "  ".join(f"{x:.1f}" for x in row)
        mark = "" if name == truth else tint("   wrong", "31")
        print(f"  {sizes:22}{truth:13}{name:13}{found['probabilities'][name]:11.3f}{mark}")
    print(f"  {right} of {len(rows)} right; the service answers {'the same' if others == predictions else tint('something else', '31')}")


def percentile(values, share):
    return values[min(int(len(values) * share), len(values) - 1)]


BODY = json.dumps({"rows": [[5.1, 3.5, 1.4, 0.2]]})
SNAPSHOT_LIMIT_S = 60
SLEEPS = 7


def call(connection, path):
    """What one call took, in milliseconds."""
    begin = time.perf_counter()
    connection.request("POST", path, BODY, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    took = (time.perf_counter() - begin) * 1000
    if answer.status != 200:
        raise SystemExit(f"demo: status {answer.status}: {text[:300]!r}")
    return took


def tandem(program, *arguments):
    done = subprocess.run([program, *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"demo: {program} {' '.join(arguments)} ended with {done.returncode}")
    return done.stdout


def begun_plainly(program):
    """Whether the last cold start was one without a snapshot: a second run of the demo finds the snapshot of the first."""
    rows = json.loads(tandem(program, "cost", "--by", "rows", "--workload", "iris/iris", "-o", "json"))["rows"]
    cold = [r for r in rows if r["kind"] == "invoke" and r["cold"]]
    return not cold or not cold[-1]["restored"]


def snapshot(program):
    end = time.monotonic() + SNAPSHOT_LIMIT_S
    while True:
        found = json.loads(tandem(program, "describe", "iris", "-o", "json"))["snapshot"]
        if "bytes" in found or time.monotonic() > end:
            return found
        time.sleep(0.1)


def connect(url):
    where = urlsplit(url)
    return http.client.HTTPConnection(where.hostname, where.port, timeout=30), where.path


def warm(connection, path, count):
    took = sorted([call(connection, path) for _ in range(count + 1)][1:])  # the first one opens the connection
    p50, p90, p99 = (percentile(took, share) for share in (0.5, 0.9, 0.99))
    return f"  warm   {p50:8.2f} ms   median of {count} calls; p90 {p90:.2f}, p99 {p99:.2f}, slowest {took[-1]:.2f}"


def service(program, url, count):
    steady = warm(*connect(url), count)
    end = time.monotonic() + SNAPSHOT_LIMIT_S
    while any(s["instances"] for s in json.loads(tandem(program, "ls", "-o", "json"))["services"]) and time.monotonic() < end:
        time.sleep(0.1)
    woken = call(*connect(url))
    print(f"  asleep {woken:8.1f} ms   woken by the call, idle: 5s: sandbox, Python, import of Flask and scikit-learn, fitting the model")
    print(steady)


def latency(program, url, first_s, count):
    connection, path = connect(url)
    plainly = begun_plainly(program)
    steady = warm(connection, path, count)
    image = snapshot(program)
    asleep = []
    for _ in range(SLEEPS if "bytes" in image else 0):
        tandem(program, "stop", "iris")
        asleep.append(call(connection, path))
    how = "started plainly: sandbox, Python, import of scikit-learn, fitting the model" if plainly else "the snapshot was there already"
    print(f"  first  {first_s * 1000:8.1f} ms   {how}")
    if asleep:
        asleep.sort()
        print(f"  asleep {percentile(asleep, 0.5):8.1f} ms   median of {SLEEPS} calls that found nothing running: begun from a snapshot of"
              f" {image['bytes'] / 1e6:.0f} MB; slowest {asleep[-1]:.1f}")
    else:
        print(f"  asleep        -      no snapshot: {image['none']}")
    print(steady)


def main(argv):
    verb, args = argv[1], argv[2:]
    if verb == "question":
        question(args[0])
    elif verb == "table":
        table(*args)
    elif verb == "latency":
        latency(args[0], args[1], float(args[2]), int(args[3]))
    elif verb == "service":
        service(args[0], args[1], int(args[2]))
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv)
