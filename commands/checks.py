"""What `playhead doctor` checks: each thing once, within a deadline, and what to do where it is wrong."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import httpx
import msgspec

from commands.extras import has_notebooks, in_words, lake_errors, remedy
from commands.listening import listen, url
from commands.own_secrets import with_kept_secrets
from eventlog import Setup
from eventlog.adapters import open_inspector, read_setup
from schemas.faults import Fault, NotReady
from schemas.ineffective import ineffective
from schemas.named_keys import read_named_keys
from schemas.settings import KEY_CHARACTERS_MIN, OWN_SECRETS, PREFIX, Settings
from schemas.terminal import quantity

if TYPE_CHECKING:
    from lake.catalog import Location
    from lake.checkup import Catalogue

T = TypeVar("T")

WITHIN_S = 10.0
CONNECT_WITHIN_S = 3
ANSWER_WITHIN_S = 2.0
CHECKS = (
    "settings",
    "log",
    "topic",
    "extensions",
    "catalogue",
    "files",
    "schema",
    "backups",
    "permissions",
    "clocks",
    "ports",
)
# The check without which another means nothing. All need settings that can be used.
NEEDS = {"topic": "log", "catalogue": "extensions", "files": "catalogue", "schema": "files"}
# What a check compares its own with, if that is in order.
AFTER = {
    "topic": ("catalogue",),
    "permissions": ("log", "catalogue"),
    "clocks": ("log", "catalogue"),
}


class Check(msgspec.Struct, frozen=True):
    """One thing that was checked: `detail` is what was found, and if it is wrong, what to do."""

    name: str
    state: Literal["ok", "wrong", "skipped"]
    detail: str


class Skipped(Exception):  # noqa: N818  (a result, not an error)
    """Something was not checked; the message says why."""


class Checkup:
    """The checks of one set of settings, each at once or as soon as those before it are done.

    `settings` is the fault of settings that cannot be read. `clock` is this machine's, to compare others with.
    """

    def __init__(self, settings: Settings | NotReady, *, clock: Callable[[], datetime]) -> None:
        self._read = settings
        self._settings = settings if isinstance(settings, Settings) else Settings()
        self._clock = clock
        self._is_usable = False
        self._setup: Setup | None = None
        self._catalogue: Catalogue | None = None

    async def run(self) -> list[Check]:
        """Check everything, and return what was found in the order of CHECKS."""
        self._running = {name: asyncio.create_task(self._check(name)) for name in CHECKS}
        return await asyncio.gather(*self._running.values())

    async def _check(self, name: str) -> Check:
        if name != "settings":
            await self._running["settings"]
            if not self._is_usable:
                return Check(name, "skipped", "not checked: the settings cannot be used")
        if (needed := NEEDS.get(name)) and (await self._running[needed]).state != "ok":
            return Check(name, "skipped", f"not checked: it needs `{needed}`")
        await asyncio.gather(*(self._running[other] for other in AFTER.get(name, ())))
        check: Callable[[], Awaitable[str]] = getattr(self, name)
        try:
            async with asyncio.timeout(WITHIN_S):
                return Check(name, "ok", await check())
        except Skipped as reason:
            return Check(name, "skipped", str(reason))
        except TimeoutError:
            return Check(name, "wrong", f"no answer within {WITHIN_S:g} s")
        except ModuleNotFoundError as error:
            return Check(name, "skipped", f"not checked: {remedy(error) or error}")
        except Exception as error:
            if not isinstance(error, (Fault, OSError, *lake_errors())):
                raise
            return Check(name, "wrong", in_words(error))

    async def settings(self) -> str:
        """All can be read, and none contradicts another."""
        if isinstance(self._read, NotReady):
            raise self._read
        with contextlib.suppress(ModuleNotFoundError):  # where the lake is not installed, none of its verbs runs
            self._place()
        self._is_usable = True
        if mistakes := ineffective(self._read) + _mistakes_of_keys(self._read):
            raise NotReady("\n".join(mistakes))
        return f"{len(self._read.model_fields_set)} are set, the others have their defaults"

    async def log(self) -> str:
        """The log answers: a broker, or the file."""
        self._setup = await read_setup(self._settings)
        settings = self._settings
        return f"{settings.kafka_bootstrap_servers if settings.log == 'kafka' else settings.data_dir} answers"

    async def topic(self) -> str:
        """The log is set up as the settings say, and has the partitions that the lake knows."""
        assert self._setup is not None
        partitions, mistakes = self._setup.partitions, list(self._setup.mistakes)
        if self._catalogue is not None and partitions is not None:
            mistakes += _unequal(partitions, len(self._catalogue.partitions))
        if mistakes:
            raise NotReady("\n".join(mistakes))
        if partitions is None:
            raise Skipped(self._setup.unknown or "nothing is known of it")
        return quantity(partitions, "partition") + (f"; {self._setup.unknown}" if self._setup.unknown else "")

    async def extensions(self) -> str:
        """DuckDB and its extensions are installed, in versions that fit."""
        from lake.catalog import extension_path, extensions

        names = extensions(self._place())
        for name in names:
            extension_path(name)
        return ", ".join(names)

    async def catalogue(self) -> str:
        """The catalogue answers, and is that of a lake of ours."""
        from lake.checkup import ask_catalogue

        place = self._place()
        self._catalogue = await in_thread(lambda: ask_catalogue(_hurried(place), clock=self._clock))
        return f"{place.catalog} has tables for {quantity(len(self._catalogue.partitions), 'partition')}"

    async def files(self) -> str:
        """One file of the lake can be read."""
        from lake.checkup import read_file

        assert self._catalogue is not None
        table, file = self._catalogue.table, self._catalogue.file
        if table is None or file is None:
            return "the lake has none yet"
        place = self._place()
        await in_thread(lambda: read_file(_hurried(place), table, file))
        return f"{file} was read"

    async def schema(self) -> str:
        """The lake has the schema of this program."""
        from lake.checkup import check_number
        from lake.schema import SCHEMA

        place = self._place()
        await in_thread(lambda: check_number(_hurried(place)))
        return f"number {SCHEMA}"

    async def backups(self) -> str:
        """The folder of backups answers, on this machine or on S3."""
        from lake.backup import folder_of_backups, last_made_at
        from lake.catalog import extension_path

        folder = folder_of_backups(self._settings)
        if self._settings.local_backups is None:
            extension_path("httpfs")
        made_at = await in_thread(lambda: last_made_at(folder, now=self._clock()))
        if made_at is None:
            return f"there is none yet in {folder}"
        return f"the newest in {folder} was made {made_at:%Y-%m-%d %H:%M} UTC"

    async def permissions(self) -> str:
        """This user may write all folders, append to the log and read it, and write the catalogue."""
        folders = self._folders()
        mistakes = [*dict.fromkeys(mistake for folder in folders if (mistake := _why_closed(folder)))]
        able = ", ".join(map(str, folders))
        if self._setup is not None:
            lacking = [reason for reason in (self._setup.no_append, self._setup.no_read) if reason]
            if len(lacking) == 2:
                mistakes += lacking
            elif lacking:  # enough for an ingest, or for a worker
                able += f"; {lacking[0]}"
        if self._catalogue is not None and not self._catalogue.may_write:
            mistakes.append(
                "the catalogue may only be read: let this user write it, or with PostgreSQL, let its role own the "
                "tables, and connect to the primary"
            )
        if mistakes:
            raise NotReady("\n".join(mistakes))
        return f"this user may write {able}"

    async def clocks(self) -> str:
        """This machine's clock agrees with the log's, the lake's and the ingests'."""
        from commands.diagnosis import fault_of_ingest_clock, fault_of_lake_clock, fault_of_log_clock
        from commands.ingests import ask_ingests

        mistakes = []
        compared = []
        if (newest_ms := await self._newest_record_ms()) is not None:
            mistakes.append(fault_of_log_clock(self._clock().timestamp() - newest_ms / 1000))
            compared.append("the newest record of the log")
        if (catalogue := self._catalogue) is not None:
            mistakes.append(fault_of_lake_clock(catalogue.clock_ahead_s, has_clock=catalogue.has_clock))
            compared.append("PostgreSQL" if catalogue.has_clock else "the newest snapshot of the lake")
        for ingest in await ask_ingests(self._settings.ingests()):
            mistakes.append(fault_of_ingest_clock(ingest))
            compared += [ingest.url] if ingest.fault is None else []
        if any(mistakes):
            raise NotReady("\n".join(filter(None, mistakes)))
        if not compared:
            raise Skipped("there is nothing to compare this machine's clock with")
        return f"compared with {', '.join(compared)}"

    async def ports(self) -> str:
        """The ports that Playhead listens on are free, or it listens on them already."""
        settings = self._settings
        wanted = [("HTTP_PORT", settings.http_host, settings.http_port, "/health/live", '"live"')]
        if settings.serves_metrics and settings.metrics_port is not None:  # else each process takes a free one
            wanted.append(("METRICS_PORT", settings.metrics_host, settings.metrics_port, "/health/live", "live"))
        if has_notebooks():
            wanted.append(("NOTEBOOKS_PORT", settings.notebooks_host, settings.notebooks_port, "/", "Playhead"))
        found = await asyncio.gather(*(_port(*one) for one in wanted), return_exceptions=True)
        mistakes = [str(one) for one in found if isinstance(one, BaseException)]
        if mistakes:
            raise NotReady("\n".join(mistakes))
        return "; ".join(map(str, found))

    def _place(self) -> "Location":
        from lake.catalog import location

        return location(self._settings)

    async def _newest_record_ms(self) -> int | None:
        """Return when the log's newest record was appended, by its clock; None if it has none."""
        if self._setup is None or not self._setup.partitions:
            return None
        inspector = open_inspector(self._settings)
        try:
            ends = {partition: view.end_offset for partition, view in (await inspector.look({})).items()}
            newest = await inspector.look({partition: end - 1 for partition, end in ends.items() if end})
        finally:
            await inspector.close()
        return max((view.record.appended_ms for view in newest.values() if view.record), default=None)

    def _folders(self) -> list[Path]:
        """Return the folders that Playhead writes to with these settings."""
        settings = self._settings
        folders = {settings.orphans, *([settings.local_backups] if settings.local_backups else [])}
        if settings.log == "embedded":
            folders.add(settings.data_dir.resolve())
        with contextlib.suppress(ModuleNotFoundError):
            place = self._place()
            folders |= {Path(place.files)} if place.is_local else set()
            folders |= {Path(place.catalog).parent} if place.kind == "sqlite" else set()
        return sorted(folders)


