"""The file systems of the folders that a process writes to, as numbers of its meter."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from observability import catalogue
from observability.meter import Labels, Meter


def watch_folders(meter: Meter, folders: Mapping[str, Path]) -> None:
    """Show how much room is left for folders, by the names given; those that do not exist are left out."""

    def read(size: Callable[[Path], int]) -> Mapping[Labels, float]:
        return {(name,): size(folder) for name, folder in folders.items() if folder.exists()}

    meter.at_scrape(catalogue.DISK_FREE, lambda: read(lambda folder: shutil.disk_usage(folder).free))
    meter.at_scrape(catalogue.DISK_SIZE, lambda: read(lambda folder: shutil.disk_usage(folder).total))
