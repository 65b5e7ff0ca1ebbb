"""What a process logs of an outage of the log."""

from structlog.testing import capture_logs

from eventlog.outage import QUIET_S, Outage


def told_of(*steps: tuple[float, str]) -> list[tuple[object, ...]]:
    """Return what is logged, in short, of moments: each is a failure for a reason, or, without one, a success."""
    outage = Outage("append")
    with capture_logs() as logs:
        for now_s, why in steps:
            if why:
                outage.failed(why, now_s=now_s)
            else:
                outage.worked(now_s=now_s)
    return [
        tuple(entry[name] for name in ("event", "error", "failures", "lasted_s") if name in entry)
        for entry in logs
    ]


def test_the_first_failure_is_told_with_its_cause_and_the_end_with_length_and_number() -> None:
    """Its length is from the first failure to the last."""
    assert told_of((5, ""), (10, "no broker"), (11, "no broker"), (12.5, "no leader"), (20, ""), (21, "")) == [
        ("log unavailable", "no broker"),
        ("log available again", 3, 2.5),
    ]


def test_an_outage_that_lasts_is_told_every_minute() -> None:
    """With what is known of it so far."""
    told = told_of(*((float(second), "no broker") for second in range(150)))
    assert told == [
        ("log unavailable", "no broker"),
        ("log still unavailable", "no broker", 61, 60.0),
        ("log still unavailable", "no broker", 121, 120.0),
    ]


def test_a_log_that_works_now_and_then_is_not_available_again() -> None:
    """One partition may have no leader while the others take records."""
    steps = [
        (at_s, why) for each in range(20) for at_s, why in ((each * 0.5, "no leader"), (each * 0.5 + 0.1, ""))
    ]
    assert [entry[0] for entry in told_of(*steps)] == ["log unavailable"]
    assert [entry[0] for entry in told_of(*steps, (9.5 + QUIET_S, ""))] == [
        "log unavailable",
        "log available again",
    ]


def test_a_second_outage_is_counted_by_itself() -> None:
    """Numbers begin again with each outage."""
    assert told_of((0, "a"), (2, ""), (10, "b"), (12, "")) == [
        ("log unavailable", "a"),
        ("log available again", 1, 0.0),
        ("log unavailable", "b"),
        ("log available again", 1, 0.0),
    ]
