// Plays a video to the ingest with its client, and shows what the lake has of the session.
// Everything that comes from elsewhere is shown as text.

const LOOK_MS = 700;
const AD_S = 6;
const ADS = 2;
const LINES_MAX = 200;
const LATE_S = 15; // an accepted event that is not in the tables by then: something is wrong
const PICTURE_STEP_S = 60; // the picture's time axis grows by this, so that it seldom moves
const LABEL_PX = 7; // about the width of a letter; a bar that is too narrow has no room for its name
const HEAD_TOP = 50;
const HEIGHT = 110;
const ID_CHARACTERS = 28; // ids may begin alike
const OF_ONE_MACHINE = /^https?:\/\/(127\.|localhost|\[::1\])/;
const SVG = "http://www.w3.org/2000/svg";

const $ = (id) => document.getElementById(id);
const { ingest } = document.body.dataset;
const video = $("video");

let attach = null; // makes a client, once it has been loaded
let client = null;
let ad = null;
let chapters = 0;
let session = null; // the id of the one that is shown
let items = new Map(); // of the list of events, by what names an event here and in the lake

function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

const problems = new Map(); // what is wrong, by what it is about

/** Say what is wrong with something, or, without words, that nothing is. */
function say(about, words = "") {
  problems.delete(about);
  if (words) problems.set(about, words);
  const text = [...problems.values()].join(" ");
  if ($("said").textContent !== text) $("said").textContent = text;
}

// The list of events

function show(begun) {
  if (!begun || begun === session) return;
  session = begun;
  items = new Map();
  $("events").replaceChildren();
  for (const cell of $("row").querySelectorAll("td")) cell.textContent = cell.title = "";
  const link = element("a", "This session among the analysts' pages");
  link.href = `../session/?session=${encodeURIComponent(session)}`;
  $("more").replaceChildren(
    link, element("span", "; in a terminal: "), element("code", `playhead session show ${session.slice(0, ID_CHARACTERS)} --follow`),
  );
}

function listed(event, playhead, state, status, words = "") {
  const list = $("events");
  const isAtEnd = list.scrollTop + list.clientHeight >= list.scrollHeight - 40;
  const item = element("li", "", state);
  const head = element("div", "", "head");
  const told = element("span", status, "status");
  head.append(element("b", event), element("span", playhead === null ? "" : `${playhead.toFixed(1)} s`, "playhead"), told);
  const row = element("div", words, "words");
  item.append(head, row);
  list.append(item);
  if (list.children.length > LINES_MAX) list.firstChild.remove();
  if (isAtEnd) list.scrollTop = list.scrollHeight;
  return { item, told, row, at: performance.now(), isStored: false };
}

function wordsOf(text) {
  try {
    return JSON.parse(text).message ?? text;
  } catch {
    return text;
  }
}

/** What the client's `debug` says: the ingest's answer to one event. */
function answered({ event, status, words, session: of }) {
  if (!status) {
    say("ingest", `${ingest} does not answer, so the client sends its event again. Is an ingest running there? If its ` +
        `PLAYHEAD_HTTP_ORIGINS is set, it has to name ${location.origin}.`);
    return;
  }
  const isSentAgain = status === 408 || status === 429 || status >= 500;
  say("ingest", isSentAgain ? `${ingest} answers ${status}, ${wordsOf(words)}: the client sends its event again.` : "");
  if (isSentAgain) return;
  show(of);
  const { playhead, ts } = event.playerTime;
  if (status >= 300) {
    listed(event.eventType, playhead, "refused", `refused, ${status}`, wordsOf(words));
    return;
  }
  const item = listed(event.eventType, playhead, "waiting", `accepted, ${status}`);
  items.set(`${ts} ${event.eventType}`, item);
}

// The lake

async function look() {
  const asked = session;
  try {
    const reply = await fetch(`look?${new URLSearchParams({ session: asked ?? "" })}`);
    if (!reply.ok) throw new Error(`the page's server answers ${reply.status}`);
    const lake = await reply.json();
    if (lake.fault) throw new Error(lake.fault);
    say("lake");
    if (asked === session) shown(lake);
  } catch (error) {
    say("lake", `The lake cannot be asked: ${error.message}.`);
  }
  setTimeout(look, LOOK_MS);
}

