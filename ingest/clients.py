"""What a sessionStart's record says of the sender: its kind of device, its place, and the name of its API key.

Neither the User-Agent, the address nor the key is passed on. A denial of consent leaves the kind of device, the
country and the key's name.
"""

from msgspec.structs import replace

from ingest.intake import Request
from ingest.keys import HEADER, ApiKeys
from ingest.places import NOWHERE, Places, read_places
from ingest.user_agents import UserAgents
from schemas.client import Client
from schemas.settings import Settings


class Clients:
    """Describes the senders of sessionStarts."""

    def __init__(self, user_agents: UserAgents, places: Places, keys: ApiKeys) -> None:
        self._user_agents = user_agents
        self._places = places
        self._keys = keys

    def of(self, request: Request, *, denied: bool) -> Client:
        """Return what may be kept of a request's sender."""
        client = self._user_agents.read(request.headers.get(b"user-agent", b""))
        place = self._places.of(request.peer, request.headers)
        if place is not NOWHERE:
            client = replace(client, country=place.country, region=place.region)
        if key := request.headers.get(HEADER):
            client = replace(client, key_name=self._keys.sender(key))
        return client.without_consent() if denied else client


def read_clients(settings: Settings, keys: ApiKeys) -> Clients:
    """Return how senders are described, by the settings. Raises NotReady if the file of places cannot be used."""
    return Clients(UserAgents(), read_places(settings), keys)
