"""`playhead verify`: prints the findings of the check of lake and log, or of the recount of sessions."""

import asyncio
import secrets

from rich.console import Console
from rich.text import Text

from commands.as_json import print_json
from consumers.waiting import look
from lake.audit import audit
from lake.catalog import location
from lake.verify import verify
from schemas.settings import Settings
from schemas.terminal import printable, quantity


def print_verdict(settings: Settings, *, within_s: float | None, as_json: bool) -> bool:
    """Check lake and log, print the findings, and return whether there are none.

    Records now in the log may take `within_s` to reach the lake; with None the log is not checked.
    """
    waiting, findings = ([], []) if within_s is None else asyncio.run(look(settings, within_s=within_s))
    verdict = verify(location(settings))
    findings += verdict.findings
    if as_json:
        whole = {"partitions": verdict.partitions, "findings": findings, "log": waiting}
        print_json(whole)
        return not findings
    console = Console(soft_wrap=True)
    for count in verdict.partitions:
        console.print(
            f"partition {count.partition}: offsets {count.first_offset} to {count.next_offset}: "
            f"{quantity(count.events, 'event')}, {count.quarantined:,} quarantined, "
            f"{quantity(count.duplicates, 'duplicate')}, "
            f"{count.lost} lost, {count.removed} removed"
        )
    for one in waiting:
        if one.records:
            console.print(f"partition {one.partition}: {quantity(one.records, 'record', 'wait')} in the log")
    for finding in findings:
        console.print(Text(finding.code, "red"), Text(printable(finding.where_and_what)))
    console.print("broken" if findings else "all is well: every offset is stored exactly once")
    return not findings


def print_recount(settings: Settings, *, sample: int, seed: int | None, as_json: bool) -> bool:
    """Recount sessions independently, print the differences, and return whether there are none.

    Without a seed, the sample differs each time.
    """
    seed = secrets.randbelow(1 << 32) if seed is None else seed
    found = audit(location(settings), sample=sample, seed=seed, length_ms=int(settings.session_length_s * 1000))
    if as_json:
        print_json(found)
        return not found.differences
    console = Console(soft_wrap=True)
    for one in found.differences:
        name = f"{one.session_id[:16]} version {one.version}: {one.metric}"
        text = printable(f"{name} is {one.lake} in the lake, recounted {one.recounted}")
        console.print(Text(text, "red"))
    console.print(
        f"{quantity(found.recounted, 'closed session')} recounted (seed {seed}), "
        f"{quantity(found.numbers, 'number')}, "
        f"{quantity(len(found.differences), 'difference')}; {quantity(found.passed_over, 'session')} passed over"
    )
    return not found.differences
