"""Another host, which no page of ours may ask for anything."""

import contextlib
import http.server
import threading
from collections.abc import Iterator


class Stranger:
    """A server of this machine with an address of its own; `asked` are the paths that it was asked for."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.asked: list[str] = []


@contextlib.contextmanager
def listening() -> Iterator[Stranger]:
    """Run the server."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            stranger.asked.append(self.path)
            self.send_response(404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        stranger = Stranger(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield stranger
        finally:
            server.shutdown()
            thread.join()
