"""The verb `simulate`: plays viewers for a while, shows progress, and writes down what is true."""

import asyncio
import signal
from pathlib import Path

import structlog

from players.account import Progress
from players.truth import write_truth
from players.viewers import simulate

logger = structlog.get_logger(__name__)


async def play(
    url: str,
    *,
    viewers: int,
    for_s: float,
    seed: int,
    api_key: str | None,
    media_key: str | None,
    report: Path | None,
) -> None:
    """Play until time is over or SIGTERM or SIGINT arrives; then write the report, if one is wanted."""
    playing = asyncio.create_task(
        simulate(
            url=url,
            viewers=viewers,
            for_s=for_s,
            seed=seed,
            api_key=api_key,
            media_key=media_key,
            report_progress=_tell,
        )
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, playing.cancel)
    truth = await playing
    if report is not None:
        write_truth(truth, report)
    logger.info(
        "played",
        accepted=truth.accepted,
        sessions=len(truth.sessions),
        refused=truth.refused,
        unknown=truth.unknown,
    )


def _tell(progress: Progress) -> None:
    logger.debug("playing", progress=str(progress))
