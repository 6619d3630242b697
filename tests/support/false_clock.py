"""An HTTP server that passes requests on, and whose clock is wrong."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request, urlopen


@contextlib.contextmanager
def clock_ahead(url: str, seconds: float) -> Iterator[str]:
    """The URL of a server that answers GET as ``url`` does, and tells a time that is ``seconds`` ahead."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = Request(url + self.path, headers={"Authorization": self.headers["Authorization"]})  # noqa: S310
            with urlopen(asked, timeout=10) as answer:  # noqa: S310
                body = answer.read()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(time.time() + seconds)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        serving.join()
