"""The OpenAPI document, and the page that shows it."""

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from rigs.browser import Page, needs_chromium, opened
from rigs.ingest import Ingest, running

from schemas import faults

Json = dict[str, Any]


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    """One ingest for all tests here."""
    with running(tmp_path_factory.mktemp("documents") / "data") as ingest:
        yield ingest


@pytest.fixture(scope="module")
def document(ingest: Ingest) -> Json:
    """The document."""
    reply = ingest.client.get("/schema/openapi.json")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
    served: Json = reply.json()
    return served


def operations(document: Json) -> list[tuple[str, str, Json]]:
    """Return each operation of a document, with its path and its method."""
    return [(path, method, part) for path, item in document["paths"].items() for method, part in item.items()]


def test_the_document_names_version_and_licence(document: Json) -> None:
    """Those of the package."""
    assert document["openapi"].startswith("3.1.")
    assert document["info"]["version"] == version("playhead")
    assert document["info"]["license"] == {"name": "Apache-2.0", "identifier": "Apache-2.0"}


def test_the_document_has_every_route(ingest: Ingest, document: Json) -> None:
    """Each of its paths answers, with a status that it names; each operation has an id of its own."""
    assert len(document["paths"]) == 17
    for path, method, operation in operations(document):
        named = path.replace("{event_type}", "ping")
        reply = ingest.client.request(method, named, headers={"X-API-Key": "string"})
        assert str(reply.status_code) in operation["responses"], (method, path, reply.text)
        ingest.client.cookies.clear()
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))


def test_the_document_has_every_error_with_its_shape(document: Json) -> None:
    """Each fault that a request may meet is named; media routes and tracking have errors of their own shapes."""
    known = [each for each in vars(faults).values() if isinstance(each, type) and issubclass(each, faults.Fault)]
    raised = {fault for fault in known if fault.status < 500}
    raised |= {faults.Overloaded, faults.LogUnavailable}
    raised -= {faults.Refusal, faults.MethodNotAllowed}  # of no operation
    for fault in raised:
        assert f"`{fault.code}`" in str(document), fault
    for path, _, operation in operations(document):
        shape = "TrackingError" if path.startswith("/v1/") else "MediaError"
        errors = {status: reply for status, reply in operation["responses"].items() if status >= "400"}
        assert errors
        for reply in errors.values():
            content = reply["content"]["application/json"]
            assert content["schema"] == {"$ref": f"#/components/schemas/{shape}"}


def test_the_document_says_when_to_try_again(ingest: Ingest, document: Json) -> None:
    """`Retry-After` is where it is sent: at 429, and where the log does not take events."""
    by_id = {operation["operationId"]: operation["responses"] for _, _, operation in operations(document)}
    named = {
        (name, status)
        for name, replies in by_id.items()
        for status in replies
        if "Retry-After" in str(replies[status])
    }
    assert {("addEvent", "429"), ("addEvent", "500"), ("createTrackingSession", "503"), ("ready", "503")} <= named
    assert {status for _, status in named} == {"429", "500", "503"}


def test_every_reference_of_the_document_leads_somewhere(document: Json) -> None:
    """No `$ref` names a schema that is not there."""

    def references(part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            if isinstance(part.get("$ref"), str):
                yield part["$ref"]
            for inner in part.values():
                yield from references(inner)
        elif isinstance(part, list):
            for inner in part:
                yield from references(inner)

    found = set(references(document))
    assert found
    assert found <= {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}


@needs_chromium
def test_a_person_reads_the_document_without_internet(ingest: Ingest, document: Json, tmp_path: Path) -> None:
    """A browser that finds no host but ours shows each operation at /schema, and asks nobody else for anything."""
    with opened(f"{ingest.url}/schema", tmp_path / "profile", hosts="127.0.0.1") as page:
        summaries = [operation["summary"] for _, _, operation in operations(document)]
        page.wait(lambda page: all(summary in page.text() for summary in summaries))
        assert f"Playhead {version('playhead')} " in " ".join(page.text().split())
        assert "Apache-2.0" in page.text()
        _open(page, "addEvent")
        page.wait(lambda page: "rate_limited" in page.text() and "Retry-After" in page.text())
        loaded = page.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
        assert f"{ingest.url}/schema/openapi.json" in loaded
        assert all(name.startswith((ingest.url, "data:")) for name in loaded)


def _open(page: Page, operation_id: str) -> None:
    page.evaluate(f"document.querySelector('[id$={operation_id}] .opblock-summary-control').click()")
