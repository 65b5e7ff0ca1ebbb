"""What the verbs of `playhead` share: options, and the settings of a process."""

import os
from pathlib import Path
from typing import Annotated

import typer

from commands.logs import log_as_json
from schemas.settings import Settings, read_settings

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Data = Annotated[Path | None, typer.Option("--data", help="Folder of log, lake and secrets.")]


def settings_of_process(data: Path | None = None) -> Settings:
    """Read the settings and apply those of logging and file modes; `data` overrides PLAYHEAD_DATA_DIR."""
    settings = read_settings(os.environ)
    if data is not None:
        settings = settings.model_copy(update={"data_dir": data})
    log_as_json(settings.log_level)
    os.umask(settings.umask)
    return settings
