/**
 * Tells Playhead what a <video> or <audio> element does. One call attaches it: `playhead(video, {url, content})`.
 *
 * The element's own events and properties are the only source; nothing is patched. Three parts: the clock, the
 * outbox of a session (what is sent, and sent again), and the watcher of the element (what happened, and where).
 *
 * Copyright Playhead's authors; licensed under the Apache License, Version 2.0.
 */
export declare const VERSION = "0.1.0";
export type Content = {
    id: string;
    name?: string;
    length?: number;
    contentType?: string;
    streamType?: "video" | "audio";
    resume?: boolean;
    metadata?: Record<string, string>;
    [key: string]: unknown;
};
export type Said = {
    event: SentEvent;
    status: number;
    words: string;
    session: string | null;
};
export type SentEvent = {
    eventType: string;
    playerTime: {
        playhead: number;
        ts: number;
    };
    params?: Record<string, unknown>;
    qoeData?: Record<string, unknown>;
    customMetadata?: Record<string, string>;
};
export type Options = {
    url: string;
    content: Content | (() => Content);
    player?: string;
    channel?: string;
    params?: Record<string, unknown>;
    consent?: boolean;
    userId?: string;
    apiKey?: string;
    debug?: boolean | ((said: Said) => void);
};
export type AdBreak = {
    podIndex?: number;
    podSecond?: number;
    podFriendlyName?: string;
    metadata?: Record<string, string>;
    [key: string]: unknown;
};
export type Ad = {
    id: string;
    length: number;
    name?: string;
    podPosition?: number;
    playerName?: string;
    metadata?: Record<string, string>;
    [key: string]: unknown;
};
export type Chapter = {
    index: number;
    offset: number;
    length: number;
    friendlyName?: string;
    metadata?: Record<string, string>;
    [key: string]: unknown;
};
export type OpenChapter = {
    complete(): void;
    skip(): void;
};
export type OpenAd = {
    complete(): void;
    skip(): void;
    pause(): void;
    buffer(): void;
    play(): void;
};
export type OpenBreak = {
    complete(): void;
};
export type Handle = {
    adBreak(of?: AdBreak): OpenBreak;
    ad(of: Ad): OpenAd;
    chapter(of: Chapter): OpenChapter;
    state(name: string, isOn: boolean): void;
    error(id: string, source?: "player" | "external"): void;
    quality(values: Record<string, number>): void;
    end(): void;
    readonly session: string | null;
};
export type Made = [string, Partial<SentEvent>?];
export type Waiting = {
    event: SentEvent;
    body: string;
    before: Made[];
};
export type Outbox = ReturnType<typeof outbox>;
/**
 * Make what sends the events of one session, one at a time, in their order.
 *
 * The first event is the sessionStart. What gets no answer, or one that says so, is sent again with the same body:
 * the server knows repeated events, and a repeated start by its key.
 * @param {Options} options
 * @param {(from: Outbox) => void} onLost called where the server does not know the session, or takes no more of it
 */
declare function outbox(options: Options, onLost: (from: Outbox) => void): {
    /** @type {Waiting[]} */
    waiting: Waiting[];
    /** @type {string | null} */
    id: string | null;
    isReady: boolean;
    isLeaving: boolean;
    isOver: boolean;
    accepted: number;
    /** Send an event after all others. @param {SentEvent} event @param {Made[]} before */
    add(event: SentEvent, before: Made[]): void;
    /** Begin to send. */
    open(): void;
    /** Hand all that waits to the browser, as the page goes away: nothing can be sent again after this. */
    leave(): void;
    /** Forget all that waits. */
    close(): void;
};
/**
 * Tell Playhead what this element does, from now on.
 *
 * A session begins when the viewer wants to play, and ends with the page, with `end()`, after a pause of 30 minutes,
 * after 24 hours, with another `src`, or when what has ended is played again.
 * @param {HTMLMediaElement} video
 * @param {Options} options
 * @returns {Handle}
 */
export declare function playhead(video: HTMLMediaElement, options: Options): Handle;
export {};
