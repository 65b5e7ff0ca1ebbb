// What a viewer does with a video in a page of a test, and what really played: `currentTime`, sampled every 20 ms.
// Nothing here listens to the element's events, so it is independent of what the client makes of them.
(() => {
  const SAMPLE_MS = 20;
  const pause_ms = (ms) => new Promise((done) => setTimeout(done, ms));
  const until = async (is) => {
    while (!is()) await pause_ms(SAMPLE_MS / 2);
  };

  window.viewings = {};
  // Of each viewing: samples [ms, seconds, paused, ended, rate], answers of the server, the handle, whether it is over.
  window.view = (name, url, playhead, { src, loop = false, does, options = {}, attach }) => {
    const video = document.createElement("video");
    Object.assign(video, { muted: true, loop, preload: "auto", width: 160 });
    document.body.append(video);
    const viewing = (viewings[name] = { video, samples: [], said: [], endedAt: 0, isOver: false, error: null });
    const sample = () => {
      const { currentTime, paused, ended, playbackRate } = video;
      viewing.samples.push([performance.now(), currentTime, +paused, +ended, playbackRate]);
    };
    const timer = setInterval(sample, SAMPLE_MS);
    viewing.sampleLast = () => viewing.endedAt || sample(); // as the page goes away, however late its timers are
    const debug = (said) => viewing.said.push(said);
    const content = { id: name, name };
    const player = (viewing.player = playhead(video, { url, content, debug, ...options }));
    const viewer = {
      video,
      player,
      pause_ms,
      until,
      play: () => video.play(),
      pause: () => video.pause(),
      at: (seconds) => until(() => video.currentTime >= seconds),
      ended: () => until(() => video.ended),
      seek: (seconds) => (video.currentTime = seconds),
      end: () => {
        sample();
        clearInterval(timer);
        viewing.endedAt = Date.now();
        viewer.player.end();
        video.pause();
      },
      played: async (seconds) => {
        const from = video.currentTime;
        await until(() => video.currentTime >= from + seconds);
      },
    };
    (async () => {
      if (attach) await attach(video, player);
      else video.src = src;
      await does(viewer);
    })()
      .catch((error) => (viewing.error = String(error)))
      .finally(() => (viewing.isOver = true));
    return viewing;
  };
  // As the page goes away, its samples are kept for other pages, in a place that is this page's alone: what one page
  // keeps or removes just as another does may be lost.
  window.keptAs = `samples of ${performance.timeOrigin}`;
  addEventListener("pagehide", () => {
    Object.values(viewings).forEach((viewing) => viewing.sampleLast());
    const kept = Object.entries(viewings).map(([name, { samples }]) => [name, samples]);
    localStorage.setItem(keptAs, JSON.stringify(Object.fromEntries(kept)));
  });
})();
