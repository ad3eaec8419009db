#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Real Node functions in real sandboxes: several threads, epoll and pipes, restored; and what may not be the same twice."""
import os
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_sandbox  # noqa: E402
from test_sandbox import SLOW, snap  # noqa: E402

ROUNDS = int(os.environ.get("TANDEM_ROUNDS", "30"))
RANDOM = ("const crypto = require('crypto'), { random } = Math, { randomInt } = crypto;\n"
          "random(); crypto.randomUUID(); randomInt(10); crypto.randomBytes(8); globalThis.crypto?.randomUUID();\n"
          "exports.handler = async () => ({ random: random(), Math: Math.random(), bytes: crypto.randomBytes(16).toString('hex'),\n"
          "    uuid: crypto.randomUUID(), int: randomInt(2 ** 47), web: require('crypto').webcrypto.getRandomValues(new Uint32Array(4)).join(),\n"
          "    pool: await new Promise((done) => crypto.randomBytes(16, (e, b) => done(b.toString('hex')))),\n"
          "    key: crypto.generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'der' }).toString('hex') });\n")


@unittest.skipUnless(os.path.exists("/usr/bin/node"), "there is no /usr/bin/node")
class Node(test_sandbox.Case):
    file, argv = "app.js", ["/usr/bin/node", "--max-old-space-size=230", "/var/runtime/node/shim.js"]

    def test_answers_with_new_environment(self):
        self.taken("let n = 0;\nexports.handler = async (event, context) =>\n"
                   "    [++n, event, process.env.KEY, process.env.TANDEM_IMAGE, context.logStreamName, process.pid, process.getuid()];\n")
        for k in ("a", "b"):
            i = self.restored(f"KEY={k}\0AWS_LAMBDA_LOG_STREAM_NAME=stream-{k}\0".encode())
            self.assertEqual(i.ask("x"), [1, "x", k, None, f"stream-{k}", 2, 1051])
            self.assertEqual(i.ask("y")[0], 2)

    def test_the_one_that_was_taken_goes_on(self):
        self.assertEqual(self.taken("exports.handler = async (event) => event;\n").ask({"a": 1}), {"a": 1})

    def test_log_and_end(self):
        self.taken("exports.handler = async (event) => { console.log('out'); if (event) process.exit(7); return 1; };\n")
        i = self.restored()
        self.assertEqual(i.ask(), 1)
        self.assertIn("INFO\tout\n", i.sb.output(until=b"out\n"))
        i.send(test_sandbox.EVENT, b"\1" + b"\0" * 17 + b"1")
        self.assertEqual(snap.hear(i.sb.ctl)[:3], (snap.EXITED, 1, 7 << 8))

    def test_random_numbers_differ(self):
        self.taken(RANDOM)
        a, b = self.two()
        for name in a:
            self.assertNotEqual(a[name], b[name], name)

    def test_without_seeding_they_would_not(self):
        self.taken(RANDOM)
        a, b = self.two(hooks=False)
        for name in ("random", "Math", "bytes", "uuid", "int", "web", "key"):
            self.assertEqual(a[name], b[name], name)

    def test_time_goes_on(self):
        self.taken("const { performance } = require('perf_hooks');\nconst mono = process.hrtime.bigint(), perf = performance.now();\n"
                   "exports.handler = async () => [Number(process.hrtime.bigint() - mono), performance.now() - perf, Date.now()];\n")
        mono, perf, wall = self.restored().ask()
        self.assertGreater(mono, 0)
        self.assertGreater(perf, 0)
        self.assertLess(abs(wall / 1000 - time.time()), 60)

    def test_a_socket(self):
        self.refused("const s = require('dgram').createSocket('udp4');\ns.bind(5000);\nexports.handler = async () => 1;\n", "open socket")

    def test_a_child(self):
        self.refused("require('child_process').spawn('/bin/sleep', ['1000']).unref();\nexports.handler = async () => 1;\n",
                     "another process runs beside it")

    def test_a_busy_worker(self):
        self.refused("const { Worker } = require('worker_threads');\nconst turns = new Int32Array(new SharedArrayBuffer(4));\n"
                     "new Worker(`const turns = require('worker_threads').workerData;\nAtomics.add(turns, 0, 1);\nAtomics.notify(turns, 0);\n"
                     "for (;;) ;`, { eval: true, workerData: turns }).unref();\n"
                     "Atomics.wait(turns, 0, 0);\nexports.handler = async () => 1;\n", "is busy")  # it is, by then

    def test_many_rounds(self):
        self.taken("const fs = require('fs').promises;\nexports.handler = async (event) => [event, (await fs.readFile('/etc/hostname')).length > 0];\n")
        for k in range(ROUNDS * SLOW):
            i = self.sandbox(keep=False)
            snap.restore(i.sb.ctl, self.image)
            i.hooks(test_sandbox.RESTORED_FRAME)
            self.assertEqual(i.ask(k), [k, True])
            self.s.end(i.sb)
            i.close()

    def test_forged_images(self):
        self.taken("exports.handler = async () => 1;\n")
        self.forged(120)

    # Before the image, what the handler gives, and the answer.
    TABLE = {
        "promises": ("const later = new Promise((done) => { globalThis.done = done; });", "(done(5), await later)", 5),
        "timers": ("", "await new Promise((done) => setTimeout(done, 20, 7))", 7),
        "a timer that runs": ("let n = 0;\nsetInterval(() => n++, 10).unref();",
                              "await new Promise((done) => setTimeout(() => done(n > 0), 100))", True),
        "fs": ("const fs = require('fs');\nconst fd = fs.openSync('/var/task/app.js');\nfs.readSync(fd, Buffer.alloc(6));",
               "[fs.readSync(fd, Buffer.alloc(5)), (await fs.promises.readFile('/var/task/app.js')).length > 50]", [5, True]),
        "fs before": ("require('fs').readFile('/var/task/app.js', () => {});", "1", 1),
        "dns": ("const dns = require('dns').promises;", "(await dns.lookup('localhost')).address", "127.0.0.1"),
        "worker_threads": ("const { Worker } = require('worker_threads');",
                           "await new Promise((done) => new Worker('require(\"worker_threads\").parentPort.postMessage(6 * 7)',"
                           "{ eval: true }).on('message', done))", 42),
        "a worker that waits": ("const { Worker } = require('worker_threads');\nconst w = new Worker("
                                "'const p = require(\"worker_threads\").parentPort; p.on(\"message\", (m) => p.postMessage(m * 2))', { eval: true });\n"
                                "w.unref();",
                                "await new Promise((done) => { w.ref(); w.once('message', (m) => { w.unref(); done(m); }); w.postMessage(21); })", 42),
        "child_process": ("const { execFile, execFileSync } = require('child_process');",
                          "[execFileSync('/bin/echo', ['hi']).toString(),"
                          "await new Promise((done) => execFile('/bin/echo', ['ho'], (e, out) => done(out)))]", ["hi\n", "ho\n"]),
        "another node": ("", "[require('child_process').execFileSync(process.execPath, ['-p', '6 * 7']).toString(), process.title]",
                         ["42\n", "/usr/bin/node"]),
        "crypto": ("const crypto = require('crypto');",
                   "(await new Promise((done) => crypto.pbkdf2('a', 'b', 1000, 8, 'sha256', (e, k) => done(k.length))))", 8),
        "http": ("const http = require('http');", "await new Promise((done) => { const s = http.createServer((q, r) => r.end('yes'));"
                 "s.listen(0, '127.0.0.1', () => http.get({ port: s.address().port, agent: false }, (r) => r.on('data', (d) => {"
                 "s.close(); done(String(d)); }))); })", "yes"),
        "zlib": ("const zlib = require('zlib');",
                 "String(zlib.gunzipSync(await new Promise((done) => zlib.gzip('text', (e, z) => done(z)))))", "text"),
        "WebAssembly": ("const m = new WebAssembly.Module(Buffer.from('0061736d0100000001070160027f7f017f030201000707010361646400000a09010700200020016a0b', 'hex'));\n"
                        "const one = new WebAssembly.Instance(m);",
                        "[one.exports.add(1, 2), new WebAssembly.Instance(new WebAssembly.Module(Buffer.from("
                        "'0061736d0100000001070160027f7f017f030201000707010361646400000a09010700200020016a0b', 'hex'))).exports.add(3, 4)]", [3, 7]),
        "signals": ("let hit = 0;\nprocess.on('SIGUSR2', () => hit++);",
                    "await new Promise((done) => { process.kill(process.pid, 'SIGUSR2'); const t = setInterval(() => {"
                    "if (hit) { clearInterval(t); done(hit); } }, 5); })", 1),
        "garbage": ("const keep = [];\nfor (let i = 0; i < 1e5; i++) keep.push({ i, text: 'x'.repeat(i % 50) });",
                    "(() => { let n = 0; for (let k = 0; k < 40; k++) n += Array.from({ length: 1e5 }, (_, i) => [i]).length;"
                    "return [n, keep.length, keep[77777].i]; })()", [4000000, 100000, 77777]),
        "hot code": ("const f = (n) => n < 2 ? n : f(n - 1) + f(n - 2);\nf(24);", "[f(20), eval('(' + f + ')(10)')]", [6765, 55]),
        "deep recursion": ("const deep = (n) => n && deep(n - 1) + 1;", "deep(7000)", 7000),
        "out of stack": ("const down = () => down() + 1;", "(() => { try { return down(); } catch (e) { return e.name; } })()", "RangeError"),
        "modules": ("", "(await import('node:path')).basename('/a/b')", "b"),
        "streams": ("const { pipeline } = require('stream/promises'), { PassThrough } = require('stream');",
                    "await (async () => { const p = new PassThrough(), got = []; p.on('data', (d) => got.push(String(d)));"
                    "await pipeline(['a', 'b'], p); return got.join(''); })()", "ab"),
        "20 MB": ("const big = Buffer.alloc(20 << 20, 3);", "[big.length, big[12345678]]", [20 << 20, 3]),
    }


def add_torture():
    for name, (setup, expression, want) in Node.TABLE.items():
        def test(self, setup=setup, expression=expression, want=want):
            self.torture(f"{setup}\nexports.handler = async () => {expression};\n", want)
        setattr(Node, "test_torture_" + "".join(c if c.isalnum() else "_" for c in name), test)


add_torture()

if __name__ == "__main__":
    unittest.main()
