"""What the player says that it does, from one event to the next."""

from dataclasses import dataclass, field

from sessions.recount.report import MOVES, Session, positive

ENDS_OF_AD = {"adComplete": "completed", "adSkip": "skipped"}
ENDS_OF_CHAPTER = {"chapterComplete": "completed", "chapterSkip": "skipped"}


@dataclass(eq=False)
class Piece:
    """An ad, a break or a chapter: since when, until when (None: open), how it ended."""

    since_ms: int
    length_ms: float = 0.0
    is_outside: bool = False
    until_ms: int | None = None
    outcome: str = "open"
    kept_ms: int = 0  # content when a chapter closed, which was found to be none later
    ads: list["Piece"] = field(default_factory=list)

    def end(self, ms: int, outcome: str) -> None:
        self.until_ms, self.outcome = ms, outcome


class Claims:
    """The player by its own report, event by event."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.main = "starting"
        self.player = "playing"  # of the break
        self.ad_break: Piece | None = None
        self.ad: Piece | None = None
        self.chapter: Piece | None = None
        self.started_ms: int | None = None
        self.started_at: int | None = None
        self.breaks: list[Piece] = []
        self.ads: list[Piece] = []
        self.chapters: list[Piece] = []
        self.pauses: list[int] = []
        self.buffers: list[int] = []
        self.rebuffers: list[int] = []
        self.main_plays: list[int] = []
        self.mains: list[str] = []  # what main content did after each event

    def now(self) -> str:
        """What it claims until the next event."""
        if self.ad_break is not None:
            if self.player == "playing":
                return "idle" if self.ad is None else "ad"
            return "ad-pause" if self.player == "paused" else "ad-buffer"
        if self.ad is not None and self.main in ("starting", "playing"):
            return "outside"
        labels = {"starting": "join", "playing": "content", "paused": "pause", "buffering": "buffer"}
        return labels.get(self.main, "idle")

    def place(self) -> tuple[str, Piece | None, Piece | None]:
        """Return what must change for a claim to be another one."""
        claim = self.now()
        return claim, self.ad if claim in ("ad", "outside") else None, self.ad_break

    def take(self, i: int) -> bool:
        """Take an event; return whether it is a border: of an ad, a chapter, of another claim."""
        event, before = self.session.events[i], self.place()
        is_border = False
        self.take_ads(i)
        if event.name == "chapterStart" or (event.name in ENDS_OF_CHAPTER and self.chapter is not None):
            is_border = True
            if self.chapter is not None:
                self.chapter.end(event.ms, ENDS_OF_CHAPTER.get(event.name, "aborted"))
            self.chapter = Piece(event.ms) if event.name == "chapterStart" else None
            self.chapters += [self.chapter] if self.chapter is not None else []
        if event.name in MOVES:
            self.move(i, MOVES[event.name])
        if event.name == "sessionComplete":
            self.main = "idle"
        if event.name == "sessionEnd":
            for piece in (self.ad, self.ad_break, self.chapter):
                if piece is not None:
                    piece.end(event.ms, "aborted")
        self.mains.append(self.main)
        self.is_other_claim = before != self.place()
        return is_border

    def take_ads(self, i: int) -> None:
        event = self.session.events[i]
        if event.name in ENDS_OF_AD and self.ad is not None:
            self.ad.end(event.ms, ENDS_OF_AD[event.name])
            self.ad = None
        elif event.name == "adBreakComplete" and self.ad_break is not None:
            self.leave_break(event.ms, "completed")
        elif event.name == "adBreakStart":
            self.leave_break(event.ms, "aborted")
            self.ad_break = Piece(event.ms)
            self.breaks.append(self.ad_break)
            self.player = "playing"
        elif event.name == "adStart":
            if self.ad is not None:
                self.ad.end(event.ms, "aborted")
            length_s = positive(event.params.get("media.ad.length")) or 0.0
            self.ad = Piece(event.ms, length_s * 1000, is_outside=self.ad_break is None)
            self.ads.append(self.ad)
            if self.ad_break is not None:
                self.ad_break.ads.append(self.ad)
            self.player = "playing"

    def leave_break(self, ms: int, outcome: str) -> None:
        if self.ad is not None:
            self.ad.end(ms, "aborted")
            self.ad = None
        if self.ad_break is not None:
            self.ad_break.end(ms, outcome)
            self.ad_break = None

    def move(self, i: int, to: str) -> None:
        """Take a play, a pause or a start of buffering, of main content or of the break's player."""
        event = self.session.events[i]
        of_ads = self.ad_break is not None and (to != "paused" or event.ms != self.ad_break.since_ms)
        was = self.player if of_ads else self.main
        if of_ads:
            self.player = to
        else:
            self.main = to
        if to == "playing":
            if not of_ads:
                self.main_plays.append(i)
                self.start(i, event.ms)
        elif was != to:
            (self.pauses if to == "paused" else self.buffers).append(i)
            if to == "buffering" and not of_ads and self.started_at is not None:
                self.rebuffers.append(i)

    def start(self, i: int, ms: int) -> None:
        if self.started_at is None:
            self.started_at, self.started_ms = i, ms

    def resume(self, p: int, i: int, ms: int) -> None:
        """The play with index `p`, in a break, was one of main content; that is known at the event `i`."""
        self.leave_break(ms, "aborted")
        self.main = "playing"
        self.main_plays.append(p)
        self.start(p, ms)
        self.mains[p:i] = ["playing"] * (i - p)

    def play_unsaid(self, i: int, ms: int) -> None:
        """Main content plays since `ms`, by the playhead."""
        self.leave_break(ms, "aborted")
        self.main = "playing"
        self.start(i, ms)
