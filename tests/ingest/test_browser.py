"""A real browser at a real ingest: a page of another origin, with the headers that its instrumentation adds."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from rigs.browser import Page, needs_chromium, opened
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
pytestmark = needs_chromium


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
    with running(tmp_path_factory.mktemp("ingest") / "data", tracking_cookie_same_site="None") as ingest:
        yield ingest


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page of another site than the ingest, in a browser that blocks the cookies of other sites."""
    with ThreadingHTTPServer(("127.0.0.1", 0), EmptyPage) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            url = f"http://localhost:{server.server_address[1]}/"
            with opened(url, tmp_path_factory.mktemp("browser") / "profile", blocks_cookies=True) as page:
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


def test_a_page_leaves_with_a_beacon(page: Page, ingest: Ingest) -> None:
    """`sendBeacon` always sends credentials, and JSON takes a preflight: the event arrives all the same."""
    session = ingest.start(session_start())
    for kind in ("application/json", "text/plain"):
        body = json.dumps(event("sessionEnd", customMetadata={"kind": kind}))
        blob = f"new Blob([{json.dumps(body)}], {{type: {json.dumps(kind)}}})"
        assert page.evaluate(f"navigator.sendBeacon({json.dumps(f'{ingest.url}{session}/events')}, {blob})")
    until(lambda: len(ingest.events(session)) == 3)
    assert {record["data"]["customMetadata"]["kind"] for record in ingest.events(session)[1:]} == {
        "application/json",
        "text/plain",
    }


def test_a_page_that_includes_credentials_reads_successes_and_errors(page: Page, ingest: Ingest) -> None:
    """Its origin is repeated in both, and in the preflights of paths that exist and of those that do not."""
    headers = {"Content-Type": "application/json", "X-Own": "1"}
    options = {"method": "POST", "credentials": "include", "headers": headers}
    made = fetch(page, f"{ingest.url}/api/v1/sessions", body=json.dumps(session_start()), **options)
    assert made.get("status") == 201, made
    events = f"{ingest.url}{made['location']}/events"
    assert fetch(page, events, body=json.dumps(event("play")), **options).get("status") == 204
    refused = fetch(page, events, body="{'eventType'", **options)
    assert (refused.get("status"), "double quotation marks" in refused["body"]) == (400, True)
    unknown = fetch(page, f"{ingest.url}{made['location']}/event", body="{}", **options)
    assert (unknown.get("status"), "/api/v1/sessions/{session_id}/events" in unknown["body"]) == (404, True)


def test_the_documented_fetch_with_tracking_reads_any_route(page: Page, ingest: Ingest) -> None:
    """The documentation's own function, with its three headers, at media routes and at documents."""
    page.evaluate("""
        window.getStoredSessionId = () => 'b69d5c78-a2e9-4a7d-b3f8-c96c3a43d207';
        window.fetchWithTracking = async url => {
            const sessionId = getStoredSessionId();
            const response = await fetch(url, {
                headers: {
                    '__Secure-jay_tracking': sessionId,
                    'x-jay-api-version': '2025-05-19',
                    'X-API-Key': 'your_api_key_here'
                }
            });
            return response.json();
        };
        0
    """)
    for path, key in (
        ("/api/v1/sessions", "message"),
        (f"/api/v1/sessions/{'0' * 64}/events", "message"),
        ("/api/v1/schemas/play", "$defs"),
        ("/schema/openapi.json", "openapi"),
        ("/health/live", "status"),
    ):
        url = json.dumps(ingest.url + path)
        read = page.evaluate(f"fetchWithTracking({url}).then(Object.keys, error => [String(error)])")
        assert key in read, (path, read)


def test_a_cookie_for_embedded_players_comes_back_where_others_are_blocked(page: Page, ingest: Ingest) -> None:
    """It is partitioned: kept for this page's site alone. Its deletion is, too, or it would not be deleted."""
    headers = {"X-API-Key": "string"}
    url = f"{ingest.url}/v1/playouts/tracking/session"
    made = fetch(page, url, method="POST", credentials="include", headers=headers)
    assert made.get("status") == 200, made
    shown = fetch(page, url, credentials="include", headers=headers)
    assert (shown.get("status"), shown["body"]) == (200, made["body"])
    assert fetch(page, url, method="DELETE", credentials="include", headers=headers).get("status") == 200
    assert fetch(page, url, credentials="include", headers=headers).get("status") == 400


def test_a_page_has_a_tracking_session_with_credentials(page: Page, ingest: Ingest) -> None:
    """The page's own origin is named, so that the browser lets it read the token."""
    headers = {"Content-Type": "application/json", "x-jay-api-version": "2025-05-19", "X-API-Key": "string"}
    url = f"{ingest.url}/v1/playouts/tracking/session"
    made = fetch(page, url, method="POST", credentials="include", headers=headers, body='{"userId": "u-1"}')
    assert made.get("status") == 200, made
    shown = fetch(page, url, credentials="include", headers={**headers, "X-JAY-TRACKING": made["token"]})
    assert json.loads(shown["body"]) == json.loads(made["body"])


def test_a_sandboxed_page_has_no_tracking_session(page: Page, ingest: Ingest) -> None:
    """Its origin is `null`, which any page can have: its script sees nothing of the reply. It may post events."""
    script = f"""
        const tracking = fetch({json.dumps(f"{ingest.url}/v1/playouts/tracking/session")},
              {{method: 'POST', credentials: 'include', headers: {{'X-API-Key': 'string'}}}});
        const media = fetch({json.dumps(f"{ingest.url}/api/v1/sessions")}, {{method: 'POST', body: '{{}}'}});
        Promise.all([tracking, media].map(asked => asked.then(reply => 'answered', error => 'refused')))
            .then(said => parent.postMessage([self.origin, ...said], '*'));
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
    assert page.evaluate("window.said") == ["null", "refused", "answered"]
