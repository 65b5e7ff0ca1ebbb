"""How wrong the numbers are, by kind of session and for a realistic mix: `make truth SESSIONS=20000`.

Each kind is played equally often, long ones less; in the mix each counts by its share. An error is how far a
number is from what the viewer saw, as far as the events show it (`players/screen.py`); `unknown` means that a
number is missing, or given although nobody can know it. Exits with 1 if a number is out of bounds.
"""

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from rigs.viewed import TOTAL_ERROR_MAX, Judged, events_of, judge, mix_of, quantile

from players.kinds import KINDS, play_kind
from sessions.fold import fold_all

PRINTED = ("watch", "startup", "rebuffer", "ad", "unique")


def as_text(seconds: float) -> str:
    """Return an error as it is printed."""
    return "unknown" if seconds == float("inf") else f"{seconds:.1f}"


def line_of(kind: str, judged: list[Judged]) -> str:
    """Return a row of the table: median, p99 and worst of each error, and how many sessions are out of bounds."""
    cells = []
    for name in PRINTED:
        errors = [(abs(each.errors_s[name]), 1.0) for each in judged]
        cells.append(" / ".join(as_text(quantile(errors, share)) for share in (0.5, 0.99, 1.0)))
    return f"| {kind} | {len(judged)} | {' | '.join(cells)} | {sum(bool(each.out) for each in judged)} |"


def show(kind: str, seed: int, number: int) -> None:
    """Print the events of one session in the order of arrival, what the viewer saw, and what is wrong."""
    sent, seen = play_kind(kind, seed, number)
    for each in sent:
        at_s, delay_s = (each.ts_ms - sent[0].ts_ms) / 1000, (each.received_ms - each.ts_ms) / 1000
        print(f"{at_s:12.3f} {each.event_type:16} h{each.playhead_s:<12} +{delay_s:.3f}")
    facts = fold_all(events_of(sent))
    print(seen, facts, *judge(kind, seed, number).out, sep="\n")


def main() -> int:
    """Play, fold, and print. Return 1 where a number is out of bounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--kind", default="", help="only kinds with this in their name, with what is wrong in each"
    )
    parser.add_argument("--show", nargs=3, metavar=("KIND", "SEED", "NUMBER"), help="one session and its facts")
    asked = parser.parse_args()
    if asked.show:
        show(asked.show[0], int(asked.show[1]), int(asked.show[2]))
        return 0
    began_s = time.monotonic()
    kinds = [kind for kind in KINDS if asked.kind in kind]
    shares = {kind: 0.1 if KINDS[kind].is_long else 1.0 for kind in KINDS}  # long ones have thousands of events
    counts = {kind: max(1, round(asked.sessions * shares[kind] / sum(shares.values()))) for kind in kinds}
    with ProcessPoolExecutor(2) as pool:
        jobs = {
            kind: pool.map(partial(judge, kind, asked.seed), range(count), chunksize=1 + count // 4)
            for kind, count in counts.items()
        }
        judged = {kind: list(job) for kind, job in jobs.items()}
    print("Errors in seconds: median / p99 / worst\n")
    print(f"| kind | sessions | {' | '.join(PRINTED)} | out of bounds |")
    print("|---|" + "---|" * (len(PRINTED) + 2))
    for kind, sessions in judged.items():
        print(line_of(kind, sessions))
        if asked.kind:
            print(*(f"  {each.number}: {each.out}" for each in sessions if each.out), sep="\n")
    mix = mix_of(judged)
    is_out = any(each.out for sessions in judged.values() for each in sessions)
    print(f"\nMix of {len(kinds)} kinds by their shares: total watch time {mix.total_error:+.3%};")
    print(f"p99 of a session's watch time {mix.p99_s:.1f} s, {mix.p99_intervals:.2f} of its ping interval.")
    print(f"{sum(counts.values()):,} sessions in {time.monotonic() - began_s:.0f} s.")
    return int(is_out or abs(mix.total_error) > TOTAL_ERROR_MAX or mix.p99_intervals > 1.0)


if __name__ == "__main__":
    sys.exit(main())
