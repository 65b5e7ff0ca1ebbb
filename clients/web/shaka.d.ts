/**
 * Tells a player of `playhead.js` what Shaka Player knows besides: the bitrate, and errors that end playback.
 *
 * Copyright Playhead's authors; licensed under the Apache License, Version 2.0.
 */
/**
 * Watch a Shaka player; the element itself is watched by `playhead`.
 * @param {import("./playhead.js").Handle} player
 * @param {{getVariantTracks(): {active: boolean, bandwidth: number}[],
 *   addEventListener(name: string, does: (event: any) => void): void}} shaka
 */
export declare function watchShaka(player: import("./playhead.js").Handle, shaka: {
    getVariantTracks(): {
        active: boolean;
        bandwidth: number;
    }[];
    addEventListener(name: string, does: (event: any) => void): void;
}): void;
