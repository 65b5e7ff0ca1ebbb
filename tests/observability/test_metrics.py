"""What a process tells Prometheus and probes, on a port of its own: the catalogue, and nothing else."""

from pathlib import Path

import httpx
import pytest
from rigs.commands import SECRETS, failed, playhead
from rigs.ingest import running
from rigs.waiting import until
from rigs.watched_stack import VERBS, Watched

from observability import catalogue
from observability.catalogue import Metric, Verb
from observability.meter import Meter

PAGE = Path(catalogue.__file__).with_name("METRICS.md")
# Without a number on a stack over SQLite that is well: this log has no clock of its own; no partition is halted.
# tests/consumers/test_clocks.py has the first on Kafka, test_worker_metrics.py the second.
WITHOUT_NUMBERS = {catalogue.CLOCK_SKEW, catalogue.HALTED}
OF_INGEST = {**SECRETS, "PLAYHEAD_HTTP_PORT": "0"}


@pytest.mark.parametrize("verb", VERBS)
def test_a_process_exports_each_metric_of_the_catalogue_and_none_else(stack: Watched, verb: Verb) -> None:
    """Name, type, labels and meaning are those of the catalogue, and what has happened has numbers."""
    families = stack.families(verb)
    metrics = {metric.name: metric for metric in catalogue.of_verb(verb)}
    assert families.keys() == metrics.keys()
    for name, metric in metrics.items():
        family = families[name]
        assert (family.type, family.documentation) == (metric.type, metric.meaning), name
        assert bool(family.samples) is (metric not in WITHOUT_NUMBERS), name
        for sample in family.samples:
            assert sample.labels.keys() - {"le"} == set(metric.labels), name


def test_the_numbers_are_those_of_what_was_posted(stack: Watched) -> None:
    """From the request to the row: four events accepted and stored, one session closed, one body in quarantine."""
    assert stack.value("ingest", "playhead_ingest_received_total", protocol="media") == 5
    assert stack.value("ingest", "playhead_ingest_request_seconds_count", protocol="media") == 5
    assert stack.value("ingest", "playhead_ingest_in_flight") == 0
    assert stack.value("ingest", "playhead_ingest_append_seconds_count") == 4
    assert stack.value("ingest", "playhead_ingest_log_up") == 1
    bodies = stack.value("ingest", "playhead_ingest_received_bytes_total")
    assert bodies is not None
    assert 500 < bodies < 2_000
    until(lambda: stack.value("worker", "playhead_worker_read_records_total", partition="0") == 5)
    refused = {"source": "ingest", "reason": "not_json"}
    until(lambda: stack.value("worker", "playhead_worker_quarantined_total", **refused) == 1)
    assert stack.value("worker", "playhead_worker_stored_records_total") == 4
    assert stack.value("worker", "playhead_worker_flagged_total") == 1
    assert stack.value("worker", "playhead_worker_lag_records", partition="0") == 0
    assert stack.value("worker", "playhead_worker_lag_seconds", partition="0") == 0
    assert stack.value("worker", "playhead_worker_partitions") == 1
    fresh_s = stack.value("worker", "playhead_worker_freshness_seconds_sum")
    assert fresh_s is not None
    assert 0 < fresh_s < 30
    for verb in ("worker", "upkeep"):
        assert stack.value(verb, "playhead_lake_files"), verb


@pytest.mark.parametrize("verb", VERBS)
def test_a_process_that_is_well_answers_each_health_route(stack: Watched, verb: str) -> None:
    """With the name of what was asked, and nothing that is wrong."""
    for name in ("live", "ready", "flow"):
        reply = stack.ask(verb, f"/health/{name}")
        assert (reply.status_code, reply.json()) == (200, {"status": name, "wrong": []})


def test_players_see_no_metrics(stack: Watched) -> None:
    """Health is where a proxy looks, metrics are not; and the operators' port has nothing of the players'."""
    assert stack.players.get("/metrics").status_code == 404
    assert stack.players.get("/health/live").status_code == 200
    assert stack.players.get("/health/ready").status_code == 200
    reply = stack.ask("ingest", "/api/v1/sessions")
    assert (reply.status_code, reply.text) == (404, "/metrics /health/live /health/ready /health/flow\n")


def test_a_process_that_hangs_does_not_answer(stack: Watched) -> None:
    """So a probe of it fails; it goes on where it was."""
    worker = stack.processes["worker"]
    worker.pause()
    try:
        with pytest.raises(httpx.TimeoutException):
            httpx.get(f"http://127.0.0.1:{stack.ports['worker']}/health/live", timeout=0.3)
    finally:
        worker.resume()
    assert stack.ask("worker", "/health/live").status_code == 200


def test_the_first_free_port_is_taken(tmp_path: Path) -> None:
    """Two processes of one machine need no setting; a port that a setting names must be free; `off` opens none."""
    with running(tmp_path / "a", metrics_port="") as first, running(tmp_path / "b", metrics_port="") as second:
        taken = [set(each.process.ports()) - {each.port} for each in (first, second)]
        ports = set().union(*taken)
        assert len(ports) == 2
        assert ports <= set(range(9410, 9420))
        port = min(ports)
        done = playhead("ingest", cwd=tmp_path, settings={**OF_INGEST, "PLAYHEAD_METRICS_PORT": str(port)})
        assert f"cannot serve metrics on 127.0.0.1:{port}: address already in use" in failed(done)
    with running(tmp_path / "a", metrics_host="off") as ingest:
        assert ingest.process.ports() == [ingest.port]


def test_an_ingest_without_its_log_is_live_and_not_ready(tmp_path: Path) -> None:
    """Ready and flow fail on both ports, and the gauge is 0, until the log can be reached again."""
    with running(tmp_path / "data", log_append_timeout_s=1) as ingest:
        assert ingest.count("playhead_ingest_log_up") == 1
        log = tmp_path / "data" / "log.sqlite"
        log.rename(tmp_path / "elsewhere")
        until(lambda: ingest.count("playhead_ingest_log_up") == 0)
        assert ingest.client.get("/health/ready").status_code == 503
        for path, status in (("/health/ready", 503), ("/health/flow", 503), ("/health/live", 200)):
            assert ingest.ask(path).status_code == status, path
        assert "log unavailable" in ingest.ask("/health/flow").json()["wrong"][0]
        (tmp_path / "elsewhere").rename(log)
        until(lambda: ingest.ask("/health/flow").status_code == 200)
        assert ingest.count("playhead_ingest_log_up") == 1


def test_a_meter_knows_only_its_catalogue() -> None:
    """A metric of another verb, or other labels than the catalogue has, are mistakes of ours."""
    meter = Meter("ingest")
    with pytest.raises(KeyError):
        meter.number(catalogue.DUPLICATES)
    with pytest.raises(ValueError, match="has the labels"):
        meter.number(catalogue.REFUSED, "not_json")


@pytest.mark.parametrize("metric", catalogue.OURS, ids=lambda metric: metric.name)
def test_a_name_says_unit_and_type(metric: Metric) -> None:
    """As Prometheus has it: the unit last, `_total` for counters, base units."""
    name = metric.name.removesuffix("_total")
    assert metric.name.endswith("_total") is (metric.type == "counter")
    assert metric.name.startswith("playhead_")
    if metric.unit in ("seconds", "bytes"):
        assert name.endswith(f"_{metric.unit}")
    assert bool(metric.bounds) is (metric.type == "histogram")


def test_the_page_of_the_catalogue_is_as_generated() -> None:
    """`python -m observability.catalogue` writes it."""
    assert PAGE.read_text() == catalogue.page()
