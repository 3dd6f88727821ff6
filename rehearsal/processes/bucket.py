"""A small S3 on a port of this machine, for tests: objects in a folder, with multipart uploads and ranges.

It checks the signatures of signed addresses, and of other requests only that there is one. It keeps what is sent on
disk, so that a test measures the memory of the server alone.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from uuid import uuid4

PIECE = 64 * 1024
SECRET = "secret"  # noqa: S105


class Bucket:
    """A running bucket. `settings` are the environment of a process that uses it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.settings = {
            "STORAGE_URL": "s3://daysong-test",
            "AWS_ENDPOINT": f"http://127.0.0.1:{port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }

    def objects(self) -> set[str]:
        """Return the keys of all objects."""
        return {path.name for path in (self.folder / "daysong-test").glob("*")}

    def unfinished(self) -> int:
        """Return how many multipart uploads are neither completed nor aborted."""
        return sum(1 for _ in (self.folder / "parts").glob("*"))


@contextmanager
def running(folder: Path) -> Iterator[Bucket]:
    """Run a bucket until the end of the context."""
    for name in ("daysong-test", "parts"):
        (folder / name).mkdir(parents=True)
    handler = type("Handler", (_Handler,), {"folder": folder})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield Bucket(folder, server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    folder: Path
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the base class has it
        """Print nothing."""

    def _parsed(self) -> tuple[Path, dict[str, list[str]]]:
        url = urlsplit(self.path)
        return self.folder / unquote(url.path).lstrip("/"), parse_qs(url.query, keep_blank_values=True)

    def _save(self, path: Path) -> None:
        left = int(self.headers.get("content-length", 0))
        with path.open("wb") as file:
            while left:
                piece = self.rfile.read(min(PIECE, left))
                left -= len(piece)
                file.write(piece)

    def _reply(self, status: int, body: bytes = b"", /, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        """Store an object, or a part of one."""
        path, query = self._parsed()
        if "partNumber" in query:
            path = self.folder / "parts" / query["uploadId"][0] / query["partNumber"][0].zfill(5)
        self._save(path)
        self._reply(200, ETag='"tag"')

    def do_POST(self) -> None:
        """Begin or complete a multipart upload, or delete several objects."""
        path, query = self._parsed()
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if "uploads" in query:
            upload = uuid4().hex
            (self.folder / "parts" / upload).mkdir()
            told = f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
        elif "uploadId" in query:
            parts = self.folder / "parts" / query["uploadId"][0]
            with path.open("wb") as whole:
                for part in sorted(parts.iterdir()):
                    with part.open("rb") as file:
                        shutil.copyfileobj(file, whole, PIECE)
            shutil.rmtree(parts)
            told = "<CompleteMultipartUploadResult><ETag>tag</ETag></CompleteMultipartUploadResult>"
        else:
            keys = re.findall(rb"<Key>(.*?)</Key>", body)
            for key in keys:
                (path / key.decode()).unlink(missing_ok=True)
            deleted = "".join(f"<Deleted><Key>{key.decode()}</Key></Deleted>" for key in keys)
            told = f"<DeleteResult>{deleted}</DeleteResult>"
        self._reply(200, told.encode())

    def do_DELETE(self) -> None:
        """Delete an object, or abort a multipart upload."""
        path, query = self._parsed()
        if "uploadId" in query:
            shutil.rmtree(self.folder / "parts" / query["uploadId"][0], ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        self._reply(204)

    def _may(self) -> bool:
        """Return whether the request is signed in its header, or by a query that is valid for its method (SigV4)."""
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        signature = query.pop("X-Amz-Signature", None)
        if signature is None:
            return "authorization" in self.headers
        at = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if not at <= datetime.now(UTC) + timedelta(seconds=1) < at + timedelta(seconds=int(query["X-Amz-Expires"])):
            return False
        names = query["X-Amz-SignedHeaders"].split(";")
        signed = "&".join(f"{quote(name, safe='')}={quote(query[name], safe='')}" for name in sorted(query))
        headers = "".join(f"{name}:{self.headers[name]}\n" for name in names)
        asked = f"{self.command}\n{url.path}\n{signed}\n{headers}\n{';'.join(names)}\nUNSIGNED-PAYLOAD"
        scope = query["X-Amz-Credential"].partition("/")[2]
        digest = hashlib.sha256(asked.encode()).hexdigest()
        key = f"AWS4{SECRET}".encode()
        for part in (*scope.split("/"), f"AWS4-HMAC-SHA256\n{query['X-Amz-Date']}\n{scope}\n{digest}"):
            key = hmac.digest(key, part.encode(), "sha256")
        return key.hex() == signature

    def do_HEAD(self) -> None:
        """Describe an object."""
        self._send(body=False)

    def do_GET(self) -> None:
        """Send an object, or a range of it."""
        self._send(body=True)

    def _send(self, *, body: bool) -> None:
        path, _ = self._parsed()
        if not self._may():
            self._reply(403)
            return
        if not path.is_file():
            self._reply(404)
            return
        size = path.stat().st_size
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        start, end = (int(found[1]), min(int(found[2]) + 1, size)) if found else (0, size)
        ranged = {"Content_Range": f"bytes {start}-{end - 1}/{size}"} if found else {}
        self._reply(
            206 if found else 200,
            Content_Length=str(end - start),
            ETag='"tag"',
            Access_Control_Allow_Origin="*",
            Last_Modified="Mon, 23 Nov 2026 12:00:00 GMT",
            **ranged,
        )
        if body:
            with path.open("rb") as file:
                file.seek(start)
                while start < end and (piece := file.read(min(PIECE, end - start))):
                    self.wfile.write(piece)
                    start += len(piece)
