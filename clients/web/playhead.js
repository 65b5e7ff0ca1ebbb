/**
 * Tells Playhead what a <video> or <audio> element does. One call attaches it: `playhead(video, {url, content})`.
 *
 * The element's own events and properties are the only source; nothing is patched. Three parts: the clock, the
 * outbox of a session (what is sent, and sent again), and the watcher of the element (what happened, and where).
 *
 * Copyright Playhead's authors; licensed under the Apache License, Version 2.0.
 */

export const VERSION = "0.1.0";

const PING_MS = 10_000;
const AD_PING_MS = 1_000;
const TICK_MS = 1_000;
const PAUSE_MS_MAX = 30 * 60_000;
const SESSION_MS_MAX = 24 * 3_600_000 - 60_000; // the server takes nothing for a session of 24 h
const METADATA_MS_MAX = 10_000;
const ANSWER_MS_MAX = 20_000;
const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 30_000;
const EVENTS_WAITING_MAX = 1_000;
const KEPT_ALIVE_MAX = 60_000;
const CLOCK_BACK_MS = 1_000;
const LATE_MS_MIN = 100;
const LATE_MS_MAX = 2_000;
const LOOP_S = 1;
const SAME_S = 0.001;
const DAY_S = 86_400;

/**
 * What is played: `id`, `name`, and any other key of a sessionStart without its `media.` (`show`, `genre`,
 * `pass.mvpd`). `length` (seconds) and `contentType` (`vod`, `live`, ...) are read from the element if they are left
 * out. `metadata` is custom metadata.
 * @typedef {{id: string, name?: string, length?: number, contentType?: string, streamType?: "video" | "audio",
 *   resume?: boolean, metadata?: Record<string, string>, [key: string]: unknown}} Content
 */
/**
 * An answer to one event, for `debug`: the event as it was sent, the HTTP status (0: no answer; it is sent again),
 * the server's words (empty if it accepted the event), and the id of the session, if it has one yet.
 * @typedef {{event: SentEvent, status: number, words: string, session: string | null}} Said
 */
/**
 * @typedef {{eventType: string, playerTime: {playhead: number, ts: number}, params?: Record<string, unknown>,
 *   qoeData?: Record<string, unknown>, customMetadata?: Record<string, string>}} SentEvent
 */
/**
 * - `url`: the address of Playhead's ingest, such as `https://events.example`.
 * - `content`: what is played, or a function that says so whenever a viewing begins.
 * - `player`, `channel`: names of this player and of its site or app; by default `playhead.js` and the page's host.
 * - `params`: any other keys of the sessionStart, with their whole names (`analytics.reportSuite`).
 * - `consent`: true or false as the viewer decided; left out: not asked. `userId` is only sent if it is true.
 * - `apiKey`: sent as `X-API-Key`, if the server wants one. Each session then takes a second preflight.
 * - `debug`: true prints each answer of the server; a function gets it.
 * @typedef {{url: string, content: Content | (() => Content), player?: string, channel?: string,
 *   params?: Record<string, unknown>, consent?: boolean, userId?: string, apiKey?: string,
 *   debug?: boolean | ((said: Said) => void)}} Options
 */
/**
 * An ad break. Keys of the protocol without `media.ad.`; by default breaks are counted, and begin where content is.
 * @typedef {{podIndex?: number, podSecond?: number, podFriendlyName?: string,
 *   metadata?: Record<string, string>, [key: string]: unknown}} AdBreak
 */
/**
 * An ad. Keys of the protocol without `media.ad.`; by default the ads of a break are counted.
 * @typedef {{id: string, length: number, name?: string, podPosition?: number, playerName?: string,
 *   metadata?: Record<string, string>, [key: string]: unknown}} Ad
 */
/**
 * A chapter. Keys of the protocol without `media.chapter.`.
 * @typedef {{index: number, offset: number, length: number, friendlyName?: string,
 *   metadata?: Record<string, string>, [key: string]: unknown}} Chapter
 */
