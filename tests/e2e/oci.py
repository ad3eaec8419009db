# SPDX-License-Identifier: Apache-2.0
"""Container images made on the spot, and registries on loopback: Debian's, and one that misbehaves when told."""
import base64
import gzip
import hashlib
import http.server
import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
import threading

import tandem

REGISTRY = shutil.which("docker-registry")
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def sha(data):
    return hashlib.sha256(data).hexdigest()


def layer(files):
    """A tar of {name: bytes, or a TarInfo's fields}."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as t:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, dict):
                for key, value in content.items():
                    setattr(info, key, value)
                content = b""
            else:
                info.mode = 0o755
            info.size = len(content)
            t.addfile(info, io.BytesIO(content))
    return out.getvalue()


class Image:
    """blobs by digest, manifest. layers are tars."""

    def __init__(self, *layers, config=None, diff_ids=None, packed=None, arch=ARCH, **more):
        self.tars = layers
        packed = packed or [gzip.compress(t, mtime=0) for t in layers]
        self.blobs = {sha(p): p for p in packed}
        self.diff_ids = diff_ids or [sha(t) for t in layers]
        self.config = json.dumps({"architecture": arch, "os": "linux", "created": "2026-01-02T03:04:05Z", "config": config or {},
                                  "rootfs": {"type": "layers", "diff_ids": ["sha256:" + d for d in self.diff_ids]}, **more}).encode()
        self.blobs[sha(self.config)] = self.config

        def part(kind, data):
            return {"mediaType": "application/vnd.oci.image." + kind, "digest": "sha256:" + sha(data), "size": len(data)}
        self.manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": part("config.v1+json", self.config),
                                    "layers": [part("layer.v1.tar+gzip", p) for p in packed]}).encode()
        self.digest = sha(self.manifest)

    def layout(self, at, tag="latest"):
        """Writes an OCI layout."""
        os.makedirs(at + "/blobs/sha256")
        for digest, data in {**self.blobs, self.digest: self.manifest}.items():
            with open(at + "/blobs/sha256/" + digest, "wb") as f:
                f.write(data)
        with open(at + "/index.json", "w", encoding="ascii") as f:
            json.dump({"schemaVersion": 2, "manifests": [{"mediaType": MANIFEST, "digest": "sha256:" + self.digest, "size": len(self.manifest),
                                                          "annotations": {"org.opencontainers.image.ref.name": tag}}]}, f)
        with open(at + "/oci-layout", "w", encoding="ascii") as f:
            json.dump({"imageLayoutVersion": "1.0.0"}, f)
        return at


class Registry:
    """Debian's docker-registry, empty."""

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="tandem-registry-")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.host = "127.0.0.1:%d" % s.getsockname()[1]
        with open(self.dir + "/config.yml", "w", encoding="ascii") as f:
            f.write("version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: %s/data\nhttp:\n  addr: %s\n" % (self.dir, self.host))
        with open(self.dir + "/log", "wb") as log:
            self.process = subprocess.Popen([REGISTRY, "serve", self.dir + "/config.yml"], stdout=log, stderr=log)
        tandem.wait_for(self.answers, 60, self.said)
        return self

    def answers(self):
        assert self.process.poll() is None, self.said()
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", int(self.host.split(":")[1]))) == 0

    def said(self):
        with open(self.dir + "/log", encoding="utf-8") as f:
            return "docker-registry did not come up: " + f.read()

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.dir)

    def push(self, image, name):
        with tempfile.TemporaryDirectory() as d:
            image.layout(d + "/l")
            subprocess.run(["skopeo", "copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false", "--preserve-digests",
                            "oci:" + d + "/l:latest", "docker://%s/%s" % (self.host, name)], check=True, timeout=120)
        return "%s/%s" % (self.host, name)


class OddRegistry:
    """Serves images of a dict {"name:tag": Image}. answers[digest] may give other bytes for a blob; hold[digest] is an event that the blob
    waits for after its first half, and held[digest] is set then; dies: the connection ends there instead."""

    def __init__(self, images, user=None, password=None):
        self.images, self.answers, self.hold, self.held, self.dies = images, {}, {}, {}, set()
        self.need = user and "Basic " + base64.b64encode(("%s:%s" % (user, password)).encode()).decode()
        odd = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def reply(self, status, body, **headers):
                self.send_response(status)
                for k, v in headers.items():
                    self.send_header(k.replace("_", "-"), v)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                try:
                    if self.command != "HEAD":
                        self.wfile.write(body)
                except OSError:  # it has heard enough
                    pass

            def do_HEAD(self):
                self.do_GET()

            def do_GET(self):
                if odd.need and self.headers.get("Authorization") != odd.need:
                    self.reply(401, b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}',
                               WWW_Authenticate='Basic realm="odd"', Content_Type="application/json")
                elif self.path == "/v2/":
                    self.reply(200, b"{}")
                elif "/manifests/" in self.path:
                    self.manifest()
                else:
                    self.blob(self.path.rsplit(":", 1)[1])

            def manifest(self):
                name, ref = self.path[4:].split("/manifests/")
                for key, image in odd.images.items():
                    if key == name + ":" + ref or (key.startswith(name + ":") and ref == "sha256:" + image.digest):
                        body = odd.answers.get(image.digest, image.manifest)
                        self.reply(200, body, Content_Type=MANIFEST)
                        return
                self.reply(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}', Content_Type="application/json")

            def blob(self, digest):
                body = odd.answers.get(digest) or next(i.blobs[digest] for i in odd.images.values() if digest in i.blobs)
                if digest not in odd.hold and digest not in odd.dies:
                    self.reply(200, body, Content_Type="application/octet-stream")
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[:len(body) // 2])
                self.wfile.flush()
                if digest in odd.dies:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                odd.held[digest].set()
                odd.hold[digest].wait(120)
                try:
                    self.wfile.write(body[len(body) // 2:])
                except OSError:
                    pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.host = "127.0.0.1:%d" % self.server.server_port

    def hold_blob(self, digest):
        self.hold[digest], self.held[digest] = threading.Event(), threading.Event()

    def release(self):
        for event in self.hold.values():
            event.set()
        self.hold = {}

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.release()
        self.server.shutdown()
        self.server.server_close()
