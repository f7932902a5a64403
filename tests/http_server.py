"""A small server on loopback that can misbehave like those of the world."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Page:
    """What one address answers with.

    Attributes:
        body: The content.
        kind: Its content type.
        tag: ETag; empty: none.
        ranges: Whether parts can be asked for.
        redirect: Where it leads instead.
        failures: Status codes of the first answers.
        breaks: Bytes after which the first connections break, one entry for each.
        status: Status of the last answer.
    """

    body: bytes = b""
    kind: str = "application/octet-stream"
    tag: str = '"1"'
    ranges: bool = True
    redirect: str = ""
    failures: list[int] = field(default_factory=list)
    breaks: list[int] = field(default_factory=list)
    status: int = 200


@dataclass
class Server:
    """A running server.

    Attributes:
        base: Its address, without a slash at the end.
        pages: What is served, by path.
        asked: Path and range of every request.
    """

    base: str
    pages: dict[str, Page]
    asked: list[tuple[str, str]]


@contextmanager
def serving() -> Iterator[Server]:
    """Serve pages until the end of the block."""
    pages: dict[str, Page] = {}
    asked: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

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
                self._page(page, wanted)

        def _page(self, page: Page, wanted: str) -> None:
            headers = {"Content-Type": page.kind} | ({"ETag": page.tag} if page.tag else {})
            same = self.headers.get("If-Range", page.tag) == page.tag
            start = int(wanted[6:].rstrip("-")) if wanted and page.ranges and same else 0
            if start and start >= len(page.body):
                self._answer(416, headers, b"")
                return
            status = page.status
            if start:
                status = 206
                end = len(page.body) - 1
                headers["Content-Range"] = f"bytes {start}-{end}/{len(page.body)}"
            self._answer(status, headers, page.body[start:], page.breaks)

        def _answer(
            self, status: int, headers: dict[str, str], body: bytes, breaks: list[int] | None = None
        ) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if breaks:
                self.wfile.write(body[: breaks.pop(0)])
                self.wfile.flush()
                self.close_connection = True
                self.connection.close()
                return
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # broken on purpose
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Server(f"http://127.0.0.1:{server.server_address[1]}", pages, asked)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
