export { type AlarmAction, type AlarmAsk, type Asked, type ParetoRow, type Stop, type StopAction, type StopAsk, type Why } from "./acts";
export { Client, readLive, type ClientOptions, type NodeStatus, type StoredMessage } from "./client";
export { type Extremes, type Part, type Series, type StoredEvent, type TagInfo } from "./history";
export { MillstreamError } from "./http";
export { type LinkState } from "./link";
export { decodeMessage, severity, type Reading, type Value } from "./payload";
export { type LoginForm, type NatsLogin, type Session, type Ways } from "./session";
export { assetSubject, escapeToken, fromSubject, parsePath, splitPath, toSubject, unescapeToken } from "./subject";
