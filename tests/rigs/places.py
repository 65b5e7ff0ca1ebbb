"""An MMDB file of places, as operators get them from its makers, for networks that are documentation's."""

from pathlib import Path
from typing import Any

from mmdb_writer import MMDBWriter
from netaddr import IPSet

BRUSSELS = {"country": {"iso_code": "BE"}, "subdivisions": [{"iso_code": "BRU"}], "city": {"names": {"en": "x"}}}
PLACES: dict[str, dict[str, Any]] = {
    "192.0.2.0/24": BRUSSELS,
    "198.51.100.0/25": {"country": {"iso_code": "PT"}},
    "198.51.100.128/25": {"country_code": "JP", "subdivisions": []},
    "203.0.113.0/25": {"country": "CA"},
    "203.0.113.128/25": {"registered_country": {"iso_code": "US"}},
    "2001:db8::/48": {"country": {"iso_code": "NZ"}, "subdivisions": [{"iso_code": "AUK"}]},
}


def write_places(path: Path, places: dict[str, dict[str, Any]] = PLACES) -> Path:
    """Write the file."""
    writer = MMDBWriter(6, "Places", languages=["en"], ipv4_compatible=True)
    for network, record in places.items():
        writer.insert_network(IPSet([network]), record)
    writer.to_db_file(str(path))
    return path
