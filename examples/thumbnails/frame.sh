#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# One frame of s3://$VIDEO, at $AT, becomes s3://$PICTURE. The platform's address in here knows which task asks: nothing has to be
# signed, and what the task may do says its `allow:`.
set -eu
curl -fsS -o /tmp/video "$AWS_ENDPOINT_URL/$VIDEO"
ffmpeg -nostdin -loglevel error -ss "$AT" -i /tmp/video -frames:v 1 -f mjpeg /tmp/picture
curl -fsS -H 'Content-Type: image/jpeg' -T /tmp/picture "$AWS_ENDPOINT_URL/$PICTURE"
