"""The file of named API keys: `playhead keys` changes it, and each ingest reads it. It has hashes, never a key."""

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Literal, get_args

import msgspec

from schemas.faults import NotReady
from schemas.modes import PRIVATE_FILE, PRIVATE_FOLDER

Scope = Literal["tracking", "media"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
UNKNOWN = "unknown"  # instead of the name of a key, where a wrong one was sent
OF_SETTINGS = "settings-"  # the keys of PLAYHEAD_API_KEYS are settings-1, settings-2, ...
KEY_BYTES = 32
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class NamedKey(msgspec.Struct, frozen=True):
    """One API key: its name, its SHA-256 in hex, the APIs that it opens, and since when it no longer does.

    A plain hash is enough: the key has 256 random bits, which nobody can guess.
    """

    name: str
    sha256: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    revoked_at: datetime | None = None

    @property
    def is_revoked(self) -> bool:
        """Whether it opens nothing any more."""
        return self.revoked_at is not None


class _File(msgspec.Struct, frozen=True):
    keys: tuple[NamedKey, ...] = ()


def hash_of_key(key: str) -> str:
    """Return what is stored of a key."""
    return sha256(key.encode()).hexdigest()


def read_named_keys(path: Path) -> tuple[NamedKey, ...]:
    """Return the keys of a file, revoked ones included; none if there is no file. Raises NotReady."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File).keys
    except FileNotFoundError:
        return ()
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise NotReady(f"the file of named API keys cannot be read: {path}: {error}") from None


def add_key(path: Path, name: str, scopes: Sequence[Scope], *, now: datetime) -> str:
    """Make a key of this name and return it: it is stored nowhere.

    Raises NotReady if the name cannot be one, or was used before: metrics and records keep names.
    """
    if not _NAME.fullmatch(name) or name == UNKNOWN or name.startswith(OF_SETTINGS):
        raise NotReady(
            f"{name!r} cannot be the name of a key: write up to 63 lower-case letters, digits, `.`, `_`, `-`, "
            f"and neither {UNKNOWN} nor {OF_SETTINGS}..."
        )
    key = secrets.token_urlsafe(KEY_BYTES)
    with _changing(path) as keys:
        if any(each.name == name for each in keys):
            raise NotReady(f"there is, or was, a key named {name}: choose another name, such as {name}-2")
        keys.append(NamedKey(name, hash_of_key(key), tuple(dict.fromkeys(scopes)), now))
    return key


def revoke_key(path: Path, name: str, *, now: datetime) -> None:
    """Let a key open nothing any more. It stays in the file, so that its use still has a name.

    Raises NotReady if there is no such key, or it was revoked before.
    """
    with _changing(path) as keys:
        at = next((at for at, each in enumerate(keys) if each.name == name), None)
        if at is None:
            hint = ": change PLAYHEAD_API_KEYS and restart" if name.startswith(OF_SETTINGS) else ""
            raise NotReady(f"no key is named {name!r} in {path}{hint}; `playhead keys list` names all")
        if keys[at].revoked_at is not None:
            raise NotReady(f"{name} was revoked at {keys[at].revoked_at:%Y-%m-%d %H:%M:%S} UTC")
        keys[at] = msgspec.structs.replace(keys[at], revoked_at=now)


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[list[NamedKey]]:
    """Give the keys of a file to be changed; it is replaced as a whole, and others wait for their turn."""
    path.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        keys = list(read_named_keys(path))
        yield keys
        draft = path.with_name(f"{path.name}.draft")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(_File(tuple(keys)))) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
        os.fsync(folder)
    finally:
        os.close(folder)
