"""The command: `python -m soak --help`, with tests/ on the path."""

import argparse
import asyncio
import contextlib
import sys
import tempfile
from pathlib import Path

import soak
from soak.processes import wrong_clock
from soak.run import Plan
from soak.run import soak as run


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m soak", description=soak.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=20_000, help="events to have acknowledged, at least")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--ingests", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument(
        "--kafka", action="store_true", help="on a Kafka broker and a PostgreSQL server, which are killed as well"
    )
    parser.add_argument("--gently", action="store_true", help="end processes by SIGTERM instead of killing them")
    parser.add_argument(
        "--no-clocks", dest="clocks", action="store_false", help="start all processes with the right clock"
    )
    parser.add_argument(
        "--events-after-new-log", type=int, default=10_000, help="replace the log at the end; 0: it stays"
    )
    parser.add_argument("--data", type=Path, help="an empty folder; default: one that is made and removed")
    options = vars(parser.parse_args())
    if options["clocks"]:
        try:
            wrong_clock(1)
        except FileNotFoundError as error:
            print(f"all clocks stay right: {error}", file=sys.stderr)
            options["clocks"] = False
    with contextlib.ExitStack() as stack:
        folder = options.pop("data") or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        report = asyncio.run(run(Plan(**options), folder.absolute()))
    print(report)
    sys.exit(0 if report.is_clean else 1)


if __name__ == "__main__":
    main()
