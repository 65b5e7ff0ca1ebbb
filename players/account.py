"""What a viewer knows of its sessions: what it sent, and the replies."""

import httpx
import msgspec

from players.scripts import Script
from players.truth import Metrics, SessionTruth


class Progress(msgspec.Struct, frozen=True):
    """The progress of a run. `unknown` counts requests answered 5xx or not at all."""

    elapsed_s: float
    sessions_started: int
    sessions_ended: int
    accepted: int
    refused: int
    unknown: int


class Answer(msgspec.Struct, frozen=True):
    """The outcome of one body: the last reply below 500, if any, and how many tries may have had an effect."""

    response: httpx.Response | None
    unknown: int

    @property
    def status(self) -> int:
        return 0 if self.response is None else self.response.status_code

    @property
    def is_accepted(self) -> bool:
        return 200 <= self.status < 300


class Tally:
    """Everything that has happened in a run so far."""

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self.unknown_starts: list[int] = []
        self.tracking_sessions: list[str] = []
        self.tracking_deleted = 0
        self.accepted = 0
        self.refused = 0
        self.unknown = 0
        self.surprises: list[str] = []

    def expect(self, is_expected: bool, what: str) -> None:
        """Record a reply that the protocol does not provide for."""
        if not is_expected:
            self.surprises.append(what)


class Session:
    """One session in progress: what was sent, and the replies."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.start_ms = 0  # by the player's clock
        self.session_id = ""
        self.tracking_session_id: str | None = None
        self.tracking_token = ""
        self.accepted = 0
        self.unknown = 0
        self.refused = 0
        self.is_gone = False
        self.taken: set[int] = set()
        self.headers: dict[str, str] = {}

    def truth(self, *, began_ms: int) -> SessionTruth:
        persona = self.script.persona
        knows_user = persona.user_id_in != "tracking" or self.tracking_session_id is not None
        return SessionTruth(
            session_id=self.session_id,
            script=self.script.name,
            viewer=persona.viewer,
            accepted=self.accepted,
            unknown=self.unknown,
            refused=self.refused,
            is_offline=bool(persona.player.upload),
            is_ended=self.script.is_ended and self.script.steps[-1].number in self.taken,
            has_user_id=persona.may_be_known and knows_user,
            tracking_session_id=self.tracking_session_id,
            clock_offset_ms=persona.clock_offset_ms,
            metrics=self._metrics(began_ms),
        )

    def _metrics(self, began_ms: int) -> Metrics | None:
        """Return what is true after the last event taken, if nothing before it is missing or in doubt.

        True moments are known where a session was played in real time, wrong clocks included.
        """
        if self.unknown or self.refused or not self.taken or len(self.taken) != max(self.taken) + 1:
            return None
        taken = {step.number: step for step in self.script.steps if step.number in self.taken}
        newest = taken[len(taken) - 1]
        start_ms = self.start_ms - began_ms
        last_ms = start_ms + max(step.at_ms for step in taken.values())
        moments = {"start_ts": start_ms, "last_event_ts": last_ms}
        if newest.event_type == "sessionEnd":
            moments["end_ts"] = last_ms
        if self.script.is_glance:
            offset_ms = -self.script.persona.clock_offset_ms
            moments |= {
                "clock_offset_ms": offset_ms,
                "started_at": start_ms + offset_ms,
                "ended_at": last_ms + offset_ms,
            }
        return msgspec.structs.replace(newest.so_far, **moments)
