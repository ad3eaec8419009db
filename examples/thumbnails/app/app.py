# SPDX-License-Identifier: Apache-2.0
"""Two functions of one pipeline; the SDK finds the platform by itself."""
import json
import os
import re
from urllib.parse import quote, unquote_plus

import boto3

ECS = boto3.client("ecs")
S3 = boto3.client("s3")


def objects(event):
    for record in event["Records"]:
        yield record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"]), record


def thumb(event, context):
    """Asks for the frame of each video at the time that its name ends with: NAME_MINUTES-SECONDS.mp4."""
    for bucket, key, record in objects(event):
        at = re.search(r"_(\d\d)-(\d\d)\.mp4$", key)
        if not at:
            print(f"{key} says no time; it looks like clip_00-03.mp4")
            continue
        wanted = {"VIDEO": f"{bucket}/{quote(key)}", "PICTURE": f"{bucket}/{quote(key[:-4])}.jpg", "AT": f"00:{at[1]}:{at[2]}"}
        environment = [{"name": name, "value": value} for name, value in wanted.items()]
        done = ECS.run_task(taskDefinition="frame", overrides={"containerOverrides": [{"name": "frame", "environment": environment}]})
        print(json.dumps({"put": key, "at": record["eventTime"], "task": done["tasks"][0]["taskArn"]}))


def record(event, context):
    for _, key, what in objects(event):
        found = {"put": key, "at": what["eventTime"], "bytes": what["s3"]["object"]["size"], "etag": what["s3"]["object"]["eTag"]}
        S3.put_object(Bucket="records", Key=os.path.splitext(key)[0] + ".json", Body=json.dumps(found).encode())
        print(json.dumps(found))
