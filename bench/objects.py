# SPDX-License-Identifier: Apache-2.0
"""An object of 1 GB by curl, presigned and with an unsigned payload, beside nginx (WebDAV, the file synced) and `openssl md5`: the slower of these two
is what a put is compared with, for S3 needs the digest. Nothing is on disk before the answer is; what the disk still has to do is waited for between."""
import datetime
import hashlib
import hmac
import http.client
import os
import subprocess
import time
import urllib.parse

import host

ROUNDS = 3
BYTES = 1 << 30
CONFIG = """
worker_processes 2;
daemon off;
user root;
pid {work}/nginx.pid;
error_log {work}/error.log warn;
events {{ worker_connections 64; }}
http {{
	access_log off;
	sendfile on;
	client_max_body_size 0;
	client_body_temp_path {work}/body;
	server {{ listen 127.0.0.1:{port}; root {work}; location / {{ dav_methods PUT DELETE; }} }}
}}
"""


def presigned(tandem, method, path):
    where, now = tandem.credentials, datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    scope = "/".join((now[:8], where["region"], "s3", "aws4_request"))
    query = urllib.parse.urlencode(sorted({"X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": where["access_key"] + "/" + scope, "X-Amz-Date": now,
                                           "X-Amz-Expires": 3600, "X-Amz-SignedHeaders": "host"}.items()), quote_via=urllib.parse.quote, safe="")
    canonical = f"{method}\n{path}\n{query}\nhost:127.0.0.1:{tandem.api}\n\nhost\nUNSIGNED-PAYLOAD"
    key = ("AWS4" + where["secret_key"]).encode()
    for word in (*scope.split("/"), f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"):
        key = hmac.digest(key, word.encode(), "sha256")
    return f"http://127.0.0.1:{tandem.api}{path}?{query}&X-Amz-Signature={key.hex()}"


def took(*argv):
    begin = time.perf_counter()
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise host.BenchError(f"{' '.join(argv[:3])}: {done.stderr.strip()}")
    return time.perf_counter() - begin


def peak_bytes(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM"))


def start(bench, tandem):
    """A bucket, the bytes, and nginx."""
    work, port = f"{bench.work}/objects", host.free_port()
    os.makedirs(work, exist_ok=True)
    url = urllib.parse.urlsplit(presigned(tandem, "PUT", "/bench"))
    connection = http.client.HTTPConnection(url.netloc)
    connection.request("PUT", f"{url.path}?{url.query}")
    if connection.getresponse().status != 200:
        raise host.BenchError("the bucket is not made")
    with open(f"{work}/bytes", "wb") as f:
        for _ in range(BYTES >> 20):
            f.write(os.urandom(1 << 20))
    with open(f"{work}/nginx.conf", "w", encoding="ascii") as f:
        f.write(CONFIG.format(work=work, port=port))
    nginx = host.Server(["nginx", "-e", f"{work}/error.log", "-p", work, "-c", f"{work}/nginx.conf"], f"{work}/nginx.log")
    host.wait_until(lambda: nginx.check() or host.listening(port), 10, "nginx does not listen")
    return work, nginx, f"http://127.0.0.1:{port}/put"


def run(bench):
    tandem = host.Tandem(bench.options.bin, f"{bench.work}/state-objects")
    try:
        measure(bench, tandem)
    finally:
        tandem.stop()


def measure(bench, tandem):
    work, nginx, dav = start(bench, tandem)
    found = {name: [] for name in ("md5", "nginx put", "put", "nginx get", "get")}
    get, put = (["curl", "-sSf", "-o", "/dev/null"], ["curl", "-sSf", "-T", f"{work}/bytes"])
    try:
        for turn in range(ROUNDS):
            bench.say(f"an object of 1 GB, round {turn + 1} of {ROUNDS}")
            subprocess.run(["sync"], check=True)
            found["md5"].append(took("openssl", "md5", f"{work}/bytes"))
            found["nginx put"].append(took(*put, dav) + took("sync", f"{work}/put", work))
            subprocess.run(["sync"], check=True)
            found["put"].append(took(*put, presigned(tandem, "PUT", "/bench/put")))
            found["nginx get"].append(took(*get, dav))
            found["get"].append(took(*get, presigned(tandem, "GET", "/bench/put")))
            took("curl", "-sSf", "-X", "DELETE", dav)
        took("curl", "-sSf", "-X", "DELETE", presigned(tandem, "DELETE", "/bench/put"))
    finally:
        nginx.stop()
    rate = {name: [BYTES / 1e6 / s for s in seconds] for name, seconds in found.items()}
    bench.figures.add("openssl md5 of 1 GB", "MB/s", rate["md5"])
    slower = min("md5", "nginx put", key=lambda name: sorted(rate[name])[ROUNDS // 2])
    bench.figures.add("1 GB object put (reference: the slower of nginx, WebDAV and synced, and openssl md5)", "MB/s", rate["put"], rate[slower],
                      at_least=0.8, of="ratio")
    bench.figures.add("1 GB object get (reference: nginx, sendfile)", "MB/s", rate["get"], rate["nginx get"], at_least=0.8, of="ratio")
    peak = max(peak_bytes(pid) for pid in tandem.processes())
    bench.figures.add("tandemd, most memory while objects of 1 GB come and go", "MB", [peak / 1e6], at_most=64)
