#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""WebSocket through the gateway to a service, with the client of Python's websockets."""
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import websockets

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import oci  # noqa: E402
import tandem  # noqa: E402

LIMIT_S = 60 * tandem.SLOW


class WebSocket(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="tandem-ws-")
        self.addCleanup(shutil.rmtree, self.dir)
        subprocess.run(["gcc", "-O1", "-D_GNU_SOURCE", "-static", "-pthread", "-o", self.dir + "/ws", os.path.join(tandem.ROOT, "tests/e2e/ws.c"), "-lcrypto"],
                       check=True, stderr=subprocess.DEVNULL)  # that static programs cannot look up names, which this one does not
        with open(self.dir + "/ws", "rb") as f:
            program = f.read()
        layout = oci.Image(oci.layer({"ws": program}), config={"Entrypoint": ["/ws"]}).layout(self.dir + "/box", "v1")
        self.t = tandem.Tandem()
        self.t.__enter__()
        self.addCleanup(self.t.close)
        self.t.cli("pull", "oci:" + layout + ":v1", "--tag", "localhost/ws:v1")
        with open(self.dir + "/tandem.yaml", "w", encoding="ascii") as f:
            json.dump({"name": "talk", "services": {"ws": {"image": "localhost/ws:v1", "port": 8080, "route": "/*", "memory": 64, "min": 1}}}, f)
        self.t.cli("up", "-f", self.dir + "/tandem.yaml")

    def talk(self, what):
        """what(socket), connected."""
        async def run():
            async with websockets.connect(self.t.gateway.replace("http:", "ws:") + "/talk", max_size=None, open_timeout=LIMIT_S) as s:
                return await asyncio.wait_for(what(s), LIMIT_S)
        return asyncio.run(run())

    def test_messages(self):
        async def what(s):
            for message in ("hello", "", b"\0\xff" * 10, "x" * 70000, os.urandom(4 << 20)):
                await s.send(message)
                self.assertEqual(await s.recv(), message)
            await (await s.ping())
            many = [str(i) for i in range(500)]
            await asyncio.gather(*[s.send(m) for m in many])
            self.assertEqual(sorted([await s.recv() for _ in many]), sorted(many))
            await s.close(1001, "enough")
            self.assertEqual(s.close_code, 1001)
        self.talk(what)

    def test_many_at_once(self):
        async def run():
            uri = self.t.gateway.replace("http:", "ws:")
            all_of = await asyncio.gather(*[websockets.connect(uri, open_timeout=LIMIT_S) for _ in range(50)])
            for i, s in enumerate(all_of):
                await s.send(str(i))
            self.assertEqual([await s.recv() for s in all_of], [str(i) for i in range(50)])
            await asyncio.gather(*[s.close() for s in all_of])
        asyncio.run(asyncio.wait_for(run(), LIMIT_S))

    def test_the_service_ends(self):
        async def what(s):
            await s.send("exit")
            with self.assertRaises(websockets.ConnectionClosedError):
                await s.recv()
        self.talk(what)

        async def again(s):
            await s.send("back")
            self.assertEqual(await s.recv(), "back")
        self.talk(again)  # waits for the next instance


if __name__ == "__main__":
    unittest.main()