/** @typedef {{complete(): void, skip(): void}} OpenChapter */
/** @typedef {{complete(): void, skip(): void, pause(): void, buffer(): void, play(): void}} OpenAd */
/** @typedef {{complete(): void}} OpenBreak */
/**
 * What a player is told besides what its element shows.
 * - `adBreak`, `ad`, `chapter` begin one, and return what ends it. An ad outside of a break gets a break of its own.
 * - `state` begins or ends a state of the player: `fullscreen`, `mute`, `closedCaptioning`, `pictureInPicture`, ...
 * - `error` reports an error that the element does not show.
 * - `quality` tells what is known of quality: `bitrate` (bit/s), `droppedFrames`, `framesPerSecond`.
 * - `end` ends the session; the element is no longer watched.
 * - `session` is the id of the session, once the server has given one.
 * @typedef {{adBreak(of?: AdBreak): OpenBreak, ad(of: Ad): OpenAd, chapter(of: Chapter): OpenChapter,
 *   state(name: string, isOn: boolean): void, error(id: string, source?: "player" | "external"): void,
 *   quality(values: Record<string, number>): void, end(): void, readonly session: string | null}} Handle
 */
/** What makes an event: its type, and what else is in it. @typedef {[string, Partial<SentEvent>?]} Made */
/** An event that waits, its text, and what has to be told of a new session before it. @typedef {{event: SentEvent, body: string, before: Made[]}} Waiting */
/** @typedef {ReturnType<typeof outbox>} Outbox */

/** @type {WeakMap<HTMLMediaElement, Handle>} */
const handles = new WeakMap();

/**
 * Return a clock whose times, ms UTC, always increase: the server sorts by them.
 *
 * A clock that is set back while the page is open would stand still here; so it goes on from where it was.
 */
function increasingClock() {
  let last = 0;
  let ahead = 0;
  let wall = 0;
  let steady = 0;
  return (ago_ms = 0) => {
    const now = Date.now();
    const passed = performance.now() - steady;
    if (wall && now - wall < passed - CLOCK_BACK_MS) ahead += wall + passed - now;
    wall = now;
    steady += passed;
    return (last = Math.max(last + 1, Math.round(now + ahead - ago_ms)));
  };
}

/**
 * Make what sends the events of one session, one at a time, in their order.
 *
 * The first event is the sessionStart. What gets no answer, or one that says so, is sent again with the same body:
 * the server knows repeated events, and a repeated start by its key.
 * @param {Options} options
 * @param {(from: Outbox) => void} onLost called where the server does not know the session, or takes no more of it
 */
function outbox(options, onLost) {
  const api = options.url.replace(/\/+$/, "") + "/api/v1";
  const url = api + "/sessions";
  const key = Math.random().toString(36).slice(2) + Math.random().toString(36).slice(2);
  /** @type {Record<string, string>} */
  const usual = options.apiKey ? { "X-API-Key": options.apiKey } : {};
  const first = { ...usual, "Idempotency-Key": key };
  let isSending = false;
  let isInFlight = false;
  let failures = 0;

  const self = {
    /** @type {Waiting[]} */
    waiting: [],
    /** @type {string | null} */
    id: null,
    isReady: false,
    isLeaving: false,
    isOver: false,
    accepted: 0,

    /** Send an event after all others. @param {SentEvent} event @param {Made[]} before */
    add(event, before) {
      if (self.isOver || (event.eventType === "ping" && self.waiting.length >= EVENTS_WAITING_MAX)) return;
      self.waiting.push({ event, body: JSON.stringify(event), before });
      send();
    },

    /** Begin to send. */
    open() {
      self.isReady = true;
      send();
    },

    /** Hand all that waits to the browser, as the page goes away: nothing can be sent again after this. */
    leave() {
      const all = self.waiting.map(({ body }) => body);
      const rest = all.slice(isInFlight ? 1 : 0);
      self.close();
      if (self.id) for (const body of rest) sendLast(`${url}/${self.id}/events`, body);
      // Without an answer events have no address. If the start was tried in vain, all goes as one array; should it have
      // arrived, the server knows it again. One that was never tried goes alone, since an array counts as a download.
      else if (failures) sendLast(`${api}/downloaded`, `[${all}]`);
      else if (rest.length === all.length && all.length) sendLast(url, all[0]);
    },

    /** Forget all that waits. */
    close() {
      self.isOver = true;
      self.waiting = [];
    },
  };

  /** Send something whose answer nobody will read. @param {string} to @param {string} body */
  function sendLast(to, body) {
    if (options.apiKey) fetch(to, { method: "POST", body, headers: usual, keepalive: true }).catch(() => {});
    else navigator.sendBeacon(to, body);
  }

  /** @param {Waiting} item @param {number} status @param {string} words */
  function say({ event }, status, words) {
    const { debug } = options;
    const session = self.id;
    if (typeof debug === "function") queueMicrotask(() => debug({ event, status, words, session }));
    else if (debug) console[words ? "warn" : "log"]("playhead:", event.eventType, status || "no answer", words, event);
  }

  /** @param {Waiting} item @returns {Promise<[number, string, number]>} */
  async function post({ body, event }) {
    const isStart = event.eventType === "sessionStart";
    isInFlight = true;
    try {
      const reply = await fetch(isStart ? url : `${url}/${self.id}/events`, {
        method: "POST",
        body, // a text is sent as text/plain, which takes no preflight
        headers: isStart ? first : usual,
        keepalive: body.length < KEPT_ALIVE_MAX, // a page that goes away lets it arrive
        signal: AbortSignal.timeout?.(ANSWER_MS_MAX),
      });
      const text = await reply.text();
      let words = reply.ok ? "" : text;
      if (reply.ok && isStart) {
        self.id = (reply.headers.get("Location") || "").split("/").pop() || null;
        if (!self.id) words = "The page cannot read the header Location, so the session has no address";
      }
      return [reply.status, words, Number(reply.headers.get("Retry-After")) * 1000];
    } catch (error) {
      return [0, String(error), 0];
    } finally {
      isInFlight = false;
    }
  }

  async function send() {
    if (isSending || !self.isReady || self.isLeaving) return;
    isSending = true;
    for (let item; !self.isOver && (item = self.waiting[0]); ) {
      const [status, words, wait_ms] = await post(item);
      say(item, status, words);
      if (self.isOver) break;
      if (!status || status === 408 || status === 429 || status >= 500) {
        const backoff_ms = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** failures++) * (1 + Math.random());
        await new Promise((done) => setTimeout(done, Math.max(wait_ms || 0, backoff_ms)));
        continue;
      }
      failures = 0;
      if (status < 300) self.accepted++;
      if (item.event.eventType === "sessionStart" ? !self.id : status === 404 || status === 410) onLost(self);
      else self.waiting.shift();
    }
    isSending = false;
  }

  return self;
}

