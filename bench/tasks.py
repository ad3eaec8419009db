# SPDX-License-Identifier: Apache-2.0
"""Containers in microseconds: /bin/true of busybox from an image that is unpacked already, through the API, from asking for it to its being gone.

Each has a root, 65,536 ids and a network of its own; the one before is gone, what it left on disk may still be being removed. Beside it
`docker run --rm` of the same image, when Debian's docker.io is installed: started here, in a net namespace of its own, with its defaults.
"""
import hashlib
import io
import json
import os
import shutil
import statistics
import subprocess
import tarfile
import time

import cold
import host

COUNT = 200
DOCKER_EVERY = 10
BUSYBOX = "/bin/busybox"


def archive(path, name, files, command):
    """A docker archive of one layer: {path: bytes}."""
    layer = tar_of(files)
    diff = hashlib.sha256(layer).hexdigest()
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    config = json.dumps({"architecture": arch, "os": "linux", "config": {"Cmd": command},
                         "rootfs": {"type": "layers", "diff_ids": ["sha256:" + diff]}}).encode()
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
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


class Docker(host.Server):
    """dockerd as Debian has it, overlay2 and a bridge, where it touches nothing of the host's network."""

    DOCKER = "/usr/bin/docker"  # what is ahead of it in PATH may be another's

    def __init__(self, work, image):
        self.folder = f"{work}/docker"
        os.mkdir(self.folder)
        with open(f"{self.folder}/daemon.json", "w") as f:
            f.write("{}")
        there = f"--config-file {self.folder}/daemon.json --data-root {self.folder}/data --exec-root {self.folder}/run --pidfile {self.folder}/pid"
        super().__init__(["unshare", "--net", "sh", "-c", f"ip link set lo up; exec dockerd -H unix://{self.folder}/sock {there}"], f"{self.folder}/log")
        host.wait_until(lambda: self.check() or self.docker("version"), 60, "dockerd does not answer", 0.2)
        if not self.docker("load", "-i", image):
            raise host.BenchError("docker load failed")

    def docker(self, *argv):
        return not subprocess.run([self.DOCKER, "-H", f"unix://{self.folder}/sock", *argv], capture_output=True, check=False).returncode

    def once(self):
        begin = time.perf_counter_ns()
        if not self.docker("run", "--rm", "bench:1"):
            raise host.BenchError("docker run failed")
        return (time.perf_counter_ns() - begin) / 1000


def docker(bench, image):
    if not shutil.which("dockerd") or not os.path.exists(Docker.DOCKER):
        bench.say("no docker.io: tasks are measured without docker run beside them")
        return None
    try:
        return Docker(bench.work, image)
    except host.BenchError as e:
        bench.say(f"docker run is left out: {e}")
        return None


def run(bench):
    if not os.path.exists(BUSYBOX):
        bench.say("no busybox-static: containers are left out")
        return
    file = f"{bench.work}/image.tar"
    with open(BUSYBOX, "rb") as f:
        archive(file, "bench:1", {"bin/true": f.read()}, ["/bin/true"])
    tandem = host.Tandem(bench.options.bin, f"{bench.work}/state-tasks")
    beside = docker(bench, file)
    try:
        tandem.run("pull", f"docker-archive:{file}", "--tag", "localhost/bench:1")
        tasks = Tasks(tandem.state)
        bench.say(f"{COUNT} containers, one after the other")
        took, docker_took = [], []
        for i in range(COUNT):
            took.append(tasks.once())
            if beside and i % DOCKER_EVERY == 0:
                docker_took.append(beside.once())
        p50 = [statistics.median(took)]
        add = bench.figures.add
        add(f"container of /bin/true, asked for to gone, p50 of {COUNT}", "us", p50, at_most=5000)
        add("container of /bin/true, asked for to gone, p99", "us", [cold.p99(took)])
        if docker_took:
            add(f"docker run --rm of the same, p50 of {len(docker_took)}", "us", [statistics.median(docker_took)], p50, at_least=40, of="ratio")
        tasks.close()
    finally:
        tandem.stop()
        if beside:
            beside.stop()
