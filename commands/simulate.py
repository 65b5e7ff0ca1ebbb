"""`playhead simulate`: viewers that play at an ingest as real players would."""

import asyncio
from pathlib import Path

from players.rehearsal import play
from schemas.settings import Settings


def run_viewers(
    settings: Settings, url: str, *, viewers: int, for_s: float, seed: int, report: Path | None
) -> None:
    """Play viewers at the ingest at `url` for `for_s` seconds; write what is true to `report`, if given.

    One of the settings' API keys opens tracking sessions, and is sent with media events where they need a key.
    """
    key = min(settings.keys_of_api()) if settings.api_keys else None
    of_media = key if settings.media_needs_key else None
    asyncio.run(play(url, viewers=viewers, for_s=for_s, seed=seed, api_key=key, media_key=of_media, report=report))