function shown(lake) {
  $("behind").textContent = lake.behind_s === null ? "none yet" : age(Math.max(lake.behind_s, 0));
  for (const line of lake.lines) stored(line);
  const isLate = [...items.values()].some(({ at, isStored }) => !isStored && performance.now() - at > LATE_S * 1000);
  say("worker", isLate ? "Accepted events are not in the tables yet. Is a worker running? `playhead status` tells." : "");
  for (const [name, text] of Object.entries(lake.row)) {
    const cell = $(`row-${name}`);
    cell.textContent = text;
    cell.title = text;
  }
  $("state").textContent = lake.row.state ?? (session ? "started" : "none yet");
  $("state").title = session ?? "";
  draw(lake.spans, lake.lines);
}

function stored(line) {
  let item = items.get(line.key);
  if (!item) items.set(line.key, (item = listed(line.event, line.playhead_s, "waiting", "")));
  if (!item.isStored) {
    item.isStored = true;
    item.item.className = "accepted";
    const after_s = (performance.now() - item.at) / 1000;
    item.told.textContent += item.told.textContent ? `, in the tables after ${after_s.toFixed(1)} s` : "in the tables";
    if (item.told.textContent.startsWith("accepted")) $("delay").textContent = `${after_s.toFixed(1)} s`;
  }
  item.row.textContent = item.row.title = line.did; // late events may change what an earlier one did
}

/** Show what the column under the pointer means. */
function explain({ target }) {
  const row = target.closest("tr[data-meaning]");
  if (row) $("meaning").textContent = `${row.querySelector("th").textContent}: ${row.dataset.meaning}`;
}

function age(s) {
  if (s < 120) return `${s.toFixed(1)} s old`;
  return s < 7200 ? `${Math.round(s / 60)} min old` : `${Math.round(s / 3600)} h old`;
}

// The picture

function draw(spans, lines) {
  const end_s = Math.max(0, ...spans.map((span) => span.to_s), ...lines.map((line) => line.at_s));
  const until_s = Math.max(1, Math.ceil(end_s / PICTURE_STEP_S)) * PICTURE_STEP_S;
  const at = (s) => `${(100 * s) / until_s}%`;
  const colours = Object.fromEntries(
    [...$("legend").children].map((item) => [item.dataset.doing, item.querySelector("rect").getAttribute("fill")]),
  );
  const sums = {};
  const parts = [];
  const heads = spans.flatMap((span) => [span.head_from_s, span.head_to_s]).filter((head) => head !== null);
  const head_max = Math.max(1, video.duration || 0, ...heads);
  const y = (head) => HEIGHT - 6 - ((HEIGHT - 12 - HEAD_TOP) * head) / head_max;
  for (const span of spans) {
    const length_s = span.to_s - span.from_s;
    sums[span.doing] = (sums[span.doing] ?? 0) + length_s;
    const bar = shape("rect", {
      x: at(span.from_s), y: 4, width: at(length_s), height: 26, fill: colours[span.doing] ?? "#fff", stroke: "#444",
      "stroke-width": 0.5,
    });
    const title = shape("title", {});
    title.textContent = `${span.doing}, ${length_s.toFixed(1)} s`;
    bar.append(title);
    parts.push(bar);
    if ((length_s / until_s) * $("spans").clientWidth > (span.doing.length + 1) * LABEL_PX) {
      const name = shape("text", { x: at(span.from_s + length_s / 2), y: 21, "text-anchor": "middle",
        fill: span.doing === "ad" || span.doing === "playing" ? "#fff" : "#000" });
      name.textContent = span.doing;
      parts.push(name);
    }
    if (span.head_from_s !== null && span.head_to_s !== null) {
      parts.push(shape("line", { x1: at(span.from_s), x2: at(span.to_s), y1: y(span.head_from_s),
        y2: y(span.head_to_s), stroke: "#0072b2", "stroke-width": 2 }));
    }
  }
  for (const line of lines) {
    parts.push(shape("line", { x1: at(line.at_s), x2: at(line.at_s), y1: 33, y2: 43, stroke: "#444" }));
  }
  $("spans").replaceChildren(...parts);
  $("until").textContent = `${until_s} s`;
  for (const item of $("legend").children) {
    const sum_s = sums[item.dataset.doing];
    item.className = sum_s ? "some" : "";
    item.querySelector("span").textContent = sum_s ? `${sum_s.toFixed(1)} s` : "";
  }
}

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// The buttons

