"""Identities in what players post, an ingest that links them, and what it keeps of refused bodies."""

import base64
import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ingest.accept import refused_to_keep
from ingest.identity import RefusedPseudonymizer
from rigs.ingest import SECRETS, Ingest, running
from rigs.waiting import until
from schemas.faults import InvalidEvent

KEY = SECRETS["PLAYHEAD_PSEUDONYM_KEY"].encode()
API = {"X-API-Key": "string"}
TRACKING = "/v1/playouts/tracking/session"
IDENTITIES = {
    "analytics.visitorId": "canary-visitor",
    "visitor.marketingCloudUserId": "canary-ecid",
    "analytics.aid": "canary-aid",
    "appInstallationId": "canary-installation",
    "visitor.customerIDs": {
        "mail": {"id": "canary@mail.example", "authState": 1},
        "crm": {"id": "canary-crm", "authState": 0},
        "none": {"id": ""},
    },
}


def keep(body: object, pseudonymizer: RefusedPseudonymizer, *, denied: bool = False) -> Any:
    """Return what is kept of a refused body."""
    return refused_to_keep(InvalidEvent("x"), json.dumps(body).encode(), pseudonymizer, denied=denied).body


def refuse(ingest: Ingest, body: object, *, headers: dict[str, str] | None = None) -> Any:
    """Post a body that is refused; return the data of its record."""
    before = ingest.newest()["id"] if ingest.records(newest=1) else None
    reply = ingest.post("/api/v1/downloaded" if type(body) is list else "/api/v1/sessions", body, headers=headers)
    assert reply.status_code == 400
    return until(lambda: (record := ingest.newest())["id"] != before and record)["data"]


@contextlib.contextmanager
def linking(data_dir: Path) -> Iterator[Ingest]:
    """Run an ingest that links devices; at the end no canary may be anywhere in its log or its output."""
    with running(data_dir, rejected_per_s=10_000, link_devices="on") as ingest:
        yield ingest
        for written in (ingest.bytes_of_log(), ingest.output.encode()):
            assert not re.search(rb"(?i)canary", written)
            assert base64.b64encode(b'"user_id":"canary')[:16] not in written
