"""Start `playhead` as a child process: with the same settings, and only the secrets that its verb needs."""

import asyncio
import os
import sys
from typing import Any

from schemas.settings import Settings, environment_of, without_settings


async def start(settings: Settings, verb: str, *arguments: str, **options: Any) -> asyncio.subprocess.Process:
    """Start `playhead <verb> <arguments>`; `options` are those of `create_subprocess_exec`.

    Modules are not looked for in the current folder (`-P`): it is a person's own and may hold a `schemas/`.
    """
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "playhead", verb, *arguments),
        env=without_settings(os.environ) | environment_of(settings, verb=verb),
        **options,
    )
