/**
 * Tells a player of `playhead.js` what Shaka Player knows besides: the bitrate, and errors that end playback.
 *
 * Copyright Playhead's authors; licensed under the Apache License, Version 2.0.
 */

const CRITICAL = 2;

/**
 * Watch a Shaka player; the element itself is watched by `playhead`.
 * @param {import("./playhead.js").Handle} player
 * @param {{getVariantTracks(): {active: boolean, bandwidth: number}[],
 *   addEventListener(name: string, does: (event: any) => void): void}} shaka
 */
export function watchShaka(player, shaka) {
  const tellBitrate = () => {
    const track = shaka.getVariantTracks().find((each) => each.active);
    if (track) player.quality({ bitrate: track.bandwidth });
  };
  for (const name of ["loaded", "adaptation", "variantchanged"]) shaka.addEventListener(name, tellBitrate);
  shaka.addEventListener("error", ({ detail }) => {
    if (detail.severity === CRITICAL) player.error(`shaka ${detail.code}`);
  });
  tellBitrate();
}
