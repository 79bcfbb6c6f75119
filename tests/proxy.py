"""A proxy in front of a real server, which fails as a network and an overloaded server do."""

import contextlib
import http.client
import http.server
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

# What becomes of a request.
PASS = "passed on and answered"
AWAY = "the connection is closed before it is passed on"
BUSY = "503, and not passed on"
CUT = "passed on, and the answer is lost"

NOT_PASSED_ON = ("connection", "transfer-encoding", "keep-alive")


class Proxy:
    """What it does with each request is decided by `fate`, and can be changed at any time."""

    def __init__(self, target: str):
        self.host = urlsplit(target).netloc
        self.fate: Callable[[int, str], str] = lambda number, request: PASS
        self.requests: list[str] = []  # since `reset`: "POST /api/2.0/mlflow/runs/create"
        self._lock = threading.Lock()

    def reset(self, fate: Callable[[int, str], str] = lambda number, request: PASS) -> None:
        """Count the requests from 0, and decide their fate by their number and by themselves."""
        self.requests, self.fate = [], fate

    def decide(self, request: str) -> str:
        with self._lock:
            number = len(self.requests)
            self.requests.append(request)
            return self.fate(number, request)


@contextlib.contextmanager
def proxied(target: str) -> Iterator[tuple[str, Proxy]]:
    """The address of a proxy in front of `target`, and the proxy."""
    proxy = Proxy(target)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_request(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fate = proxy.decide(f"{self.command} {urlsplit(self.path).path}")
            if fate == BUSY:
                self.send_response(503)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if fate == AWAY:
                self.close()
                return
            status, headers, answer = forward(proxy.host, self.command, self.path, body, self)
            if fate == CUT:
                self.close()
                return
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in (*NOT_PASSED_ON, "content-length"):
                    self.send_header(name, value)
            length = str(len(answer))
            if self.command == "HEAD":  # the length of what a GET would give
                length = dict(headers).get("Content-Length", "0")
            self.send_header("Content-Length", length)
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_request

        def close(self) -> None:
            self.close_connection = True
            self.connection.close()

        def log_message(self, *_):
            pass

        def handle(self):
            with contextlib.suppress(OSError, ValueError):  # it was closed
                super().handle()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", proxy
        server.shutdown()


def forward(
    host: str, method: str, path: str, body: bytes, handler: http.server.BaseHTTPRequestHandler
) -> tuple[int, list[tuple[str, str]], bytes]:
    """Ask the real server: status, headers and body of its answer."""
    connection = http.client.HTTPConnection(host, timeout=300)
    headers = {k: v for k, v in handler.headers.items() if k.lower() not in NOT_PASSED_ON}
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()
    finally:
        connection.close()
