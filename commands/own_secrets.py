"""The secrets that `playhead up` generates, kept in the data folder."""

import contextlib
import os
import secrets
from pathlib import Path

from pydantic import SecretStr

from schemas.modes import PRIVATE_FILE, PRIVATE_FOLDER, give_mode
from schemas.settings import OWN_SECRETS, Settings, _read_secret


def with_own_secrets(settings: Settings) -> Settings:
    """Return the settings with every secret set: missing ones are generated once and kept in the data folder.

    Each file has mode 0600 and holds one secret. The environment takes precedence.
    """
    folder = settings.data_dir / "secrets"
    folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    give_mode([folder], PRIVATE_FOLDER)
    give_mode((folder / name for name in OWN_SECRETS), PRIVATE_FILE)
    for name in OWN_SECRETS:
        if getattr(settings, name) is None and not (folder / name).exists():
            _make_secret(folder / name)
    return with_kept_secrets(settings)


def with_kept_secrets(settings: Settings) -> Settings:
    """Return the settings, with secrets that they lack taken from the data folder."""
    paths = {name: settings.data_dir / "secrets" / name for name in OWN_SECRETS}
    kept = {
        name: SecretStr(_read_secret(path))
        for name, path in paths.items()
        if getattr(settings, name) is None and path.exists()
    }
    return settings.model_copy(update=kept)


def _make_secret(path: Path) -> None:
    """Create a secret's file atomically: another process may do the same."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(32))
    with contextlib.suppress(FileExistsError):
        path.hardlink_to(draft)
    draft.unlink()