async function playAds() {
  const goesOn = !video.paused && !video.ended;
  $("ads").disabled = true;
  const pod = client.adBreak({ podFriendlyName: "a break of the demo" });
  video.pause();
  for (let place = 1; place <= ADS; place++) await playAd(place);
  $("ad").hidden = true;
  pod.complete();
  $("ads").disabled = false;
  if (goesOn) await video.play();
}

function playAd(place) {
  ad = client.ad({ id: `demo-ad-${place}`, name: `Ad ${place} of the demo`, length: AD_S });
  $("ad").hidden = false;
  $("skip").disabled = false;
  return new Promise((resolve) => {
    let left_s = AD_S;
    const end = (isSkipped) => {
      clearInterval(timer);
      $("skip").disabled = true;
      $("skip").onclick = null;
      if (isSkipped) ad.skip();
      else ad.complete();
      ad = null;
      resolve();
    };
    const count = () => {
      $("ad").textContent = `Ad ${place} of ${ADS}: ${left_s} s`;
      if (left_s-- === 0) end(false);
    };
    const timer = setInterval(count, 1000);
    $("skip").onclick = () => end(true);
    count();
  });
}

function nextChapter() {
  chapters += 1;
  const offset = Math.floor(video.currentTime);
  client.chapter({ index: chapters, offset, length: Math.max(1, Math.round(video.duration - offset)),
    friendlyName: `Chapter ${chapters}` });
}

function switchCaptions() {
  const isOn = $("captions").getAttribute("aria-pressed") !== "true";
  $("captions").setAttribute("aria-pressed", isOn);
  client.state("closedCaptioning", isOn);
}

/** Post what a player with a typing error would: the type of an event is written in lower case. */
async function sendWrong() {
  if (!session) {
    say("wrong", "There is no session yet: press play first.");
    return;
  }
  say("wrong");
  const playhead = Math.round(video.currentTime * 1000) / 1000;
  const body = JSON.stringify({ eventType: "Play", playerTime: { playhead, ts: Date.now() } });
  try {
    const reply = await fetch(`${ingest}/api/v1/sessions/${session}/events`, { method: "POST", body });
    const words = await reply.text();
    answered({ event: JSON.parse(body), status: reply.status, words, session });
  } catch (error) {
    answered({ event: JSON.parse(body), status: 0, words: String(error), session });
  }
}

function endSession() {
  client.end();
  video.pause();
  client = attach(); // for the next time that play is pressed
  chapters = 0;
  $("captions").setAttribute("aria-pressed", "false");
}

async function begin() {
  look();
  for (const kind of ["pointerover", "click"]) $("row").addEventListener(kind, explain);
  const address = `${ingest}/playhead.js`;
  let playhead;
  try {
    ({ playhead } = await import(address));
  } catch {
    const isElsewhere = OF_ONE_MACHINE.test(ingest) && !OF_ONE_MACHINE.test(location.origin);
    say("client", `${address} cannot be loaded, so nothing is sent. ` + (isElsewhere
      ? "Only browsers on the ingest's own machine reach it: PLAYHEAD_HTTP_HOST=0.0.0.0 lets others, too."
      : "Is an ingest running there? `playhead up` runs one, with all that belongs to it."));
    return;
  }
  attach = () => playhead(video, {
    url: ingest,
    content: { id: "playhead-demo", name: "Playhead's demo" },
    player: "demo",
    debug: answered,
  });
  client = attach();
  $("ads").onclick = playAds;
  $("chapter").onclick = nextChapter;
  $("captions").onclick = switchCaptions;
  $("error").onclick = () => client.error("DEMO-1");
  $("wrong").onclick = sendWrong;
  $("end").onclick = endSession;
  document.body.dataset.ready = "";
}

begin();
