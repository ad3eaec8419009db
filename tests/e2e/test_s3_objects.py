#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Objects, by clients that we did not write: whole and in parts, ranges and conditions, every form of body and of signature, what is refused, and what
a kill leaves."""
import base64
import datetime
import hashlib
import hmac
import http.client
import io
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import unittest
import urllib.parse
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tandem  # noqa: E402
from botocore.exceptions import ClientError  # noqa: E402

MB = 1 << 20
BIG = os.urandom(11 * MB + 12345)


def md5(data):
    return hashlib.md5(data).hexdigest()


def parts_etag(data, size):
    pieces = [data[i:i + size] for i in range(0, len(data), size)]
    return '"%s-%d"' % (md5(b"".join(hashlib.md5(p).digest() for p in pieces)), len(pieces))


class Case(tandem.Fails, unittest.TestCase):
    arguments = ()

    @classmethod
    def setUpClass(cls):
        cls.t = tandem.Tandem(*cls.arguments)
        cls.t.__enter__()
        cls.addClassCleanup(lambda: cls.t.close())
        cls.s3 = cls.t.client("s3")
        cls.s3.create_bucket(Bucket="box")

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="tandem-s3-")
        self.addCleanup(shutil.rmtree, self.dir)

    def file(self, data, name="file"):
        path = os.path.join(self.dir, name)
        with open(path, "wb") as f:
            f.write(data)
        return path

    def get(self, key, **arguments):
        return self.s3.get_object(Bucket="box", Key=key, **arguments)["Body"].read()

    def unnamed(self):
        """Files under objects/ that no row names."""
        db = sqlite3.connect("file:%s/daemon/tandem.db?mode=ro" % self.t.state, uri=True)
        rows = db.execute("SELECT files FROM object_body WHERE files IS NOT NULL UNION ALL SELECT file FROM upload_part").fetchall()
        db.close()
        return set(os.listdir(self.t.state + "/daemon/objects")) - {part.split(":")[0] for row in rows for part in row[0].split()}

    def nothing_is_left(self):
        tandem.wait_for(lambda: not self.unnamed(), limit_s=60 * tandem.SLOW, what=lambda: "files that nobody names: %s" % self.unnamed())


class Objects(Case):
    def test_put_get_head_delete(self):
        for key, data in (("a b/ü+%.txt", b"hello"), ("empty", b""), ("large", BIG), ("//..//x", b"not normalised")):
            put = self.s3.put_object(Bucket="box", Key=key, Body=data, ContentType="text/x", Metadata={"Colour": "blue"}, CacheControl="no-cache",
                                     ContentDisposition="inline", StorageClass="STANDARD_IA", Tagging="a=1&b=2")
            self.assertEqual(put["ETag"], '"%s"' % md5(data))
            got = self.s3.get_object(Bucket="box", Key=key)
            head = self.s3.head_object(Bucket="box", Key=key)
            self.assertTrue(got["Body"].read() == data)
            for one in (got, head):
                self.assertEqual((one["ContentLength"], one["ETag"], one["ContentType"], one["Metadata"], one["CacheControl"],
                                  one["ContentDisposition"], one["StorageClass"]),
                                 (len(data), put["ETag"], "text/x", {"colour": "blue"}, "no-cache", "inline", "STANDARD_IA"))
            self.assertEqual(got["TagCount"], 2)
            over = self.s3.get_object(Bucket="box", Key=key, ResponseContentType="image/x", ResponseContentDisposition="attachment")
            self.assertEqual((over["ContentType"], over["ContentDisposition"]), ("image/x", "attachment"))
            self.s3.delete_object(Bucket="box", Key=key)
            self.fails("NoSuchKey", 404, self.s3.get_object, Bucket="box", Key=key)
            self.fails("404", 404, self.s3.head_object, Bucket="box", Key=key)
            self.s3.delete_object(Bucket="box", Key=key)
        self.fails("NoSuchBucket", 404, self.s3.put_object, Bucket="nobody", Key="k", Body=b"x")
        self.fails("KeyTooLongError", 400, self.s3.put_object, Bucket="box", Key="k" * 1025, Body=b"x")
        self.fails("MetadataTooLarge", 400, self.s3.put_object, Bucket="box", Key="k", Body=b"x", Metadata={"m": "x" * 2048})
        self.fails("InvalidTag", 400, self.s3.put_object, Bucket="box", Key="k", Body=b"x", Tagging="&".join("t%d=1" % i for i in range(11)))
        self.fails("InvalidTag", 400, self.s3.put_object, Bucket="box", Key="k", Body=b"x", Tagging="a=1&a=2")
        self.fails("NotImplemented", 501, self.s3.put_object, Bucket="box", Key="k", Body=b"x", SSECustomerKey=b"k" * 32, SSECustomerAlgorithm="AES256")

    def test_ranges(self):
        self.s3.put_object(Bucket="box", Key="small", Body=b"0123456789")
        self.s3.put_object(Bucket="box", Key="r", Body=BIG)
        for key, data in (("small", b"0123456789"), ("r", BIG)):
            n = len(data)
            for text, part in (("0-0", data[:1]), ("3-5", data[3:6]), ("4-", data[4:]), ("-3", data[-3:]), ("0-%d" % (n * 2), data),
                               ("-%d" % (n * 2), data), ("%d-" % (n - 1), data[-1:])):
                got = self.s3.get_object(Bucket="box", Key=key, Range="bytes=" + text)
                at = data.index(part) if n < 100 else None
                self.assertEqual(got["ResponseMetadata"]["HTTPStatusCode"], 206)
                self.assertTrue(got["Body"].read() == part, text)
                if at is not None:
                    self.assertEqual(got["ContentRange"], "bytes %d-%d/%d" % (at, at + len(part) - 1, n))
            for text in ("%d-" % n, "-0"):
                self.fails("InvalidRange", 416, self.s3.get_object, Bucket="box", Key=key, Range="bytes=" + text)
            for text in ("bytes=5-3", "bytes=a-b", "lines=1-2", "bytes=0-1,3-4"):
                self.assertTrue(self.get(key, Range=text) == data)

    def test_conditions(self):
        etag = self.s3.put_object(Bucket="box", Key="c", Body=b"one")["ETag"]
        now = datetime.datetime.now(datetime.timezone.utc)
        hour = datetime.timedelta(hours=1)
        self.assertEqual(self.get("c", IfMatch=etag), b"one")
        self.fails("PreconditionFailed", 412, self.s3.get_object, Bucket="box", Key="c", IfMatch='"x"')
        error = self.fails("304", 304, self.s3.get_object, Bucket="box", Key="c", IfNoneMatch=etag)
        self.assertEqual(error["ResponseMetadata"]["HTTPHeaders"]["etag"], etag)
        self.fails("304", 304, self.s3.head_object, Bucket="box", Key="c", IfModifiedSince=now + hour)
        self.fails("PreconditionFailed", 412, self.s3.get_object, Bucket="box", Key="c", IfUnmodifiedSince=now - hour)
        self.assertEqual(self.get("c", IfUnmodifiedSince=now + hour, IfModifiedSince=now - hour), b"one")
        base = {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
        self.assertEqual(self.raw("PUT", "/box/c", b"two", {**base, "If-None-Match": "*"})[0], 412)
        self.assertEqual(self.raw("PUT", "/box/c2", b"two", {**base, "If-None-Match": "*"})[0], 200)
        self.assertEqual(self.raw("PUT", "/box/c", b"two", {**base, "If-Match": '"x"'})[0], 412)
        self.assertEqual(self.raw("PUT", "/box/c9", b"two", {**base, "If-Match": etag})[0], 404)
        self.assertEqual(self.raw("PUT", "/box/c", b"two", {**base, "If-Match": etag})[0], 200)
        self.assertEqual(self.get("c"), b"two")

    # Requests by hand, signed as S3 wants them.

    def sign(self, method, path, headers, when=None, region=None):
        now = when or datetime.datetime.now(datetime.timezone.utc)
        date, key = now.strftime("%Y%m%dT%H%M%SZ"), ("AWS4" + self.t.env["secret_key"]).encode()
        scope = "/".join((date[:8], region or self.t.env["region"], "s3", "aws4_request"))
        headers = {"host": self.t.api[len("http://"):], "x-amz-date": date, **{k.lower(): v for k, v in headers.items()}}
        names = ";".join(sorted(headers))
        path, _, query = path.partition("?")
        canonical = "\n".join([method, path, query + ("=" if query and "=" not in query else ""), *("%s:%s" % (k, headers[k]) for k in sorted(headers)),
                               "", names, headers["x-amz-content-sha256"]])
        to_sign = "\n".join(("AWS4-HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode()).hexdigest()))
        for word in scope.split("/"):
            key = hmac.digest(key, word.encode(), "sha256")
        signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
        headers["authorization"] = "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (self.t.env["access_key"], scope, names, signature)
        return headers, key, date, scope, signature

    def raw(self, method, path, body=None, headers=None, **how):
        """Status, body and headers of the answer."""
        host, port = self.t.api[len("http://"):].split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=60 * tandem.SLOW)
        self.addCleanup(connection.close)
        connection.request(method, path, body, self.sign(method, path, {"x-amz-content-sha256": hashlib.sha256(b"").hexdigest(), **(headers or {})}, **how)[0])
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers

    def refused(self, code, status, *arguments, **how):
        got, text, _ = self.raw(*arguments, **how)
        self.assertEqual(got, status, text)
        self.assertIn("<Code>%s</Code>" % code, text)

    def test_digests(self):
        data = b"x" * 100000
        crc = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
        right = {"content-md5": base64.b64encode(hashlib.md5(data).digest()).decode(), "x-amz-checksum-crc32": crc,
                 "x-amz-checksum-sha1": base64.b64encode(hashlib.sha1(data).digest()).decode(),
                 "x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(data).digest()).decode()}
        sha = {"x-amz-content-sha256": hashlib.sha256(data).hexdigest()}
        for name, value in right.items():
            other = base64.b64encode(bytes(len(base64.b64decode(value)))).decode()
            status, text, headers = self.raw("PUT", "/box/d", data, {**sha, name: value})
            self.assertEqual((status, text), (200, ""))
            if name != "content-md5":
                self.assertEqual(headers[name], value)
                self.assertEqual(self.raw("GET", "/box/d", headers={"x-amz-checksum-mode": "ENABLED"})[2][name], value)
                self.assertNotIn(name, self.raw("GET", "/box/d")[2])
            self.refused("BadDigest", 400, "PUT", "/box/bad", data, {**sha, name: other})
            self.refused("InvalidDigest" if name == "content-md5" else "InvalidRequest", 400, "PUT", "/box/bad", data, {**sha, name: "AA=="})
        self.refused("XAmzContentSHA256Mismatch", 400, "PUT", "/box/bad", data, {"x-amz-content-sha256": "0" * 64})
        self.refused("InvalidRequest", 400, "PUT", "/box/bad", data, {**sha, "x-amz-checksum-crc32": crc, "x-amz-checksum-sha1": right["x-amz-checksum-sha1"]})
        self.fails("NoSuchKey", 404, self.s3.get_object, Bucket="box", Key="bad")
        self.fails("InvalidArgument", 400, self.s3.get_object, Bucket="box", Key="d", ResponseContentType="a\r\nx: y")

    def chunks(self, data, size, seal=lambda chunk: "", end=b""):
        pieces = [data[i:i + size] for i in range(0, len(data), size)] + [b""]
        return b"".join(b"%x%s\r\n%s\r\n" % (len(p), seal(p).encode(), p) if p else b"0%s\r\n" % seal(p).encode() for p in pieces) + end + b"\r\n"

    def test_chunked(self):
        data = os.urandom(200000)
        crc = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
        base = {"x-amz-decoded-content-length": str(len(data)), "content-encoding": "aws-chunked,gzip"}
        unsigned = {**base, "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-trailer": "x-amz-checksum-crc32"}
        body = self.chunks(data, 70000, end=b"x-amz-checksum-crc32:%s\r\n" % crc.encode())
        status, text, headers = self.raw("PUT", "/box/u", body, unsigned)
        self.assertEqual((status, headers["x-amz-checksum-crc32"], headers["etag"]), (200, crc, '"%s"' % md5(data)), text)
        self.assertTrue(self.get("u") == data)
        self.assertEqual(self.s3.head_object(Bucket="box", Key="u")["ContentEncoding"], "gzip")
        self.refused("BadDigest", 400, "PUT", "/box/bad", body.replace(crc.encode(), b"AAAAAA=="), unsigned)
        self.refused("InvalidRequest", 400, "PUT", "/box/bad", self.chunks(data, 70000), unsigned)
        self.refused("IncompleteBody", 400, "PUT", "/box/bad", body, {**unsigned, "x-amz-decoded-content-length": str(len(data) + 1)})
        self.refused("IncompleteBody", 400, "PUT", "/box/bad", body, {**unsigned, "x-amz-decoded-content-length": "5"})
        self.refused("IncompleteBody", 400, "PUT", "/box/bad", b"zz\r\n" + body, unsigned)

        signed = {**base, "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}
        for wrong in (False, True):
            headers, key, date, scope, last = self.sign("PUT", "/box/s", signed)

            def seal(chunk):
                nonlocal last
                text = "\n".join(("AWS4-HMAC-SHA256-PAYLOAD", date, scope, last, hashlib.sha256(b"").hexdigest(), hashlib.sha256(chunk).hexdigest()))
                last = hmac.digest(key, text.encode(), "sha256").hex()
                return ";chunk-signature=" + last
            body = self.chunks(data, 65536, seal)
            host, port = self.t.api[len("http://"):].split(":")
            connection = http.client.HTTPConnection(host, int(port), timeout=60 * tandem.SLOW)
            self.addCleanup(connection.close)
            connection.request("PUT", "/box/s", body.replace(data[100:200], data[101:201]) if wrong else body, headers)
            answer = connection.getresponse()
            self.assertEqual((answer.status, b"SignatureDoesNotMatch" in answer.read()), (403, True) if wrong else (200, False))
        self.assertTrue(self.get("s") == data)

    def test_who_asks(self):
        late = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=16)
        self.refused("RequestTimeTooSkewed", 403, "GET", "/box/x", when=late)
        self.refused("AuthorizationHeaderMalformed", 400, "GET", "/box/x", region="eu-north-1")
        self.refused("NotImplemented", 501, "PUT", "/box/x?retention", b"x", {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"})
        self.fails("InvalidAccessKeyId", 403, self.t.client("s3", access_key="AKIANOBODY").list_objects, Bucket="box")
        self.fails("SignatureDoesNotMatch", 403, self.t.client("s3", secret_key="wrong").list_objects, Bucket="box")
        with self.assertRaises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(self.t.api + "/box/x")
        self.assertIn(b"<Code>AccessDenied</Code>", raised.exception.read())

    def test_presigned(self):
        path = self.file(b"of curl")
        for version in ("s3", "s3v4"):
            c = self.t.client("s3", signature_version=version)
            for key in ("pre signed/ü", "q?&=+"):
                where = {"Bucket": "box", "Key": key}
                put = c.generate_presigned_url("put_object", {**where, "ContentType": "text/c"})
                self.assertEqual("X-Amz-Signature" in put, version == "s3v4")
                self.curl("-T", path, "-H", "Content-Type: text/c", put)
                got = self.curl(c.generate_presigned_url("get_object", {**where, "ResponseContentType": "image/c", "ResponseExpires": "Sat, 21 Nov 2026 17:00:00 GMT"}), "-i")
                self.assertTrue(got.endswith("of curl") and "image/c" in got, got)
                self.assertIn("200 OK", self.curl("-I", c.generate_presigned_url("head_object", where)))
                self.assertIn("Request has expired", self.curl(self.past(c, where), fails=403))
                url = c.generate_presigned_url("get_object", where)
                self.assertIn("SignatureDoesNotMatch", self.curl(url.replace("/box/", "/box/x"), fails=403))

    def past(self, client, where):
        """A URL that was good for a second, an hour ago."""
        url = client.generate_presigned_url("get_object", where, ExpiresIn=-3600) if client.meta.config.signature_version == "s3" else None
        if url:
            return url
        from botocore.auth import S3SigV4QueryAuth  # pylint: disable=import-outside-toplevel
        from botocore.awsrequest import AWSRequest  # pylint: disable=import-outside-toplevel
        from botocore.credentials import Credentials  # pylint: disable=import-outside-toplevel
        import botocore.auth  # pylint: disable=import-outside-toplevel

        class Clock(datetime.datetime):
            @classmethod
            def utcnow(cls):
                return before.utcnow() - datetime.timedelta(hours=1)
        request = AWSRequest("GET", self.t.api + "/" + where["Bucket"] + "/" + urllib.parse.quote(where["Key"]))
        before, botocore.auth.datetime.datetime = botocore.auth.datetime.datetime, Clock
        try:
            S3SigV4QueryAuth(Credentials(self.t.env["access_key"], self.t.env["secret_key"]), "s3", self.t.env["region"], 1).add_auth(request)
        finally:
            botocore.auth.datetime.datetime = before
        return request.url

    def curl(self, *arguments, fails=None):
        done = subprocess.run(["curl", "-sS", "-w", "\n%{http_code}", *arguments], capture_output=True, text=True, timeout=60 * tandem.SLOW, check=True)
        text, _, status = done.stdout.rpartition("\n")
        self.assertEqual(int(status), fails or 200, text)
        return text

    def test_copy(self):
        self.s3.put_object(Bucket="box", Key="from/ü 1", Body=BIG, ContentType="text/a", Metadata={"m": "1"}, Tagging="t=1")
        source = {"Bucket": "box", "Key": "from/ü 1"}
        copied = self.s3.copy_object(Bucket="box", Key="to", CopySource=source)["CopyObjectResult"]
        head = self.s3.head_object(Bucket="box", Key="to")
        self.assertEqual((copied["ETag"], head["ETag"], head["ContentType"], head["Metadata"]), ('"%s"' % md5(BIG),) * 2 + ("text/a", {"m": "1"}))
        self.assertTrue(self.get("to") == BIG)
        self.fails("InvalidRequest", 400, self.s3.copy_object, Bucket="box", Key="to", CopySource="/box/to")
        self.s3.copy_object(Bucket="box", Key="to", CopySource="/box/to", MetadataDirective="REPLACE", Metadata={"n": "2"}, ContentType="text/b",
                            TaggingDirective="REPLACE")
        got = self.s3.get_object(Bucket="box", Key="to")
        self.assertEqual((got["ContentType"], got["Metadata"], got.get("TagCount")), ("text/b", {"n": "2"}, None))
        self.assertTrue(got["Body"].read() == BIG)
        self.fails("NoSuchKey", 404, self.s3.copy_object, Bucket="box", Key="to", CopySource="box/none")
        self.fails("NoSuchBucket", 404, self.s3.copy_object, Bucket="box", Key="to", CopySource="nobody/none")
        self.fails("PreconditionFailed", 412, self.s3.copy_object, Bucket="box", Key="to", CopySource=source, CopySourceIfMatch='"x"')
        self.fails("InvalidArgument", 400, self.s3.copy_object, Bucket="box", Key="to", CopySource="nothing")

    def test_hosts(self):
        """BUCKET.HOST as well as HOST/BUCKET; a bucket that is another's name."""
        for host in ("box.localhost", "box.s3.localhost:80", "box.s3.amazonaws.com", "box.s3.us-east-1.amazonaws.com", "box.s3-us-east-1.amazonaws.com"):
            self.assertEqual(self.raw("PUT", "/by/host", b"x", {"x-amz-content-sha256": "UNSIGNED-PAYLOAD", "host": host})[0], 200, host)
            self.assertEqual(self.get("by/host"), b"x")
            self.s3.delete_object(Bucket="box", Key="by/host")
        self.assertEqual(self.raw("GET", "/box/none", headers={"host": "s3.us-east-1.amazonaws.com"})[0], 404)

    def test_many_pieces_and_slow_clients(self):
        """A client that stops in the middle delays nobody, and what it sent is gone with it."""
        host, port = self.t.api[len("http://"):].split(":")
        headers = self.sign("PUT", "/box/slow", {"x-amz-content-sha256": "UNSIGNED-PAYLOAD", "content-length": str(8 * MB)})[0]
        slow = [socket.create_connection((host, int(port))) for _ in range(8)]
        for s in slow:
            self.addCleanup(s.close)
            s.sendall("PUT /box/slow HTTP/1.1\r\n".encode() + "".join("%s: %s\r\n" % h for h in headers.items()).encode() + b"\r\n" + BIG[:MB])
        self.s3.put_object(Bucket="box", Key="quick", Body=BIG)
        self.assertTrue(self.get("quick") == BIG)
        for s in slow:
            s.close()
        self.fails("NoSuchKey", 404, self.s3.get_object, Bucket="box", Key="slow")
        self.nothing_is_left()


