"""A small server on loopback that can misbehave like real ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from amif_lightning.data.files import downloads


@dataclass
class Page:
    """The answer of one address."""

    body: bytes = b""
    kind: str = "application/octet-stream"  # content type
    ranges: bool = True  # whether parts can be requested
    redirect: str = ""
    failures: list[int] = field(default_factory=list)  # status codes of the first answers
    breaks: list[int] = field(default_factory=list)  # bytes after which the first connections break
    headers: dict[str, str] = field(default_factory=dict)  # further ones


@dataclass
class Server:
    """A running server: its address, its pages by path, and path and range of every request."""

    base: str
    pages: dict[str, Page]
    asked: list[tuple[str, str]]
    posts: dict[str, Callable[[bytes], bytes]]  # JSON answer to the body of a POST, by path


@contextmanager
def serving() -> Iterator[Server]:
    """Serve pages, and let downloads use this address without encryption."""
    pages: dict[str, Page] = {}
    asked: list[tuple[str, str]] = []
    posts: dict[str, Callable[[bytes], bytes]] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

        def do_HEAD(self) -> None:
            page = pages.get(self.path)
            self.send_response(404 if page is None else 200)
            for name, value in ({} if page is None else page.headers).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(0 if page is None else len(page.body)))
            self.end_headers()

        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            asked.append((self.path, wanted))
            page = pages.get(self.path)
            if page is None:
                self._answer(404, {}, b"")
            elif page.redirect:
                self._answer(302, {"Location": page.redirect}, b"")
            elif page.failures:
                self._answer(page.failures.pop(0), {}, b"")
            else:
                headers = {"Content-Type": page.kind} | page.headers
                start = int(wanted[6:].rstrip("-")) if wanted and page.ranges else 0
                if start:
                    length = len(page.body)
                    headers["Content-Range"] = f"bytes {start}-{length - 1}/{length}"
                self._answer(206 if start else 200, headers, page.body[start:], page.breaks)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = posts.get(self.path)
            kind = {"Content-Type": "application/json"}
            self._answer(
                403 if answer is None else 200, kind, b"" if answer is None else answer(body)
            )

        def _answer(
            self, status: int, headers: dict[str, str], body: bytes, breaks: list[int] | None = None
        ) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if breaks:
                self.wfile.write(body[: breaks.pop(0)])
                self.wfile.flush()
                self.close_connection = True
                self.connection.close()
            else:
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # broken on purpose
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    base = f"http://127.0.0.1:{server.server_address[1]}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(downloads, "PLAIN_HTTP", [f"{base}/"])
        yield Server(base, pages, asked, posts)
    server.shutdown()
    server.server_close()
    thread.join()
