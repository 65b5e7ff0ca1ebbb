"""`playhead pseudonym`: what the lake holds in place of an identity."""

from commands.own_secrets import with_kept_secrets
from ingest.identity import pseudonym
from schemas.settings import Settings


def print_pseudonym(settings: Settings, namespace: str, value: str) -> None:
    """Print the pseudonym of an identity under the key of the settings, or the key that `playhead up` made."""
    print(pseudonym(with_kept_secrets(settings).key_of_pseudonyms(), namespace, value))  # noqa: T201