class Parts(Case):
    def test_of_boto3(self):
        from boto3.s3.transfer import TransferConfig  # pylint: disable=import-outside-toplevel
        self.s3.upload_fileobj(io.BytesIO(BIG), "box", "up", Config=TransferConfig(multipart_threshold=MB, multipart_chunksize=5 * MB))
        head = self.s3.head_object(Bucket="box", Key="up")
        self.assertEqual((head["ContentLength"], head["ETag"]), (len(BIG), parts_etag(BIG, 5 * MB)))
        out = io.BytesIO()
        self.s3.download_fileobj("box", "up", out)
        self.assertTrue(out.getvalue() == BIG)
        self.assertTrue(self.get("up", Range="bytes=%d-%d" % (5 * MB - 7, 10 * MB + 7)) == BIG[5 * MB - 7:10 * MB + 8])
        second = self.s3.get_object(Bucket="box", Key="up", PartNumber=2)
        self.assertEqual((second["PartsCount"], second["ContentRange"]), (3, "bytes %d-%d/%d" % (5 * MB, 10 * MB - 1, len(BIG))))
        self.assertTrue(second["Body"].read() == BIG[5 * MB:10 * MB])
        self.s3.copy_object(Bucket="box", Key="whole", CopySource="box/up")
        self.assertEqual(self.s3.head_object(Bucket="box", Key="whole")["ETag"], '"%s"' % md5(BIG))

    def test_by_hand(self):
        where = {"Bucket": "box", "Key": "hand"}
        up = self.s3.create_multipart_upload(**where, ContentType="text/m", Metadata={"m": "1"})["UploadId"]
        other = self.s3.create_multipart_upload(**where)["UploadId"]
        tags = {n: self.s3.upload_part(**where, UploadId=up, PartNumber=n, Body=body)["ETag"]
                for n, body in ((1, BIG[:5 * MB]), (7, b"other"), (9, b"not wanted"), (3, BIG[:100]))}
        tags[7] = self.s3.upload_part(**where, UploadId=up, PartNumber=7, Body=b"last")["ETag"]
        self.s3.put_object(Bucket="box", Key="source", Body=BIG)
        tags[3] = self.s3.upload_part_copy(**where, UploadId=up, PartNumber=3, CopySource="box/source",
                                           CopySourceRange="bytes=%d-%d" % (5 * MB, 10 * MB + 9))["CopyPartResult"]["ETag"]
        listed = self.s3.list_parts(**where, UploadId=up)["Parts"]
        self.assertEqual([(p["PartNumber"], p["ETag"], p["Size"]) for p in listed],
                         [(1, tags[1], 5 * MB), (3, tags[3], 5 * MB + 10), (7, tags[7], 4), (9, tags[9], 10)])
        page = self.s3.list_parts(**where, UploadId=up, MaxParts=2, PartNumberMarker=1)
        self.assertEqual(([p["PartNumber"] for p in page["Parts"]], page["IsTruncated"], page["NextPartNumberMarker"]), ([3, 7], True, 7))
        uploads = self.s3.list_multipart_uploads(Bucket="box", Prefix="han")["Uploads"]
        self.assertEqual(sorted(u["UploadId"] for u in uploads), sorted((up, other)))
        one = self.s3.list_multipart_uploads(Bucket="box", MaxUploads=1)
        two = self.s3.list_multipart_uploads(Bucket="box", KeyMarker=one["NextKeyMarker"], UploadIdMarker=one["NextUploadIdMarker"])
        self.assertEqual((one["IsTruncated"], len(two["Uploads"])), (True, 1))

        def complete(*numbers, up=up, **change):
            parts = [{"PartNumber": n, "ETag": change.get("etag", tags[n])} for n in numbers]
            return {**where, "UploadId": up, "MultipartUpload": {"Parts": parts}}
        self.fails("InvalidPartOrder", 400, self.s3.complete_multipart_upload, **complete(3, 1))
        self.fails("InvalidPart", 400, self.s3.complete_multipart_upload, **complete(1, etag='"x"'))
        self.fails("EntityTooSmall", 400, self.s3.complete_multipart_upload, **complete(1, 7, 9))
        self.fails("NoSuchUpload", 404, self.s3.complete_multipart_upload, **complete(1, up="nothing"))
        self.fails("NoSuchUpload", 404, self.s3.upload_part, **where, UploadId="nothing", PartNumber=1, Body=b"x")
        self.fails("InvalidArgument", 400, self.s3.upload_part, **where, UploadId=up, PartNumber=10001, Body=b"x")
        done = self.s3.complete_multipart_upload(**complete(1, 3, 7))
        self.assertEqual(self.s3.complete_multipart_upload(**complete(1, 3, 7))["ETag"], done["ETag"])  # the answer was lost
        self.assertTrue(self.get("hand") == BIG[:10 * MB + 10] + b"last")
        head = self.s3.head_object(**where)
        self.assertEqual((head["ContentType"], head["Metadata"], head["ETag"]), ("text/m", {"m": "1"}, done["ETag"]))
        self.assertTrue(done["ETag"].endswith('-3"'))
        self.s3.upload_part(**where, UploadId=other, PartNumber=1, Body=b"x")
        self.s3.abort_multipart_upload(**where, UploadId=other)
        self.fails("NoSuchUpload", 404, self.s3.abort_multipart_upload, **where, UploadId=other)
        self.s3.delete_object(**where)
        self.nothing_is_left()

    def test_checksums_of_parts(self):
        where = {"Bucket": "box", "Key": "sums"}
        halves = BIG[:5 * MB], BIG[5 * MB:6 * MB]
        raw = [hashlib.sha256(h).digest() for h in halves]
        up = self.s3.create_multipart_upload(**where, ChecksumAlgorithm="SHA256")["UploadId"]
        parts = [{"PartNumber": i + 1, "ETag": self.s3.upload_part(**where, UploadId=up, PartNumber=i + 1, Body=h, ChecksumAlgorithm="SHA256")["ETag"],
                  "ChecksumSHA256": base64.b64encode(raw[i]).decode()} for i, h in enumerate(halves)]
        done = self.s3.complete_multipart_upload(**where, UploadId=up, MultipartUpload={"Parts": parts})
        self.assertEqual(done["ChecksumSHA256"], base64.b64encode(hashlib.sha256(b"".join(raw)).digest()).decode() + "-2")

    def test_a_kill(self):
        """What was answered is there after a kill; the rest leaves nothing that counts."""
        where = {"Bucket": "box", "Key": "killed"}
        up = self.s3.create_multipart_upload(**where)["UploadId"]
        tag = self.s3.upload_part(**where, UploadId=up, PartNumber=1, Body=BIG)["ETag"]
        self.s3.put_object(Bucket="box", Key="small", Body=b"small")
        os.kill(tandem.daemon_of(self.t.process.pid), signal.SIGKILL)
        tandem.wait_for(self.answers, limit_s=60 * tandem.SLOW, what="the successor")
        self.assertEqual(self.get("small"), b"small")
        self.s3.complete_multipart_upload(**where, UploadId=up, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tag}]})
        self.assertTrue(self.get("killed") == BIG)

    def test_a_backup(self):
        self.s3.put_object(Bucket="box", Key="kept", Body=BIG)
        self.t.cli("backup", self.dir + "/backup")
        done = subprocess.run([tandem.PROGRAM, "--state", self.dir + "/state", "restore", self.dir + "/backup"], capture_output=True, text=True,
                              timeout=60 * tandem.SLOW, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        with tandem.Tandem(state=self.dir + "/state") as t:
            self.assertTrue(t.client("s3").get_object(Bucket="box", Key="kept")["Body"].read() == BIG)

    def answers(self):
        try:
            return self.s3.list_buckets()
        except Exception:  # pylint: disable=broad-except
            return None


NODE_V2 = """
const AWS = require('aws-sdk'), fs = require('fs'), crypto = require('crypto');
const s3 = new AWS.S3({endpoint: process.env.ENDPOINT, s3ForcePathStyle: true});
const md5 = b => crypto.createHash('md5').update(b).digest('hex');
(async () => {
	const big = crypto.randomBytes(7 << 20), out = {};
	await s3.putObject({Bucket: 'box', Key: 'v2', Body: 'hello', Metadata: {a: 'b'}}).promise();
	out.small = (await s3.getObject({Bucket: 'box', Key: 'v2'}).promise()).Body.toString();
	const up = await s3.upload({Bucket: 'box', Key: 'v2big', Body: require('stream').Readable.from([big])}, {partSize: 5 << 20}).promise();
	out.parts = up.ETag.slice(-3);
	const chunks = [];
	for await (const c of s3.getObject({Bucket: 'box', Key: 'v2big'}).createReadStream()) chunks.push(c);
	out.same = md5(Buffer.concat(chunks)) === md5(big);
	out.presigned = await (await fetch(s3.getSignedUrl('getObject', {Bucket: 'box', Key: 'v2'}))).text();
	out.put = (await fetch(s3.getSignedUrl('putObject', {Bucket: 'box', Key: 'v2p'}), {method: 'PUT', body: Buffer.from('by url')})).status;
	out.missing = await s3.headObject({Bucket: 'box', Key: 'none'}).promise().catch(e => e.code);
	console.log(JSON.stringify(out));
})();
"""
NODE_V3 = """
const {S3Client, PutObjectCommand, GetObjectCommand, HeadObjectCommand} = require('@aws-sdk/client-s3');
const {Upload} = require('@aws-sdk/lib-storage'), {getSignedUrl} = require('@aws-sdk/s3-request-presigner');
const {Readable} = require('stream'), crypto = require('crypto');
const s3 = new S3Client({endpoint: process.env.ENDPOINT, forcePathStyle: true});
(async () => {
	const big = crypto.randomBytes(7 << 20), out = {}, at = Key => ({Bucket: 'box', Key});
	await s3.send(new PutObjectCommand({...at('v3'), Body: 'hello'}));
	out.small = await (await s3.send(new GetObjectCommand(at('v3')))).Body.transformToString();
	const put = await s3.send(new PutObjectCommand({...at('v3s'), Body: Readable.from([big]), ContentLength: big.length}));
	out.sum = typeof put.ChecksumCRC32;
	const got = await s3.send(new GetObjectCommand(at('v3s')));
	out.same = Buffer.compare(Buffer.from(await got.Body.transformToByteArray()), big) === 0;
	const up = await new Upload({client: s3, params: {...at('v3big'), Body: Readable.from([big])}, partSize: 5 << 20}).done();
	out.parts = up.ETag.slice(-3);
	out.length = (await s3.send(new HeadObjectCommand(at('v3big')))).ContentLength;
	out.presigned = await (await fetch(await getSignedUrl(s3, new GetObjectCommand(at('v3'))))).text();
	out.put = (await fetch(await getSignedUrl(s3, new PutObjectCommand(at('v3p'))), {method: 'PUT', body: 'by url'})).status;
	out.missing = await s3.send(new GetObjectCommand(at('none'))).catch(e => e.name);
	console.log(JSON.stringify(out));
})();
"""


class Clients(Case):
    def test_aws_cli(self):
        big, path = self.file(BIG), os.path.join(self.dir, "back")
        self.aws("s3", "cp", big, "s3://box/cli/big")
        self.aws("s3", "cp", "s3://box/cli/big", path)
        with open(path, "rb") as f:
            self.assertTrue(f.read() == BIG)
        self.assertEqual(self.s3.head_object(Bucket="box", Key="cli/big")["ETag"], parts_etag(BIG, 8 * MB))
        self.aws("s3", "cp", "s3://box/cli/big", "s3://box/cli/copy")
        self.assertTrue(self.get("cli/copy") == BIG)
        self.assertIn("404", self.aws("s3", "cp", "s3://box/cli/none", path, fails=True))

    def aws(self, *arguments, fails=False):
        done = subprocess.run(["/usr/bin/aws", "--endpoint-url", self.t.api, *arguments], env=self.t.environment(), capture_output=True, text=True,
                              timeout=120 * tandem.SLOW, check=False)
        self.assertEqual(done.returncode != 0, fails, done.stderr)
        return done.stdout + done.stderr

    def test_node(self):
        got = self.t.node(self, NODE_V2)
        self.assertEqual(got, {"small": "hello", "parts": '-2"', "same": True, "presigned": "hello", "put": 200, "missing": "NotFound"})
        self.assertEqual(self.get("v2p"), b"by url")

    def test_node_v3(self):
        got = self.t.node(self, NODE_V3)
        self.assertEqual(got, {"small": "hello", "sum": "string", "same": True, "parts": '-2"', "length": 7 * MB, "presigned": "hello", "put": 200,
                               "missing": "NoSuchKey"})

    def test_s3cmd(self):
        if not shutil.which("s3cmd"):
            self.skipTest("s3cmd is not installed")
        host = self.t.api[len("http://"):]
        how = ["s3cmd", "--config=/dev/null", "--no-ssl", "--host=" + host, "--host-bucket=" + host, "--access_key=" + self.t.env["access_key"],
               "--secret_key=" + self.t.env["secret_key"], "--region=" + self.t.env["region"], "--multipart-chunk-size-mb=5"]
        path, back = self.file(BIG), os.path.join(self.dir, "back")
        for arguments in (["put", path, "s3://box/s3cmd"], ["get", "s3://box/s3cmd", back], ["del", "s3://box/s3cmd"]):
            subprocess.run(how + arguments, capture_output=True, timeout=120 * tandem.SLOW, check=True)
        with open(back, "rb") as f:
            self.assertTrue(f.read() == BIG)


class Inside(Case):
    CODE = """
import boto3, os, hashlib
def handler(event, context):
    s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    data = s3.get_object(Bucket="box", Key="in/big")["Body"].read()
    s3.put_object(Bucket="box", Key="out/big", Body=data)
    refused = []
    for key in ("in/other", "secret"):
        try:
            s3.put_object(Bucket="box", Key=key, Body=b"x")
        except Exception as e:
            refused.append(str(e))
    own = boto3.client("s3", region_name="us-east-1")  # by AWS's own name: TLS, and the bucket in it
    own.put_object(Bucket="box", Key="out/tls", Body=data)
    tls = own.get_object(Bucket="box", Key="in/big")["Body"].read()
    return {"md5": hashlib.md5(data).hexdigest(), "refused": refused, "tls": tls == data, "url": own.meta.endpoint_url}
"""

    def test_function(self):
        os.makedirs(self.dir + "/code")
        with open(self.dir + "/code/app.py", "w", encoding="utf-8") as f:
            f.write(self.CODE)
        with open(self.dir + "/tandem.yaml", "w", encoding="utf-8") as f:
            f.write("name: inside\nfunctions:\n  pass:\n    code: ./code\n    runtime: python3.11\n    handler: app.handler\n    timeout: 60s\n    memory: 512\n"
                    "    allow: [{action: 's3:GetObject', resource: 'arn:aws:s3:::box/in/*'}, {action: 's3:PutObject', resource: 'box/out/*'}]\n")
        self.s3.put_object(Bucket="box", Key="in/big", Body=BIG)
        self.t.cli("up", cwd=self.dir)
        got = json.loads(self.t.client("lambda").invoke(FunctionName="pass")["Payload"].read())
        self.assertEqual(got.get("md5"), md5(BIG), got)
        self.assertTrue(self.get("out/big") == BIG)
        self.assertTrue(got["tls"] and self.get("out/tls") == BIG)
        self.assertIn("https://s3.", got["url"])
        for text, key in zip(got["refused"], ("in/other", "secret")):
            self.assertIn("AccessDenied", text)
            self.assertIn("s3:PutObject on resource: arn:aws:s3:::box/" + key, text)


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class FullDisk(unittest.TestCase):
    def test_no_room(self):
        """What there is no room for is refused by its name, and nothing else suffers; room that was made is used without help."""
        disk = tempfile.mkdtemp(prefix="tandem-full-")
        self.addCleanup(os.rmdir, disk)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=84m", "full", disk], check=True)
        self.addCleanup(subprocess.run, ["umount", "--lazy", disk], check=True)
        with tandem.Tandem(state=disk + "/state") as t:
            s3 = t.client("s3")
            s3.create_bucket(Bucket="box")
            kept = []
            with self.assertRaises(ClientError) as raised:
                for i in range(20):
                    s3.put_object(Bucket="box", Key="k%d" % i, Body=BIG)
                    kept.append("k%d" % i)
            error = raised.exception.response
            self.assertEqual((error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]), ("InsufficientStorage", 507), error)
            for key in kept:
                self.assertTrue(s3.get_object(Bucket="box", Key=key)["Body"].read() == BIG)
            s3.delete_object(Bucket="box", Key=kept[0])
            tandem.wait_for(lambda: self.fits(s3), limit_s=60 * tandem.SLOW, what="room for what was deleted")

    def fits(self, s3):
        try:
            return s3.put_object(Bucket="box", Key="again", Body=BIG)
        except ClientError:
            return None


if __name__ == "__main__":
    unittest.main()
