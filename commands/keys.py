"""`playhead keys`: makes and revokes named API keys, and prints which there are."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from commands.as_json import print_json
from commands.own_secrets import with_kept_secrets
from commands.tables import print_table
from schemas.named_keys import OF_SETTINGS, SCOPES, Scope, add_key, read_named_keys, revoke_key
from schemas.settings import Settings


class Listed(msgspec.Struct, frozen=True):
    """A key as it is listed; those of PLAYHEAD_API_KEYS have no time."""

    name: str
    scopes: Sequence[Scope]
    created_at: datetime | None = None
    revoked_at: datetime | None = None


def print_new_key(settings: Settings, name: str, scopes: Sequence[Scope], *, as_json: bool) -> None:
    """Make a key and print it on stdout, alone. Raises NotReady as `add_key` does."""
    key = add_key(settings.file_of_named_keys, name, scopes, now=datetime.now(UTC))
    if as_json:
        print_json({"name": name, "scopes": scopes, "key": key})
        return
    print(f"{name} opens {', '.join(scopes)}; the key is not shown again:", file=sys.stderr)  # noqa: T201
    print(key)  # noqa: T201


def print_revoked(settings: Settings, name: str) -> None:
    """Revoke a key. Raises NotReady as `revoke_key` does."""
    revoke_key(settings.file_of_named_keys, name, now=datetime.now(UTC))
    print(f"{name} is revoked; ingests refuse it within a second")  # noqa: T201


def print_keys(settings: Settings, *, as_json: bool) -> None:
    """Print the named keys, and those of the settings."""
    whole = with_kept_secrets(settings)
    of_settings = [] if whole.api_keys is None else whole.keys_of_api()
    listed = [Listed(f"{OF_SETTINGS}{number}", SCOPES) for number, _ in enumerate(of_settings, 1)]
    listed += [
        Listed(key.name, key.scopes, key.created_at, key.revoked_at)
        for key in read_named_keys(settings.file_of_named_keys)
    ]
    if as_json:
        print_json(listed)
        return
    rows = [[key.name, ", ".join(key.scopes), _shown(key.created_at), _shown(key.revoked_at)] for key in listed]
    print_table(["key", "opens", "made", "revoked"], rows)


def _shown(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"
