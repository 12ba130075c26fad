/** Time as the pages speak of it: ranges, zones, and how points and lengths of time are written. Pure. */

export type Zone = 'local' | 'utc';

export type Preset = '5m' | '15m' | '1h' | '6h' | '24h';

/** Either the last so many minutes, moving with the clock, or two fixed points. */
export type Range =
  | { readonly kind: 'last'; readonly preset: Preset }
  | { readonly kind: 'fixed'; readonly start: Date; readonly end: Date };

/** Microseconds, so that no one adds them to milliseconds. */
export type Micros = number & { readonly __unit: 'us' };

export const PRESETS: readonly { preset: Preset; minutes: number; label: string }[] = [
  { preset: '5m', minutes: 5, label: 'Last 5 minutes' },
  { preset: '15m', minutes: 15, label: 'Last 15 minutes' },
  { preset: '1h', minutes: 60, label: 'Last hour' },
  { preset: '6h', minutes: 360, label: 'Last 6 hours' },
  { preset: '24h', minutes: 1440, label: 'Last 24 hours' },
];

export const isMicros = (value: number): value is Micros => Number.isFinite(value);

export function micros(value: number): Micros {
  if (isMicros(value)) return value;
  throw new RangeError(`not a length of time: ${value}`);
}

export const sameRange = (a: Range, b: Range): boolean => formatRange(a) === formatRange(b);

/** The range as two points, for a question asked at `now`. */
export function bounds(range: Range, now: Date): { start: Date; end: Date } {
  if (range.kind === 'fixed') return { start: range.start, end: range.end };
  const minutes = PRESETS.find(({ preset }) => preset === range.preset)?.minutes ?? 15;
  return { start: new Date(now.getTime() - minutes * 60_000), end: now };
}

/** In a URL: `15m`, or `<start>~<end>` in RFC 3339. */
export function formatRange(range: Range): string {
  return range.kind === 'last' ? range.preset : `${range.start.toISOString()}~${range.end.toISOString()}`;
}

/** Reads [`formatRange`]; undefined where it is none, or ends before it starts. */
export function parseRange(text: string | null): Range | undefined {
  if (text === null) return undefined;
  const preset = PRESETS.find((known) => known.preset === text)?.preset;
  if (preset !== undefined) return { kind: 'last', preset };
  const [from, to, ...rest] = text.split('~');
  if (from === undefined || to === undefined || rest.length > 0) return undefined;
  const start = new Date(from);
  const end = new Date(to);
  return start.getTime() < end.getTime() ? { kind: 'fixed', start, end } : undefined;
}

export const parseZone = (text: string | null): Zone | undefined =>
  text === 'utc' || text === 'local' ? text : undefined;

const pad = (value: number, width = 2): string => String(value).padStart(width, '0');

/** `2026-11-24` in that zone. */
export function dateText(time: Date, zone: Zone): string {
  return zone === 'utc'
    ? `${time.getUTCFullYear()}-${pad(time.getUTCMonth() + 1)}-${pad(time.getUTCDate())}`
    : `${time.getFullYear()}-${pad(time.getMonth() + 1)}-${pad(time.getDate())}`;
}

/** `21:03:05.120` in that zone. */
export function clockText(time: Date, zone: Zone): string {
  return zone === 'utc'
    ? `${pad(time.getUTCHours())}:${pad(time.getUTCMinutes())}:${pad(time.getUTCSeconds())}.${pad(time.getUTCMilliseconds(), 3)}`
    : `${pad(time.getHours())}:${pad(time.getMinutes())}:${pad(time.getSeconds())}.${pad(time.getMilliseconds(), 3)}`;
}

/** Date and clock. */
export const pointText = (time: Date, zone: Zone): string =>
  `${dateText(time, zone)} ${clockText(time, zone)}`;

/** The clock alone where the day is today's, else with its day. */
export function shortPointText(time: Date, zone: Zone, now: Date): string {
  const day = dateText(time, zone);
  return day === dateText(now, zone) ? clockText(time, zone) : `${day.slice(5)} ${clockText(time, zone)}`;
}

/** For `<input type="datetime-local" step="1">`: `2026-11-24T21:03:05` in that zone. */
export const inputText = (time: Date, zone: Zone): string =>
  `${dateText(time, zone)}T${clockText(time, zone).slice(0, 8)}`;

/** Reads such an input's value; undefined where it is incomplete. */
export function parseInput(text: string, zone: Zone): Date | undefined {
  const time = new Date(zone === 'utc' ? `${text}Z` : text);
  return Number.isNaN(time.getTime()) ? undefined : time;
}

/** RFC 3339 with any number of digits below the second, to milliseconds; undefined where it is no time. */
export function parsePoint(text: string): Date | undefined {
  const time = new Date(text.replace(/(\.\d{3})\d+/, '$1'));
  return Number.isNaN(time.getTime()) ? undefined : time;
}

/** A length of time with three significant digits and the unit that fits: `312 µs`, `4.08 ms`, `1.25 s`, `3 min 20 s`. */
export function lengthText(us: number): string {
  const size = Math.abs(us);
  if (size < 1000) return `${significant(us)} µs`;
  if (size < 1_000_000) return `${significant(us / 1000)} ms`;
  if (size < 60_000_000) return `${significant(us / 1_000_000)} s`;
  const seconds = Math.round(us / 1_000_000);
  if (size < 3_600_000_000) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

function significant(value: number): string {
  const size = Math.abs(value);
  return value.toFixed(size >= 100 || Number.isInteger(value) ? 0 : size >= 10 ? 1 : 2);
}
