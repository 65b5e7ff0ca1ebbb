/**
 * Tells a player of `playhead.js` what hls.js knows besides: the bitrate, and errors that end playback.
 *
 * Copyright Playhead's authors; licensed under the Apache License, Version 2.0.
 */
/**
 * Watch an instance of hls.js; the element itself is watched by `playhead`.
 * @param {import("./playhead.js").Handle} player
 * @param {{levels: {bitrate: number}[], on(name: any, does: (name: any, data: any) => void): void}} hls
 */
export declare function watchHls(player: import("./playhead.js").Handle, hls: {
    levels: {
        bitrate: number;
    }[];
    on(name: any, does: (name: any, data: any) => void): void;
}): void;
