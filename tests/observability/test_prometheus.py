"""Dashboard and alerts: known metrics, tested rules, and a real Prometheus that scrapes a real stack."""

import asyncio
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from rigs.brokers import free_ports
from rigs.logs import writing
from rigs.processes import Process
from rigs.programs import tool
from rigs.waiting import until
from rigs.watched_stack import Watched, watched_stack

from observability import catalogue
from schemas.settings import read_settings

PROJECT = Path(__file__).parents[2]
RULES = PROJECT / "observability" / "prometheus"
DASHBOARD = PROJECT / "observability" / "grafana" / "dashboards" / "playhead.json"
ALERTS = {
    rule["alert"]: rule
    for group in yaml.safe_load((RULES / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
}
# The log of this stack has no clock of its own.
WITHOUT_ANSWER = {"max(abs(playhead_ingest_clock_skew_seconds))", "playhead_ingest_clock_skew_seconds"}
SERIES = {"histogram": ("_bucket", "_count", "_sum")}
KNOWN = {f"{each.name}{end}" for each in catalogue.OURS for end in SERIES.get(each.type, ("",))}
KNOWN |= {each.name for each in catalogue.PROCESS}


def queries() -> list[str]:
    """Return the query of each curve and tile of the dashboard."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


@pytest.mark.parametrize("of", ["dashboard", "alerts"])
def test_every_metric_of_a_query_is_in_the_catalogue(of: str) -> None:
    """So none asks for what no process exports; and the dashboard shows each metric but the versions."""
    asked = " ".join(queries() if of == "dashboard" else [rule["expr"] for rule in ALERTS.values()])
    found = set(re.findall(r"\b(?:playhead|process)_\w+", asked))
    assert found <= KNOWN
    if of == "dashboard":
        shown = {each.name for each in catalogue.OURS if any(name.startswith(each.name) for name in found)}
        assert shown == {each.name for each in catalogue.OURS} - {catalogue.BUILD.name}


def test_every_alert_has_a_page_and_a_test() -> None:
    """A section of the runbook, with what it means and the cure; an anchor to it; numbers that fire it."""
    book = (PROJECT / "docs" / "runbook.md").read_text()
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", book, re.MULTILINE | re.DOTALL))
    assert sections.keys() == ALERTS.keys()
    tested = yaml.safe_load((RULES / "alerts_test.yml").read_text())["tests"]
    fired = {each["alertname"] for test in tested for each in test["alert_rule_test"] if each.get("exp_alerts")}
    assert fired == ALERTS.keys()
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"
        assert "**Meaning.**" in sections[name]
        assert "**Cure" in sections[name]


def test_the_rules_hold_what_they_promise() -> None:
    """`promtool` understands them, and each fires when it should, and not before."""
    for arguments in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run(
            [tool("promtool"), *arguments], cwd=RULES, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


class Prometheus:
    """A Prometheus that scrapes a stack each second, with our rules, whose alerts wait for nothing."""

    def __init__(self, folder: Path, stack: Watched) -> None:
        rules = re.sub(r"for: \w+", "for: 0s", (RULES / "alerts.yml").read_text())
        (folder / "alerts.yml").write_text(rules)
        jobs = [
            {"job_name": f"playhead-{verb}", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
            for verb, port in stack.ports.items()
        ]
        every = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        configuration = {"global": every, "rule_files": ["alerts.yml"], "scrape_configs": jobs}
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        (port,) = free_ports(1)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20)
        command = [
            tool("prometheus"),
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/db",
        ]
        self.process = Process([*command, f"--web.listen-address=127.0.0.1:{port}"], log=folder / "prometheus.log")

    def ask(self, query: str) -> list[dict[str, Any]]:
        """Return the answer to a query, as of now."""
        reply = self.client.get("/api/v1/query", params={"query": query}).json()
        assert reply["status"] == "success", (query, reply)
        result: list[dict[str, Any]] = reply["data"]["result"]
        return result

    def firing(self) -> dict[str, str]:
        """Return the summary of each alert that fires, by its name."""
        alerts = self.client.get("/api/v1/alerts").json()["data"]["alerts"]
        return {
            each["labels"]["alertname"]: each["annotations"]["summary"]
            for each in alerts
            if each["state"] == "firing"
        }

    def wait_for(self, alert: str, *, fires: bool = True) -> None:
        """Wait until an alert fires, or no longer does."""
        until(lambda: (alert in self.firing()) is fires, lambda: f"{alert}: {self.firing()}")


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Watched, Prometheus]]:
    """A stack, and a Prometheus that has scraped each of its processes."""
    tool("prometheus")
    with watched_stack(tmp_path_factory.mktemp("watched"), PLAYHEAD_WORKER_BAD_MAX="3") as stack:
        prometheus = Prometheus(tmp_path_factory.mktemp("prometheus"), stack)
        try:
            until(lambda: prometheus.client.get("/-/ready").is_success)
            # Rates need two scrapes.
            until(lambda: len(prometheus.ask("count_over_time(up[1m]) > 2 and up == 1")) == len(stack.ports))
            yield stack, prometheus
        finally:
            prometheus.client.close()
            prometheus.process.kill_all()


def test_every_query_of_the_dashboard_has_an_answer(watched: tuple[Watched, Prometheus]) -> None:
    """Over a stack that is well; only what a log without a clock cannot tell is empty."""
    _, prometheus = watched
    asked = [query.replace("$__rate_interval", "1m") for query in queries()]
    assert {query for query in asked if not prometheus.ask(query)} == WITHOUT_ANSWER


def test_alerts_fire_while_a_fault_is_there(watched: tuple[Watched, Prometheus]) -> None:
    """None for a stack that is well; then a halted partition, a log and backups that are away, a dead worker."""
    stack, prometheus = watched
    assert prometheus.firing() == {}
    asyncio.run(append_garbage(stack))
    prometheus.wait_for("PartitionHalted")
    assert prometheus.firing()["PartitionHalted"] == "partition 0 is halted: flood"
    for name, alert in (("log.sqlite", "LogDown"), ("backups", "BackupOld")):
        away = stack.cwd / "data" / name
        away.rename(stack.cwd / name)
        prometheus.wait_for(alert)
        (stack.cwd / name).rename(away)
        prometheus.wait_for(alert, fires=False)
    stack.processes["worker"].kill()
    until(lambda: {"ProcessDown", "PartitionUnread"} <= prometheus.firing().keys())
    assert prometheus.firing()["PartitionUnread"] == "workers hold only 0 partitions of the log"


async def append_garbage(stack: Watched) -> None:
    """Append more records that are no events than a partition may have."""
    async with writing(read_settings({**stack.settings, "PLAYHEAD_DATA_DIR": str(stack.cwd / "data")})) as writer:
        for _ in range(7):
            await writer.append(0, key=b"", value=b"?")
