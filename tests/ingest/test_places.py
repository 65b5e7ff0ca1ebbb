"""Places of senders: by the header of a trusted proxy, by a file, and by nothing else."""

from pathlib import Path

import pytest
from rigs.places import write_places

from ingest.places import NOWHERE, Place, Places, read_places
from schemas.faults import NotReady
from schemas.settings import read_settings

PROXY, CLIENT = "10.0.0.1", "192.0.2.7"
BEHIND_PROXY = {"PLAYHEAD_HTTP_TRUSTED_PROXIES": "10.0.0.0/8"}
HEADERS = {
    **BEHIND_PROXY,
    "PLAYHEAD_HTTP_COUNTRY_HEADER": "CF-IPCountry",
    "PLAYHEAD_HTTP_REGION_HEADER": "cf-region-code",
}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of places."""
    return write_places(tmp_path_factory.mktemp("places") / "places.mmdb")


@pytest.fixture
def by_header() -> Places:
    """Places as a proxy names them."""
    return read_places(read_settings(HEADERS))


@pytest.fixture
def by_file(database: Path) -> Places:
    """Places by the file alone, behind no proxy."""
    return read_places(read_settings({"PLAYHEAD_HTTP_PLACES_DATABASE": str(database)}))


def named(country: bytes, region: bytes | None = None, **more: bytes) -> dict[bytes, bytes]:
    """Return headers that name a place."""
    headers = {b"cf-ipcountry": country, **({} if region is None else {b"cf-region-code": region})}
    return headers | {name.replace("_", "-").encode(): value for name, value in more.items()}


@pytest.mark.parametrize(
    ("country", "region", "place"),
    [
        (b"BE", b"BRU", Place("BE", "BE-BRU")),
        (b"be", b"be-bru", Place("BE", "BE-BRU")),
        (b" US ", b"CA", Place("US", "US-CA")),
        (b"JP", b"13", Place("JP", "JP-13")),
        (b"BE", None, Place("BE")),
        (b"BE", b"", Place("BE")),
        (b"BE", b"Brussels", Place("BE")),
        (b"BE", b"FR-75", Place("BE")),
        (b"", b"BRU", NOWHERE),
        (b"XX", b"BRU", NOWHERE),
        (b"T1", None, NOWHERE),
        (b"Belgium", None, NOWHERE),
        (b"BE, FR", None, NOWHERE),
        (b"192.0.2.7", b"someone", NOWHERE),
        (b"\xc3\x84\xc3\x96", None, NOWHERE),
    ],
)
def test_a_trusted_proxy_names_the_place(
    by_header: Places, country: bytes, region: bytes | None, place: Place
) -> None:
    """In codes of ISO 3166; what is no such code is not kept, and two values are none."""
    assert by_header.of(PROXY, named(country, region)) == place


@pytest.mark.parametrize("peer", ["192.0.2.7", "127.0.0.1", "2001:db8::1", "", "nonsense"])
def test_nobody_else_names_a_place(by_header: Places, peer: str) -> None:
    """A client could write anything."""
    assert by_header.of(peer, named(b"BE", b"BRU")) == NOWHERE


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("192.0.2.7", Place("BE", "BE-BRU")),
        ("::ffff:192.0.2.7", Place("BE", "BE-BRU")),
        ("198.51.100.1", Place("PT")),
        ("198.51.100.200", Place("JP")),
        ("203.0.113.1", Place("CA")),
        ("203.0.113.200", NOWHERE),
        ("2001:db8::9", Place("NZ", "NZ-AUK")),
        ("8.8.8.8", NOWHERE),
        ("127.0.0.1", NOWHERE),
        ("", NOWHERE),
        ("nonsense", NOWHERE),
    ],
)
def test_a_file_names_the_place(by_file: Places, address: str, place: Place) -> None:
    """By the address of the connection's other end, where no proxy is trusted; in each layout of such files."""
    assert by_file.of(address, {b"x-forwarded-for": b"198.51.100.1", b"cf-ipcountry": b"FR"}) == place


def test_behind_a_proxy_the_file_is_asked_for_the_sender(database: Path) -> None:
    """That is the address that the proxy forwards, if any. A country that the proxy names counts first."""
    settings = read_settings({**HEADERS, "PLAYHEAD_HTTP_PLACES_DATABASE": str(database)})
    places = read_places(settings)
    forwarded = b"198.51.100.1, 192.0.2.7, 10.9.9.9"
    assert places.of(PROXY, {b"x-forwarded-for": forwarded}) == Place("BE", "BE-BRU")
    assert places.of(PROXY, named(b"XX", x_forwarded_for=forwarded)) == Place("BE", "BE-BRU")
    assert places.of(PROXY, named(b"FR", x_forwarded_for=forwarded)) == Place("FR")
    assert places.of(PROXY, {}) == NOWHERE


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"PLAYHEAD_HTTP_COUNTRY_HEADER": "cf-ipcountry"}, "PLAYHEAD_HTTP_TRUSTED_PROXIES names none"),
        ({**BEHIND_PROXY, "PLAYHEAD_HTTP_REGION_HEADER": "region"}, "PLAYHEAD_HTTP_COUNTRY_HEADER names no"),
        ({"PLAYHEAD_HTTP_PLACES_DATABASE": "nowhere.mmdb"}, "PLAYHEAD_HTTP_PLACES_DATABASE cannot be read"),
        ({"PLAYHEAD_HTTP_PLACES_DATABASE": "no.mmdb"}, "PLAYHEAD_HTTP_PLACES_DATABASE cannot be read"),
    ],
    ids=["a country without a proxy", "a region without a country", "no file", "another file"],
)
def test_settings_that_cannot_work_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], message: str
) -> None:
    """The message says which."""
    (tmp_path / "no.mmdb").write_text("no MMDB")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotReady, match=message):
        read_places(read_settings(settings))
