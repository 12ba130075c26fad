import { describe, expect, it } from 'vitest';

import {
  bounds,
  formatRange,
  inputText,
  lengthText,
  micros,
  parseInput,
  parsePoint,
  parseRange,
  pointText,
  PRESETS,
  shortPointText,
  type Range,
} from './time';

const start = new Date('2026-11-24T21:03:05.120Z');
const end = new Date('2026-11-24T22:00:00.000Z');

describe('a range', () => {
  const ranges: Range[] = [
    ...PRESETS.map(({ preset }): Range => ({ kind: 'last', preset })),
    { kind: 'fixed', start, end },
  ];
  it.each(ranges)('in a link is the same range: %o', (range) => {
    expect(parseRange(formatRange(range))).toEqual(range);
  });

  it.each([null, '', '7m', 'x~y', `${end.toISOString()}~${start.toISOString()}`, 'a~b~c'])(
    '%j is none',
    (text) => {
      expect(parseRange(text)).toBeUndefined();
    },
  );

  it('of the last quarter of an hour ends now', () => {
    const { start: from, end: to } = bounds({ kind: 'last', preset: '15m' }, end);
    expect([from.toISOString(), to]).toEqual(['2026-11-24T21:45:00.000Z', end]);
  });
});

describe('a point in time', () => {
  it('is written in the chosen zone', () => {
    expect(pointText(start, 'utc')).toBe('2026-11-24 21:03:05.120');
    expect(parseInput(inputText(start, 'local'), 'local')?.getTime()).toBe(
      Math.floor(start.getTime() / 1000) * 1000,
    );
    expect(parseInput(inputText(start, 'utc'), 'utc')?.toISOString()).toBe('2026-11-24T21:03:05.000Z');
  });

  it('has its day only where it is not today', () => {
    expect(shortPointText(start, 'utc', end)).toBe('21:03:05.120');
    expect(shortPointText(start, 'utc', new Date('2026-11-25T00:00:00Z'))).toBe('11-24 21:03:05.120');
  });

  it('is read with nanoseconds, as the server writes it', () => {
    expect(parsePoint('2026-11-24T21:03:05.120456789Z')).toEqual(start);
    expect(parsePoint('yesterday')).toBeUndefined();
  });
});

describe('a length of time', () => {
  it.each([
    [0, '0 µs'],
    [0.25, '0.25 µs'],
    [312, '312 µs'],
    [4083, '4.08 ms'],
    [41_300, '41.3 ms'],
    [1_250_000, '1.25 s'],
    [200_000_000, '3 min 20 s'],
    [7_260_000_000, '2 h 1 min'],
  ])('of %d µs is written %s', (us, text) => {
    expect(lengthText(us)).toBe(text);
  });

  it('is a number, or an error', () => {
    expect(() => micros(Number.NaN)).toThrow('not a length of time');
  });
});
