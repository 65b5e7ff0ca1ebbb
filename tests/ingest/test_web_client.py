"""The client for web players, as an ingest serves it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from rigs.ingest import Ingest, running

SOURCE = Path(__file__).parents[2] / "clients" / "web" / "playhead.js"


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    """One ingest for all tests here."""
    with running(tmp_path_factory.mktemp("web_client") / "data") as ingest:
        yield ingest


def versioned(ingest: Ingest) -> str:
    """Return the path with a version in it."""
    paths = ingest.client.get("/schema/openapi.json").json()["paths"]
    (path,) = [path for path in paths if path.startswith("/playhead-")]
    return str(path)


def test_any_page_may_import_the_client(ingest: Ingest) -> None:
    """It is JavaScript by its type, readable from any origin, compressed for whom understands that."""
    for path in ("/playhead.js", versioned(ingest)):
        for encoding in ("gzip", "identity"):
            reply = ingest.client.get(path, headers={"Origin": "https://a.example", "Accept-Encoding": encoding})
            assert reply.status_code == 200
            assert reply.headers["content-type"] == "text/javascript; charset=utf-8"
            assert reply.headers["access-control-allow-origin"] == "*"
            assert reply.headers["vary"] == "Accept-Encoding"
            assert (reply.headers.get("content-encoding") == "gzip") == (encoding == "gzip")
            assert reply.content == SOURCE.read_bytes()


def test_a_version_of_the_client_is_kept_for_a_year(ingest: Ingest) -> None:
    """The name without a version is asked for again each hour; another version is not there."""
    name = versioned(ingest)
    assert ingest.client.get(name).headers["cache-control"] == "public, max-age=31536000, immutable"
    assert ingest.client.get("/playhead.js").headers["cache-control"] == "public, max-age=3600"
    missing = ingest.client.get("/playhead-0.0.0.js")
    assert (missing.status_code, name in missing.text) == (404, True)
