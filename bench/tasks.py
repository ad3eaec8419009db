# SPDX-License-Identifier: Apache-2.0
"""Containers in microseconds: /bin/true of busybox from an image that is unpacked already, through the API, from asking for it to its being gone.

Each has a root, 65,536 ids and a network of its own; the one before is gone, what it left on disk may still be being removed.
"""
import hashlib
import io
import json
import os
import tarfile
import time

import cold
import host

COUNT = 200
BUSYBOX = "/bin/busybox"


def archive(path):
    """A docker archive with one program."""
    with open(BUSYBOX, "rb") as f:
        layer = tar_of({"bin/true": f.read()})
    diff = hashlib.sha256(layer).hexdigest()
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    config = json.dumps({"architecture": arch, "os": "linux", "config": {"Cmd": ["/bin/true"]},
                         "rootfs": {"type": "layers", "diff_ids": ["sha256:" + diff]}}).encode()
    manifest = [{"Config": "config.json", "RepoTags": ["bench:1"], "Layers": ["layer.tar"]}]
    with open(path, "wb") as f:
        f.write(tar_of({"config.json": config, "layer.tar": layer, "manifest.json": json.dumps(manifest).encode()}))


def tar_of(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as t:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.mode, info.size = 0o755, len(data)
            t.addfile(info, io.BytesIO(data))
    return out.getvalue()


class Tasks(cold.Admin):
    def once(self):
        """Microseconds; the answer of attach ends when the task has stopped and its sandbox is gone."""
        begin = time.perf_counter_ns()
        self.request("POST", "/v1/tasks", '{"image": "localhost/bench:1", "attach": true}')
        answer = self.getresponse()
        task = json.loads(answer.read())
        if answer.status != 201:
            raise host.BenchError(task["error"])
        self.request("GET", f"/v1/tasks/{task['id']}/attach")
        end = self.getresponse().read()
        took = (time.perf_counter_ns() - begin) / 1000
        if b'"exit_code":0' not in end:
            raise host.BenchError(repr(end))
        self.ask(f"/v1/tasks/{task['id']}", "DELETE")
        return took


def run(bench):
    if not os.path.exists(BUSYBOX):
        bench.say("no busybox-static: containers are left out")
        return
    file = f"{bench.work}/image.tar"
    archive(file)
    tandem = host.Tandem(bench.options.bin, f"{bench.work}/state-tasks")
    try:
        tandem.run("pull", f"docker-archive:{file}", "--tag", "localhost/bench:1")
        tasks = Tasks(tandem.state)
        bench.say(f"{COUNT} containers, one after the other")
        took = sorted(tasks.once() for _ in range(COUNT))
        bench.figures.add(f"container of /bin/true, asked for to gone, p50 of {len(took)}", "us", [took[len(took) // 2]], at_most=5000)
        bench.figures.add("container of /bin/true, asked for to gone, p99", "us", [took[len(took) * 99 // 100]])
        tasks.close()
    finally:
        tandem.stop()
