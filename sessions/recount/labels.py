"""What a session did, interval by interval, and from that a label for every millisecond of it."""

from sessions.recount.claims import Claims, Piece
from sessions.recount.content import SILENT_MS, Content, Run, tolerance_s
from sessions.recount.report import MOVES, Session

LIMITS_MS = {"content": 90_000, "join": 120_000, "buffer": 120_000, "ad-buffer": 120_000, "idle": 120_000}
RESUMED_MS = 5_000
OVER_MS = 1_000
DECIDING = ("chapter", "error", "sessionStart")


class Labels(Content):
    """The walk over all events: what each interval claims, and what silence, speed and evidence make of it."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.claims = Claims(session)
        self.moving = Run([0])
        self.pending: int | None = None  # a play after the ads of a break, which may be one of main content
        self.is_startup_unknown = False
        self.is_start_unsaid = False
        self.took_error = False
        self.closed: list[Piece] = []
        self.take(0)
        for i in range(1, len(self.events)):
            self.count(i)
            self.take(i)
        for since, until, _ in self.unmoved if self.played.ranges else []:
            self.stalls += 1
            self.paint(since, until, "stall")

    # ---- the event itself

    def take(self, i: int) -> None:
        """Take what an event does, and see which borders it is."""
        self.note_play(i)
        is_chapter = self.claims.take(i)
        self.note_chapter(i)
        ad = self.claims.ad
        if (
            ad is not None
            and self.claims.now() == "outside"
            and self.claims.main == "playing"
            and self.is_over(ad)
        ):
            ad.end(self.events[i].ms, "aborted")
            self.claims.ad = None
            self.claims.is_other_claim = True
        is_error = self.events[i].name == "error"
        is_play = self.events[i].name == "play"
        claim = self.claims.now()
        if i in self.claims.main_plays:
            self.count_head(i)
        is_border = self.claims.is_other_claim or (self.session.begins_at(i) and i > 0)
        if is_border or i == 0 or (is_chapter and not (self.freeze and self.freeze.is_decided)):
            self.freeze = None
            self.borders.add(i)
        if claim == "content" and (is_error or (is_play and self.took_error)):
            self.freeze = None
            self.borders.add(i)
        self.took_error = is_error or (self.took_error and not is_play)
        if is_border or i == 0 or is_chapter:
            self.moving = Run([i])
        names_rate = self.speed.name(i)
        if is_border or i == 0 or is_chapter or names_rate:
            self.speed.begin(i)

    def border(self, i: int) -> None:
        """An interval ends all runs."""
        self.borders.add(i)
        self.freeze = None
        self.moving = Run([i])

    def note_chapter(self, i: int) -> None:
        """A chapter that closes has what was content by then, whatever is found of it later."""
        for chapter in self.claims.chapters:
            if chapter.outcome != "open" and chapter not in self.closed:
                self.closed.append(chapter)
                for since, until, label in self.unmoved:
                    if label == "content" and not self.played.ranges:
                        chapter.kept_ms += max(0, until - max(since, chapter.since_ms))

    # ---- a play that comes after the ads of a break whose end is lost

    def note_play(self, i: int) -> None:
        event, claims = self.events[i], self.claims
        if event.name.startswith("ad") or event.name in MOVES:
            self.pending = None
        if event.name != "play" or claims.ad_break is None or claims.player != "playing":
            return
        if claims.ad is None:
            is_after_ads = bool(claims.ad_break.ads)
        else:
            played = self.sum_ms("ad", claims.ad.since_ms, event.ms)
            is_after_ads = claims.ad.length_ms > 0 and played >= claims.ad.length_ms - OVER_MS
        if is_after_ads:
            self.pending = i

    def look_at_pending(self, i: int) -> None:
        """Find out whether that play was one of main content: nothing of ads came for 5 s."""
        p = self.pending
        is_soon = p is not None and self.events[i].ms - self.events[p].ms < RESUMED_MS
        if p is None or (is_soon and not self.events[i].name.startswith(DECIDING)):
            return
        self.pending = None
        if self.events[i].name.startswith("ad") or self.claims.ad_break is None:
            return
        since, until = self.events[p].ms, self.events[i - 1].ms
        self.claims.resume(p, i, since)
        was, head = self.heads[p], self.heads[i - 1]
        if was is not None and head is not None:
            most = max(1.0, self.speed.rate) * (until - since) / 1000 + 2
            if 0 < head - was <= most:
                self.played.add((was, head))
        for k in (p, i - 1):
            self.count_head(k)
        for k in range(p + 1, i):
            self.played.note(k)
            self.paint(self.events[k].ms - self.session.length_ms(k), self.events[k].ms, "content")
        self.border(i - 1)
        self.speed.begin(i - 1)

    # ---- the interval before it

    def limit_ms(self, claim: str) -> float | None:
        if claim in ("ad", "outside"):
            assert self.claims.ad is not None
            return 120_000 + self.claims.ad.length_ms
        if claim == "idle" and self.claims.ad_break is None:
            return None
        return LIMITS_MS.get(claim)

    def count(self, i: int) -> None:
        self.look_at_pending(i)
        claim, length = self.claims.now(), self.session.length_ms(i)
        self.rates[i] = self.speed.rate
        self.claimed.append(claim)
        since, until = self.events[i].ms - length, self.events[i].ms
        limit = self.limit_ms(claim)
        is_over = limit is not None and length > limit
        self.played.begin()
        if claim == "content":
            self.count_head(i)
        is_paused = claim in ("pause", "buffer") and self.claims.started_at is not None
        if self.session.begins_at(i):
            is_main = claim == "outside" and self.is_main_content(i, 0)
            if claim == "content" or is_paused or is_main:
                self.played.look(i, plays=not is_paused)
            if is_main:
                self.count_head(i)
            return
        if is_over:
            self.count_silence(i, claim, since, until)
        elif claim == "content":
            self.count_content(i, since, until)
        else:
            self.count_other(i, claim, since, until, is_paused=is_paused)
        if is_over or claim != "content":
            self.speed.begin(i)

    def count_other(self, i: int, claim: str, since: int, until: int, *, is_paused: bool) -> None:
        """Something else than main content, as the player reports."""
        if is_paused:
            self.played.look(i, plays=False)
        if self.unsays(i, claim, since, until):
            return
        if claim == "ad":
            self.count_ad(since, until)
        elif claim == "outside":
            self.count_outside(i, since, until)
        else:
            self.paint(since, until, claim)

    def count_silence(self, i: int, claim: str, since: int, until: int) -> None:
        """Longer than the limit: unknown, but for content that played on as the playhead says."""
        if claim == "content" and self.is_borne_out(i, until - since):
            self.paint(since, until, "content")
            self.played.look(i)
        else:
            self.paint(since, until, "gap")
            if self.claims.started_at is None and claim in ("join", "buffer"):
                self.is_startup_unknown = True
        self.border(i)

    def count_ad(self, since: int, until: int) -> None:
        ad = self.claims.ad
        assert ad is not None
        stop = until
        if ad.length_ms:
            left = round(ad.length_ms) + 5_000 - self.sum_ms("ad", ad.since_ms, since)
            stop = min(until, since + max(0, left))
        self.paint(since, stop, "ad")
        self.paint(stop, until, "gap")

    def is_over(self, ad: Piece) -> bool:
        """Return whether an ad outside of a break has played as long as it may."""
        played = self.sum_ms("outside", ad.since_ms)
        return bool(ad.length_ms) and played >= round(ad.length_ms) + 5_000

    def is_main_content(self, i: int, length: int) -> bool:
        """Return whether main content plays, and not the ad outside of a break, as the playhead moved."""
        was, head = self.heads[i - 1], self.heads[i]
        if self.claims.main == "starting" or was is None or head is None or not self.session.is_recorded(i):
            return False
        return head < was or (head > was and (head - was) * 1000 >= length / 5)

    def count_outside(self, i: int, since: int, until: int) -> None:
        """An ad outside of a break, or main content all the same."""
        ad, main = self.claims.ad, "join" if self.claims.main == "starting" else "content"
        assert ad is not None
        if self.is_main_content(i, until - since):
            self.paint(since, until, "content")
            self.count_head(i)
            self.played.look(i)
            return
        stop = until
        if ad.length_ms:
            left = round(ad.length_ms) + 5_000 - self.sum_ms("outside", ad.since_ms, since)
            stop = min(until, since + max(0, left))
        self.paint(since, stop, "outside")
        self.paint(stop, until, main)

    # ---- something else, as the player reports

    def unsays(self, i: int, claim: str, since: int, until: int) -> bool:
        """Return whether by now the playhead says that main content plays, whatever the player says."""
        run = self.moving
        if claim == "outside" and self.claims.main != "starting":
            return False
        if run is None or not self.session.is_recorded(i):
            self.moving = Run([i])
            return False
        ms = self.events[i].ms - self.events[run.bases[-1]].ms
        if ms < 500:
            return False
        moved = self.moved_on(run.bases[-1], i, ms)
        if moved is None:
            self.moving = Run([i])
            return False
        if ms >= SILENT_MS and moved / self.speed.rate < ms / 1000 - tolerance_s(ms):
            run = self.moving = Run([run.bases[-1]])
        run.moves.append((run.bases[-1], moved / self.speed.rate))
        run.bases.append(i)
        run.seen.append(i)
        if not run.overrules(self.session):
            return False
        self.play_unsaid(i, claim, run)
        return True

    def moved_on(self, base: int, i: int, ms: int) -> float | None:
        was, head, rate = self.heads[base], self.heads[i], self.speed.rate
        if was is None or head is None:
            return None
        moved = head - was
        if not ms / 5 <= moved * 1000 <= max(2.06, rate) * ms + tolerance_s(ms) * 1000:
            return None
        return moved

    def play_unsaid(self, i: int, claim: str, run: Run) -> None:
        """Main content has been playing since before the first observation."""
        base, seconds = run.moves[0]
        since = self.events[run.seen[0]].ms - round(seconds * 1000)
        since = max(since, self.events[base].ms)
        self.paint(self.events[i - 1].ms, self.events[i].ms, claim)
        self.paint(since, self.events[i].ms, "content")
        self.played.forget_jumps(base, i)
        self.played.play(base, i)
        self.first_at = base if self.first_at is None else self.first_at
        self.count_head(i)
        if self.claims.started_at is None:
            self.is_start_unsaid = True
        self.claims.play_unsaid(i, since)
        self.border(i)
        self.speed.begin(i)