/**
 * Tell Playhead what this element does, from now on.
 *
 * A session begins when the viewer wants to play, and ends with the page, with `end()`, after a pause of 30 minutes,
 * after 24 hours, with another `src`, or when what has ended is played again.
 * @param {HTMLMediaElement} video
 * @param {Options} options
 * @returns {Handle}
 */
export function playhead(video, options) {
  handles.get(video)?.end();
  const clock = increasingClock();
  /** @type {Outbox | null} */
  let session = null;
  let startedAt = 0;
  let pingedAt = 0;
  let pausedAt = 0;
  /** What the server was last told of content: "" before it first played, "done" after its end. */
  let told = "";
  let toldHead = 0;
  let toldRate = 1;
  let hasPlayed = false;
  let isResumed = false;
  let isLooping = false;
  let loopedAt = 0;
  let isSeekSeen = false;
  let isTornDown = false;
  let isGone = false;
  let isFaultSaid = false;
  let source = video.currentSrc;
  /** Where content was when it was last seen, at which time of the page, and whether it moved. */
  let seen = { head: 0, at: 0, rate: 0 };
  /** The second of the day at the beginning of live content's timeline. @type {number | null} */
  let dayBegan_s = null;
  /** @type {Made | null} */
  let chapter = null;
  /** @type {Made | null} */
  let pod = null;
  /** @type {Made | null} */
  let ad = null;
  /** @type {Map<string, Made>} */
  const states = new Map();
  let pods = 0;
  let adsOfPod = 0;
  /** @type {Record<string, number>} */
  let quality = {};
  let toldQuality = "";

  /** What is played. @type {Content} */
  let content;
  const isLive = () => /^(live|linear)$/i.test(content.contentType ?? (video.duration === Infinity ? "live" : ""));

  // Where content is

  /** Whether the source was taken away; the element says so at once, and its events a moment later. */
  const isWithoutSource = () => isTornDown || (hasPlayed && !video.readyState);

  /** Where content was before a seek, of which the element already shows the target. */
  function headBefore() {
    const moved_s = ((performance.now() - seen.at) / 1000) * seen.rate;
    return Math.min(seen.head + moved_s, Number.isFinite(video.duration) ? video.duration : Infinity);
  }

  function see(head = video.currentTime) {
    seen = { head, at: performance.now(), rate: told === "play" && !video.paused ? video.playbackRate : 0 };
  }

  /**
   * Return how long ago, in ms, content began to move from where it stood, or came to stand at `head`.
   *
   * A page that is busy hears of it late, but where content is by then tells when it was.
   */
  function late_ms(/** @type {number} */ head) {
    const passed_ms = performance.now() - seen.at;
    const moved_ms = ((head - seen.head) * 1000) / video.playbackRate;
    const ago_ms = told === "play" ? passed_ms - moved_ms : moved_ms;
    return moved_ms >= 0 && ago_ms > LATE_MS_MIN && ago_ms <= Math.min(passed_ms, LATE_MS_MAX) ? ago_ms : 0;
  }

  function headNow() {
    if (pod) return seen.head;
    return isWithoutSource() || (hasPlayed && !isLooping && video.seeking) ? headBefore() : video.currentTime;
  }

  /** Return the playhead as the protocol has it: seconds of content, or, if it is live, of the viewer's day. */
  function asPlayhead(/** @type {number} */ head) {
    if (isLive()) {
      const now = new Date();
      dayBegan_s ??= (now.getTime() - new Date(now).setHours(0, 0, 0, 0)) / 1000 - head;
      head = (((head + dayBegan_s) % DAY_S) + DAY_S) % DAY_S;
    }
    return Math.round(head * 1000) / 1000;
  }

  // What is told

  function startParams() {
    const { metadata, length, ...keys } = content;
    // Content without an end has no length that JSON could say. The protocol writes 0 for unknown ones.
    const known = [length, isLive() ? DAY_S : video.duration].find(Number.isFinite);
    return {
      "media.length": known ?? 0,
      "media.contentType": isLive() ? "live" : "vod",
      "media.streamType": video instanceof HTMLVideoElement ? "video" : "audio",
      "media.playerName": options.player ?? "playhead.js",
      "media.channel": options.channel ?? location.hostname,
      "media.libraryVersion": `playhead.js-${VERSION}`,
      "media.resume": isResumed,
      "analytics.trackingServer": new URL(options.url, location.href).host,
      "analytics.reportSuite": location.hostname,
      "visitor.marketingCloudOrgId": "-",
      ...(options.consent && options.userId && !("globalPrivacyControl" in navigator && navigator.globalPrivacyControl)
        ? { "analytics.visitorId": options.userId }
        : {}),
      ...(video.playbackRate !== 1 ? { "media.playbackRate": video.playbackRate } : {}),
      ...withPrefix("media.", keys),
      ...options.params,
    };
  }

  /** What a new session has to be told that this one knows. @returns {Made[]} */
  function allThatIsOpen() {
    const player = /** @type {Made} */ ([told]);
    const isOpen = told && told !== "done";
    return /** @type {Made[]} */ ([chapter, isOpen && player, ...states.values(), pod, ad].filter(Boolean));
  }

  /** @param {Made} made @param {number} head @param {number} ts @returns {SentEvent} */
  function asEvent([eventType, rest], head, ts) {
    return { eventType, playerTime: { playhead: asPlayhead(head), ts }, ...rest };
  }

  /** @param {Made} made @param {number} head where it happened @param {number} ago_ms when */
  function tell([eventType, rest], head = headNow(), ago_ms = 0) {
    if (!session) return;
    const dropped = video instanceof HTMLVideoElement && video.getVideoPlaybackQuality?.().droppedVideoFrames;
    if (dropped) quality.droppedFrames = dropped;
    const qoe = JSON.stringify(quality);
    if (qoe !== toldQuality) rest = { ...rest, qoeData: { ...withPrefix("media.qoe.", quality), ...rest?.qoeData } };
    toldQuality = qoe;
    toldHead = head;
    session.add(asEvent([eventType, rest], head, clock(ago_ms)), allThatIsOpen());
  }

  function ping(/** @type {Partial<SentEvent>} */ rest = {}, head = headNow(), ago_ms = 0) {
    pingedAt = Date.now();
    tell(["ping", rest], head, ago_ms);
  }

  // Sessions

  /** Return what is played; null if the page does not say it, or not where to tell it. */
  function whatIsPlayed() {
    let error;
    try {
      const { content, url } = options;
      const played = typeof content === "function" ? content() : content;
      if (new URL(url, location.href) && url && Object(played) === played) return played;
    } catch (thrown) {
      error = thrown;
    }
    if (!isFaultSaid) console.error("playhead: nothing is sent. Pass {url, content: {id, name}}; got", options, error ?? "");
    isFaultSaid = true;
    return null;
  }

  function begin() {
    const played = whatIsPlayed();
    if (!played) return;
    content = played;
    told = "";
    hasPlayed = false;
    toldRate = video.playbackRate;
    dayBegan_s = null;
    startedAt = pingedAt = Date.now();
    see();
    open(video.currentTime, clock());
    for (const made of [chapter, ...states.values()]) if (made) tell(made);
  }

  /** Make a session whose start is told once its length is known. */
  function open(/** @type {number} */ head, /** @type {number} */ ts) {
    const made = (session = outbox(options, replace));
    toldQuality = "{}";
    const begins = () => {
      if (made.isReady) return;
      const { consent } = options;
      const { metadata } = content;
      // Consent is in the body, since a beacon has no headers.
      const said = consent == null ? null : { consent: consent ? "granted" : "denied" };
      const customMetadata = metadata || said ? { ...metadata, ...said } : undefined;
      const event = asEvent(["sessionStart", { params: startParams(), customMetadata }], head, ts);
      made.waiting.unshift({ event, body: JSON.stringify(event), before: [] });
      made.open();
    };
    openSession = begins;
    openIfKnown();
  }
  let openSession = () => {};

  function openIfKnown() {
    const isKnown = content.length != null || video.readyState > 0 || video.error;
    if (isKnown || Date.now() - startedAt > METADATA_MS_MAX) openSession();
  }

  /** Go on in a new session: the server does not know this one, or takes no more of it. @param {Outbox} lost */
  function replace(lost) {
    const rest = lost.waiting;
    const wasUsed = lost.accepted > 1; // otherwise the next would be lost as this one
    lost.close();
    const [first] = rest;
    if (lost !== session) return;
    if (!wasUsed || !first || first.event.eventType === "sessionEnd") {
      session = first && !wasUsed ? lost : null;
      return;
    }
    const { playhead: head, ts } = first.event.playerTime;
    isResumed = true;
    startedAt = Date.now();
    open(video.currentTime, ts - first.before.length - 1);
    first.before.forEach((made, index) => {
      const event = asEvent(made, 0, ts - first.before.length + index);
      event.playerTime.playhead = head;
      session?.add(event, []);
    });
    for (const { event, before } of rest) session?.add(event, before);
  }

  /** End the session, and with it what is open. */
  function finish(head = headNow()) {
    if (!session) return;
    openSession();
    tell(["sessionEnd"], head);
    session = chapter = pod = ad = null;
    told = "";
    isResumed = false;
  }

  /** End the session; the next one goes on with the same content. */
  function interrupt() {
    const kept = chapter;
    finish();
    chapter = kept;
    isResumed = true;
  }

  function leave() {
    const leaving = session;
    if (leaving) leaving.isLeaving = true;
    interrupt();
    leaving?.leave();
    isGone = true;
  }

  // What the element does

  /** Tell what content does, if the server was told otherwise. @param {unknown} [by] what asks for it */
  function sync(by) {
    if (isGone || pod) return;
    if (video.seeking && !isSeekSeen) seeLoop();
    isSeekSeen = video.seeking;
    if (isLooping) return;
    if (video.seeking && !hasPlayed) see();
    const isWanted = !video.paused && !video.ended;
    if (told === "done" && isWanted) finish(seen.head);
    if (!session && isWanted) begin();
    if (!session || told === "done") return;
    openIfKnown();
    if (video.ended) {
      if (told) complete();
      return;
    }
    const isTorn = isWithoutSource();
    if (isTorn && by !== tick) return; // another source begins another session; a repair is over in a moment
    const isWaiting = video.seeking || isTorn || video.readyState < 3;
    // An element whose source is taken away says that it is paused.
    const isPaused = video.paused && (!isTorn || told === "pauseStart");
    const now = isPaused ? "pauseStart" : !isWaiting ? "play" : told ? "bufferStart" : "";
    if (!now || now === told) return;
    let head = headNow();
    const ago_ms = video.seeking || isTorn || (told !== "play" && now !== "play") ? 0 : late_ms(head);
    if (ago_ms && now === "play") head = seen.head;
    if (now === "play") pingedAt = Date.now();
    if (now === "pauseStart") pausedAt = Date.now();
    const timeToStart_ms = Math.round(Date.now() - startedAt - ago_ms);
    const isFirst = now === "play" && !hasPlayed && !isResumed;
    tell([now, isFirst ? { qoeData: { "media.qoe.timeToStart": timeToStart_ms } } : {}], head, ago_ms);
    told = now;
    hasPlayed ||= now === "play";
    see(isTorn ? head : video.currentTime);
  }

  function complete() {
    const head = Number.isFinite(video.duration) ? video.duration : video.currentTime;
    if (told !== "play") tell([(told = "play")], head); // after a seek to the end
    tell(["sessionComplete"], head, late_ms(head));
    told = "done";
    see();
  }

  function tick() {
    if (!session || isGone) return;
    const now = Date.now();
    if (now - loopedAt > TICK_MS) isLooping = false;
    openIfKnown();
    sync(tick);
    if (told === "pauseStart" && !pod) {
      const paused_ms = now - pausedAt;
      if (paused_ms >= PAUSE_MS_MAX) {
        // A device that slept wakes up late: by then the server has ended the session itself.
        if (paused_ms > PAUSE_MS_MAX + 2 * RETRY_MS_MAX) session.close();
        interrupt();
      } else if (!video.seeking && Math.abs(headNow() - toldHead) > SAME_S) ping();
      return;
    }
    if (told === "done") return;
    if (now - startedAt >= SESSION_MS_MAX) return renew();
    if (now - pingedAt >= (ad ? AD_PING_MS : PING_MS) - TICK_MS / 2) ping();
  }

  /** Go on in a new session, after 24 hours. */
  function renew() {
    const before = allThatIsOpen();
    const head = headNow();
    const kept = /** @type {const} */ ([chapter, pod, ad, told]);
    finish();
    [chapter, pod, ad, told] = kept;
    isResumed = true;
    startedAt = pingedAt = Date.now();
    open(video.currentTime, clock());
    for (const made of before) session?.add(asEvent(made, head, clock()), []);
  }

  /** A seek began: of an element that loops, perhaps because its content begins again. */
  function seeLoop() {
    const before = headBefore();
    if (video.loop && told === "play" && !pod && before >= video.duration - LOOP_S && video.currentTime < LOOP_S) {
      // Content began again: it was played to its end, and nobody sought.
      const passed_ms = Math.min(LATE_MS_MAX, (video.currentTime * 1000) / video.playbackRate);
      ping({}, video.duration, passed_ms);
      ping({}, video.currentTime);
      isLooping = true;
      loopedAt = Date.now();
      see();
    }
  }

  function onTimeUpdate() {
    if (!video.seeking && !isWithoutSource() && !pod) {
      if (video.readyState > 2) isLooping = false;
      see();
    }
    if (told !== "play") sync();
  }

  function onPlaying() {
    isLooping = isTornDown = false;
    sync();
  }

  function onEnded() {
    // The page may have begun again by now, so `ended` of the element may be false.
    if (session && !pod && told && told !== "done") complete();
    sync();
  }

  function onRate() {
    if (session && !pod && video.playbackRate > 0 && video.playbackRate !== toldRate) {
      toldRate = video.playbackRate;
      ping({ params: { "media.playbackRate": toldRate } });
      see(headNow());
    }
  }

  function onEmptied() {
    isTornDown = hasPlayed;
    if (pod) return;
    see(headBefore());
    seen.rate = 0;
  }

  function onLoad() {
    if (pod) return; // perhaps the ad's own source
    const was = source;
    source = video.currentSrc;
    // The addresses of Media Source are new each time a library repairs what it plays.
    if (was && source !== was && !`${was}${source}`.includes("blob:")) finish(seen.head);
    if (!session) isTornDown = false;
  }

  /** @param {Event} event */
  function onError(event) {
    // A <source> that cannot be played is an error if there is no other.
    if (event.target !== video && video.networkState !== HTMLMediaElement.NETWORK_NO_SOURCE) return;
    error(`MEDIA_ERR_${[, "ABORTED", "NETWORK", "DECODE", "SRC_NOT_SUPPORTED"][video.error?.code ?? 4]}`);
  }

  function onHidden() {
    if (document.hidden && told === "play" && !pod) ping();
  }

  function onShow() {
    isGone = false;
    sync();
  }

  // What the player says

  /** @param {string} id @param {"player" | "external"} source */
  function error(id, source = "player") {
    if (!session && !isGone && (video.autoplay || !video.paused)) begin();
    openSession();
    tell(["error", { qoeData: { "media.qoe.errorID": id, "media.qoe.errorSource": source } }]);
  }

  /** @param {AdBreak} of @returns {OpenBreak} */
  function adBreak({ metadata, ...keys } = {}) {
    if (!session && !isGone) begin();
    endPod(pod);
    const head = headNow();
    pods++;
    adsOfPod = 0;
    const podSecond = told ? asPlayhead(head) : 0;
    const made = part("adBreakStart", "media.ad.", { podIndex: pods, podSecond, ...keys }, metadata);
    tell(made);
    see(head);
    seen.rate = 0;
    pod = made;
    return { complete: () => endPod(made) };
  }

  /** @param {Made | null} made */
  function endPod(made) {
    if (!made || pod !== made) return;
    tell(["adBreakComplete"]);
    pod = ad = null;
    // The element may begin to play a moment later; `tick` sees whether it does not.
    if (!video.paused) sync();
  }

  /** @param {Ad} of @returns {OpenAd} */
  function startAd({ metadata, ...keys }) {
    const own = pod ? null : adBreak();
    const playerName = options.player ?? "playhead.js";
    const made = part("adStart", "media.ad.", { podPosition: ++adsOfPod, playerName, ...keys }, metadata);
    tell(made);
    ad = made;
    pingedAt = Date.now();
    const say = (/** @type {string} */ type) => () => {
      if (ad === made) tell([type]);
    };
    const endAs = (/** @type {string} */ type) => () => {
      if (ad !== made) return;
      tell([type]);
      ad = null;
      own?.complete();
    };
    return {
      complete: endAs("adComplete"),
      skip: endAs("adSkip"),
      pause: say("pauseStart"),
      buffer: say("bufferStart"),
      play: say("play"),
    };
  }

  /** @param {Chapter} of @returns {OpenChapter} */
  function startChapter({ metadata, ...keys }) {
    if (chapter) tell(["chapterComplete"]);
    const made = part("chapterStart", "media.chapter.", keys, metadata);
    tell(made);
    chapter = made;
    const endAs = (/** @type {string} */ type) => () => {
      if (chapter !== made) return;
      tell([type]);
      chapter = null;
    };
    return { complete: endAs("chapterComplete"), skip: endAs("chapterSkip") };
  }

  /** @type {[EventTarget, string, (event: any) => void][]} */
  const listeners = [
    ...["play", "pause", "waiting", "seeking", "seeked", "canplay", "loadedmetadata"].map(
      (name) => /** @type {[EventTarget, string, () => void]} */ ([video, name, sync]),
    ),
    [video, "playing", onPlaying],
    [video, "ended", onEnded],
    [video, "timeupdate", onTimeUpdate],
    [video, "ratechange", onRate],
    [video, "emptied", onEmptied],
    [video, "loadstart", onLoad],
    [video, "error", onError],
    [document, "visibilitychange", onHidden],
    [window, "pagehide", leave],
    [window, "pageshow", onShow],
  ];
  for (const [target, name, does] of listeners) target.addEventListener(name, does, true);
  const timer = setInterval(tick, TICK_MS);

  /** @type {Handle} */
  const handle = {
    adBreak,
    ad: startAd,
    chapter: startChapter,
    state(name, isOn) {
      if (isOn === states.has(name)) return;
      const params = { "media.state.name": name };
      tell([isOn ? "stateStart" : "stateEnd", { params }]);
      if (isOn) states.set(name, ["stateStart", { params }]);
      else states.delete(name);
    },
    error,
    quality(values) {
      const was = quality.bitrate;
      quality = { ...quality, ...values };
      if (hasPlayed && was !== quality.bitrate) tell([was ? "bitrateChange" : "ping"]);
    },
    end() {
      clearInterval(timer);
      for (const [target, name, does] of listeners) target.removeEventListener(name, does, true);
      handles.delete(video);
      finish();
      isGone = true;
    },
    get session() {
      return session && session.id;
    },
  };
  handles.set(video, handle);
  sync();
  return handle;
}

/** @param {string} prefix @param {Record<string, unknown>} keys */
function withPrefix(prefix, keys) {
  return Object.fromEntries(Object.entries(keys).map(([key, value]) => [prefix + key, value]));
}

/** @param {string} type @param {string} prefix @param {Record<string, unknown>} keys @param {Record<string, string>} [metadata] @returns {Made} */
function part(type, prefix, keys, metadata) {
  return [type, { params: withPrefix(prefix, keys), ...(metadata && { customMetadata: metadata }) }];
}
