"""In which country and region a sender is: as a trusted proxy says, else by an MMDB file that the operator names.

Both are codes of ISO 3166, and no more is read from the file. The address is looked up and forgotten. A header is
honoured only from a trusted proxy, which has to replace what clients send: two values are none.
"""

import ipaddress
import re
from typing import Final, NamedTuple

import maxminddb
from maxminddb.types import RecordDict

from ingest.rates import Senders, read_senders
from schemas.faults import NotReady
from schemas.settings import Settings

_COUNTRY: Final = re.compile(r"[A-Z]{2}").fullmatch
_REGION: Final = re.compile(r"[A-Z0-9]{1,3}").fullmatch
_NOWHERE: Final = frozenset(("XX", "ZZ", "T1"))  # unknown, or Tor: what proxies say if they do not know


class Place(NamedTuple):
    """A country (ISO 3166-1: `BE`) and a region of it (ISO 3166-2: `BE-BRU`); None if it is not known."""

    country: str | None = None
    region: str | None = None


NOWHERE: Final = Place()
NO_PROXIES: Final = Senders((), b"")


class Places:
    """Finds the places of senders."""

    def __init__(
        self,
        senders: Senders,
        *,
        country_header: bytes = b"",
        region_header: bytes = b"",
        database: maxminddb.Reader | None = None,
    ) -> None:
        self._senders = senders
        self._country_header = country_header
        self._region_header = region_header
        self._database = database

    def of(self, peer: str, headers: dict[bytes, bytes]) -> Place:
        """Return the place of a request's sender. `peer` is the address of the connection's other end."""
        if self._country_header and self._senders.is_trusted(peer):
            country, region = headers.get(self._country_header, b""), headers.get(self._region_header, b"")
            place = _place(country.decode("latin-1"), region.decode("latin-1"))
            if place.country is not None:
                return place
        return NOWHERE if self._database is None else self._look_up(self._database, peer, headers)

    def _look_up(self, database: maxminddb.Reader, peer: str, headers: dict[bytes, bytes]) -> Place:
        address = self._senders.address(peer, headers)
        if address is None or self._senders.is_proxy(address):  # a proxy that does not say whose request it is
            return NOWHERE
        try:
            record = database.get(ipaddress.ip_address(address))
        except (ValueError, maxminddb.InvalidDatabaseError):  # an IPv6 address in a file without, or damage
            return NOWHERE
        return _place_in(record) if isinstance(record, dict) else NOWHERE


def read_places(settings: Settings) -> Places:
    """Return where senders are looked up, by the settings. Raises NotReady if the file cannot be used."""
    database = None
    if settings.http_places_database is not None:
        try:
            database = maxminddb.open_database(settings.http_places_database)
        except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
            raise NotReady(f"PLAYHEAD_HTTP_PLACES_DATABASE cannot be read: {error}") from error
    return Places(
        read_senders(settings) or NO_PROXIES,
        country_header=settings.http_country_header.encode(),
        region_header=settings.http_region_header.encode(),
        database=database,
    )


def _place(country: str, region: str) -> Place:
    country, region = country.strip().upper(), region.strip().upper()
    if not _COUNTRY(country) or country in _NOWHERE:
        return NOWHERE
    code = region.removeprefix(country + "-")
    return Place(country, f"{country}-{code}" if _REGION(code) else None)


def _place_in(record: RecordDict) -> Place:
    """Return the place in an entry of MaxMind's and DB-IP's files, or of those with one code for the country."""
    country = record.get("country_code", record.get("country"))
    if isinstance(country, dict):
        country = country.get("iso_code")
    regions = record.get("subdivisions")
    first = regions[0] if isinstance(regions, list) and regions else None
    region = first.get("iso_code") if isinstance(first, dict) else None
    return _place(str(country or ""), str(region or ""))
