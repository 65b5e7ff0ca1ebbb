"""Look into the embedded log without owning it: where partitions begin and end, and single records."""

import asyncio
from collections.abc import Mapping

from eventlog import View
from eventlog.embedded.file import _opened, has_reader, path_of_log
from eventlog.embedded.reader import _select
from schemas.settings import Settings


class EmbeddedInspector:
    """Looks into the file that the path names at that moment; see `Inspector`."""

    def __init__(self, settings: Settings) -> None:
        self._path = path_of_log(settings)

    async def look(self, at: Mapping[int, int]) -> dict[int, View]:
        return await asyncio.to_thread(self._look, dict(at))

    async def owners(self) -> dict[int, str]:
        """All partitions have one reader, which the log knows only as the holder of a lock."""
        views = await self.look({})
        is_read = await asyncio.to_thread(has_reader, self._path)
        return dict.fromkeys(views, "a process on this machine") if is_read else {}

    async def close(self) -> None:
        """Do nothing: the file is open only while it is looked into."""

    def _look(self, at: dict[int, int]) -> dict[int, View]:
        views = {}
        with _opened(self._path) as file:
            file.connection.execute("BEGIN")
            rows = file.connection.execute(
                "SELECT partition, first_offset, next_offset FROM partitions"
            ).fetchall()
            for partition, first, end in rows:
                asked = at.get(partition, end)
                found = _select(file.connection, partition, asked, min(asked + 1, end), 1, 1)
                views[partition] = View(first, end, found[0] if found else None, file.log_id)
        return views
