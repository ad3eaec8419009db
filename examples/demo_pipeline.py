# SPDX-License-Identifier: Apache-2.0
"""The demo's pipeline: demo_pipeline.py TANDEM CLIP sends the clip with the AWS CLI, waits for what it sets off, and prints what happened when.

Its environment is that of `tandem env`.
"""
import hashlib
import json
import os
import struct
import subprocess
import sys
import time
from datetime import datetime

import boto3

LIMIT_S = 180
STEPS = {"thumbnails/thumb": "thumb", "task/frame": "frame (task)", "thumbnails/record": "record"}


def tandem(program, *arguments):
    return json.loads(subprocess.run([program, *arguments, "-o", "json"], stdout=subprocess.PIPE, check=True).stdout)


def tandem_lines(program, *arguments):
    out = subprocess.run([program, *arguments, "-o", "json"], stdout=subprocess.PIPE, check=True).stdout
    return [json.loads(line) for line in out.splitlines()]


def until(what, look):
    end = time.monotonic() + LIMIT_S
    while not (found := look()):
        if time.monotonic() > end:
            raise SystemExit(f"demo: {what} did not come in {LIMIT_S} s; look at: tandem logs thumb, tandem logs record, tandem describe thumb")
        time.sleep(0.05)
    return found


def seconds(iso):
    return datetime.fromisoformat(iso.replace("Z", "+00:00")).timestamp()


def fetch(s3, bucket, key):
    try:
        answer = s3.get_object(Bucket=bucket, Key=key)
    except s3.exceptions.NoSuchKey:
        return None
    return answer, answer["Body"].read()


def rows_since(program, began):
    """The row of each step, once all have one: they follow what they are about."""
    rows = [r for r in tandem(program, "cost", "--by", "rows")["rows"] if r["workload"] in STEPS and seconds(r["time"]) >= began and r["kind"] in ("invoke", "task")]
    return rows if len({r["workload"] for r in rows}) == len(STEPS) else None


def idle(program):
    """Nothing of the pipeline runs any more."""
    now = tandem(program, "ps")
    return not [i for i in now["instances"] if i["function"] in ("thumb", "record")] and not [t for t in now["tasks"] if t["state"] != "STOPPED" and "thumbnails-frame" in t["image"]]


def sent(program, key):
    """When the video was there: what the first function was told."""
    for line in tandem_lines(program, "logs", "thumb"):
        if line["text"].startswith("{") and (said := json.loads(line["text"]))["put"] == key:
            found = said["at"]
    return found


def lines(rows, began, puts):
    """(when, what, took, row)"""
    yield began, "aws s3 cp begins", None, None
    for row in rows:
        took = row["idle_ms"] / 1e3 if row["kind"] == "task" else sum(row[part] for part in ("queue_us", "start_us", "init_us", "handler_us")) / 1e6
        yield seconds(row["time"]), STEPS[row["workload"]], took, row
    for key, at in puts.items():
        yield seconds(at), f"put {key}", None, None


def main(program, clip):
    s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    stem = os.path.basename(clip)[:-4]
    until("quiet", lambda: idle(program))
    s3.delete_object(Bucket="records", Key=stem + ".json")
    began = time.time()
    subprocess.run(["aws", "--endpoint-url", os.environ["AWS_ENDPOINT_URL"], "s3", "cp", "--no-progress", clip, "s3://media/"], check=True)
    record = json.loads(until("the record of the picture", lambda: fetch(s3, "records", stem + ".json"))[1])
    picture = fetch(s3, "media", stem + ".jpg")[1]
    at = picture.index(b"\xff\xc0")  # the frame's header: length, bits, height, width
    height, width = struct.unpack(">HH", picture[at + 5:at + 9])
    print(f"  {stem}.jpg: {width}x{height}, {len(picture)} bytes, sha256 {hashlib.sha256(picture).hexdigest()}\n")
    rows = until("their rows in the ledger", lambda: rows_since(program, began))
    print(f"  {'ms':>8}  {'what':24}{'took ms':>9}  {'this machine, $':>16}  {'AWS, $':>12}")
    for when, what, took, row in sorted(lines(rows, began, {f"{stem}.mp4": sent(program, f"{stem}.mp4"), record["put"]: record["at"]}), key=lambda line: line[0]):
        cost = f"{row['usd_machine']:16.10f}  {row['usd_aws']:12.10f}" if row else ""
        print(f"  {(when - began) * 1e3:8.0f}  {what:24}{'' if took is None else f'{took * 1e3:9.0f}':9}  {cost}".rstrip())
    until("the end of what ran", lambda: idle(program))
    print("  nothing of it runs any more")


main(*sys.argv[1:])