async def in_thread(work: Callable[[], T]) -> T:
    """Return what a function returns that runs in a thread; the process does not wait for it if it hangs."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def finish(put: Callable[..., None], what: object) -> None:
        if not done.done():
            put(what)

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001  (passed on)
            told: tuple[Callable[..., None], object] = (done.set_exception, error)
        else:
            told = (done.set_result, result)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(finish, *told)

    threading.Thread(target=run, daemon=True).start()
    return await done


def _unequal(in_log: int, in_lake: int) -> list[str]:
    """Return what is wrong if the log has more partitions than the lake has tables for, or fewer."""
    if in_log > in_lake:
        from commands.diagnosis import NO_TABLES

        return [f"partition {number}: {NO_TABLES}" for number in range(in_lake, in_log)]
    if in_log < in_lake:
        return [
            f"the log has {in_log} partitions, and the lake has tables for {in_lake}: it is another log, or one "
            f"that was made again; correct the settings, or run `playhead topics --partitions {in_lake}`"
        ]
    return []


def _mistakes_of_keys(settings: Settings) -> list[str]:
    """Return what is wrong with the keys of an ingest, if it has any; another process needs none."""
    mistakes = [
        f"{variable} is shorter than {KEY_CHARACTERS_MIN} characters: make a longer one"
        for variable in settings.short_keys()
    ]
    whole = with_kept_secrets(settings)
    there = {name for name in OWN_SECRETS if getattr(whole, name) is not None}
    try:
        if any(not key.is_revoked for key in read_named_keys(settings.file_of_named_keys)):
            there.add("api_keys")
    except NotReady as fault:
        mistakes.append(f"{fault}: restore it, or move it away and make new keys with `playhead keys add`")
    return mistakes + [
        f"{PREFIX}{name.upper()} is not set, though other keys of an ingest are"
        for name in OWN_SECRETS
        if there and name not in there
    ]


def _hurried(place: "Location") -> "Location":
    """Return a lake whose PostgreSQL has less time to answer."""
    if place.kind != "postgres" or "connect_timeout" in place.catalog:
        return place
    return msgspec.structs.replace(place, catalog=f"{place.catalog} connect_timeout={CONNECT_WITHIN_S}")


def _why_closed(folder: Path) -> str | None:
    """Return why a folder cannot be written, or made; None if it can."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        return f"{there} is no folder: move it away, or choose another"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"{there} cannot be written: let this user write it, or choose another folder"
    return None


async def _port(name: str, host: str, port: int, path: str, sign: str) -> str:
    """Return whether a port is free or Playhead listens there. Raises NotReady if something else does."""
    if port == 0:
        return f"{PREFIX}{name} takes any free port"
    try:
        listen(host, port, remedy=f"choose another {PREFIX}{name}, or stop what uses it").close()
    except NotReady:
        with contextlib.suppress(httpx.HTTPError):
            async with httpx.AsyncClient(timeout=ANSWER_WITHIN_S, trust_env=False) as client:
                if sign in (await client.get(url(host, port) + path, follow_redirects=True)).text:
                    return f"Playhead listens on {port}"
        raise
    return f"{port} is free"
