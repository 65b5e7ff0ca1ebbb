"""A real browser at a real ingest: a page of another origin, with the headers that its instrumentation adds."""

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from rigs.browser import Page, chromium, opened
from rigs.ingest import Ingest, event, running, session_start
from rigs.waiting import until

INSTRUMENTATION = {
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "vendor=1",
    "baggage": "sentry-environment=production",
    "sentry-trace": "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
    "newrelic": "eyJ2IjpbMCwxXX0=",
    "x-datadog-origin": "rum",
    "x-datadog-parent-id": "1",
    "x-datadog-sampling-priority": "1",
    "x-datadog-trace-id": "2",
}
pytestmark = pytest.mark.skipif(
    chromium() is None and not os.environ.get("CI"), reason="no chromium on this machine"
)


class EmptyPage(BaseHTTPRequestHandler):
    """Answers every request with a page that has nothing on it."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>a page of another origin</title>")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    """An ingest."""
    with running(tmp_path_factory.mktemp("ingest") / "data") as ingest:
        yield ingest


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page of another origin than the ingest."""
    with ThreadingHTTPServer(("127.0.0.1", 0), EmptyPage) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            url = f"http://localhost:{server.server_address[1]}/"
            with opened(url, tmp_path_factory.mktemp("browser") / "profile") as page:
                page.wait(lambda page: page.evaluate("document.title") == "a page of another origin")
                yield page
        finally:
            server.shutdown()


def fetch(page: Page, url: str, **options: object) -> dict[str, Any]:
    """Return what a page's script sees of a reply: status, the headers it asks for, body; or the error."""
    answer = page.evaluate(
        f"""fetch({json.dumps(url)}, {json.dumps(options)}).then(
            async reply => ({{
                status: reply.status, location: reply.headers.get('Location'),
                token: reply.headers.get('X-JAY-TRACKING'), body: await reply.text(),
            }}),
            error => ({{error: String(error)}}),
        )"""
    )
    assert isinstance(answer, dict)
    return answer


def test_an_instrumented_page_starts_a_session_and_reads_its_location(page: Page, ingest: Ingest) -> None:
    """A preflight goes before each request, and what the page posts is in the log."""
    headers = INSTRUMENTATION | {"Content-Type": "application/json", "X-Consent": "granted"}
    reply = fetch(
        page, f"{ingest.url}/api/v1/sessions", method="POST", headers=headers, body=json.dumps(session_start())
    )
    assert reply.get("status") == 201, reply
    assert reply["location"].startswith("/api/v1/sessions/")
    url = f"{ingest.url}{reply['location']}/events"
    play = fetch(page, url, method="POST", headers=headers, body=json.dumps(event("play")))
    assert play.get("status") == 204, play
    assert [record["data"]["eventType"] for record in ingest.events(reply["location"])] == ["sessionStart", "play"]


def test_a_page_reads_why_it_was_refused(page: Page, ingest: Ingest) -> None:
    """An error has the CORS headers too, or a player could not recover from it."""
    reply = fetch(
        page, f"{ingest.url}/api/v1/sessions/abc/events", method="POST", headers=INSTRUMENTATION, body="{}"
    )
    assert reply.get("status") == 404, reply
    assert "No session has this id" in reply["body"]


def test_a_page_has_a_tracking_session_with_credentials(page: Page, ingest: Ingest) -> None:
    """The page's own origin is named, so that the browser lets it read the token."""
    headers = {"Content-Type": "application/json", "x-jay-api-version": "2025-05-19", "X-API-Key": "string"}
    url = f"{ingest.url}/v1/playouts/tracking/session"
    made = fetch(page, url, method="POST", credentials="include", headers=headers, body='{"userId": "u-1"}')
    assert made.get("status") == 200, made
    shown = fetch(page, url, credentials="include", headers={**headers, "X-JAY-TRACKING": made["token"]})
    assert json.loads(shown["body"]) == json.loads(made["body"])


def test_a_sandboxed_page_has_no_tracking_session(page: Page, ingest: Ingest) -> None:
    """Its origin is `null`, which any page can have: its script sees nothing of the reply."""
    script = f"""
        fetch({json.dumps(f"{ingest.url}/v1/playouts/tracking/session")},
              {{method: 'POST', credentials: 'include', headers: {{'X-API-Key': 'string'}}}})
            .then(reply => 'answered', error => 'refused')
            .then(said => parent.postMessage([self.origin, said], '*'));
    """
    page.evaluate(
        f"""
        window.said = null;
        addEventListener('message', message => {{ window.said = message.data; }});
        const frame = document.createElement('iframe');
        frame.sandbox = 'allow-scripts';
        frame.srcdoc = '<script>' + {json.dumps(script)} + '</' + 'script>';
        document.body.append(frame);
        0
        """
    )
    until(lambda: page.evaluate("window.said"))
    assert page.evaluate("window.said") == ["null", "refused"]
