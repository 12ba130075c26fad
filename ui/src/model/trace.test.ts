import { describe, expect, it } from 'vitest';

import { micros } from './time';
import {
  connectionOf,
  isDuration,
  isError,
  mentions,
  parseTags,
  parseTraceId,
  traceOf,
  visibleNodes,
  type Span,
  type Trace,
} from './trace';

function span(
  id: string,
  parent: string | undefined,
  start: number,
  duration: number,
  more: Partial<Span> = {},
): Span {
  return {
    id,
    parent,
    service: 'front',
    operation: `op ${id}`,
    start: micros(start),
    duration: micros(duration),
    tags: [],
    process: [],
    logs: [],
    warnings: [],
    ...more,
  };
}

function built(...spans: Span[]): Trace {
  const id = parseTraceId('abc');
  if (id === undefined) throw new Error('abc is a trace id');
  return traceOf(id, spans);
}

/** The tree as `id(child child)`. */
const shape = (trace: Trace): string =>
  trace.roots
    .map(function write(node): string {
      const below = node.children.map(write).join(' ');
      return below === '' ? node.span.id : `${node.span.id}(${below})`;
    })
    .join(' ');

describe('a trace', () => {
  it('puts children under their parents by start, whatever order they come in', () => {
    const trace = built(
      span('c', 'a', 30, 5),
      span('b', 'a', 10, 5),
      span('a', undefined, 0, 100),
      span('d', 'b', 11, 2),
    );
    expect(shape(trace)).toBe('a(b(d) c)');
    expect([trace.start, trace.duration, trace.orphans]).toEqual([0, 100, 0]);
    expect(trace.roots[0]?.below).toBe(3);
  });

  it('keeps a span whose parent is missing, and counts it', () => {
    const trace = built(span('a', undefined, 0, 10), span('b', 'gone', 5, 20));
    expect(shape(trace)).toBe('a b');
    expect([trace.orphans, trace.duration]).toEqual([1, 25]);
  });

  it('survives spans that are each other’s parents', () => {
    const trace = built(span('a', 'b', 0, 10), span('b', 'a', 1, 2), span('c', 'c', 2, 1));
    expect([...visibleNodes(trace, new Set())]).toHaveLength(3);
  });

  it('without spans is empty and not infinite', () => {
    const trace = built();
    expect([trace.start, trace.duration, trace.roots.length]).toEqual([0, 0, 0]);
  });

  it('hides what is below a collapsed span', () => {
    const trace = built(span('a', undefined, 0, 10), span('b', 'a', 1, 2), span('c', 'b', 1, 1));
    expect(visibleNodes(trace, new Set(['b'])).map(({ span: { id } }) => id)).toEqual(['a', 'b']);
  });
});

describe('a span', () => {
  it('is an error by its tag or by its status', () => {
    expect(isError(span('a', undefined, 0, 1, { tags: [{ key: 'error', value: true }] }))).toBe(true);
    expect(isError(span('a', undefined, 0, 1, { tags: [{ key: 'otel.status_code', value: 'ERROR' }] }))).toBe(
      true,
    );
    expect(isError(span('a', undefined, 0, 1, { tags: [{ key: 'error', value: false }] }))).toBe(false);
  });

  it('names its connection where Weir made it', () => {
    const stitched = span('a', undefined, 0, 1, { tags: [{ key: 'weir.connection.id', value: '5e1f' }] });
    expect([connectionOf(stitched), connectionOf(span('b', undefined, 0, 1))]).toEqual(['5e1f', undefined]);
  });

  it('is found by names and tags', () => {
    const tagged = span('a', undefined, 0, 1, { tags: [{ key: 'tls.cipher', value: 'TLS_AES_128' }] });
    expect([mentions(tagged, 'aes'), mentions(tagged, 'front'), mentions(tagged, 'udp')]).toEqual([
      true,
      true,
      false,
    ]);
  });
});

describe('typed searches', () => {
  it.each<[string, Record<string, string>]>([
    ['error', { error: 'true' }],
    ['http.route=/cart error', { 'http.route': '/cart', error: 'true' }],
    ['note="two words" k=v', { note: 'two words', k: 'v' }],
    ['', {}],
  ])('%j are tags', (typed, tags) => {
    expect(parseTags(typed)).toEqual(tags);
  });

  it('know durations as Go writes them', () => {
    expect(['1.5ms', '2s', '1h30m', '100µs'].every(isDuration)).toBe(true);
    expect(['', '5', 'ms', '1 s', '1.5'].some(isDuration)).toBe(false);
  });

  it('know trace ids as people paste them', () => {
    expect(parseTraceId(' ABC123 ')).toBe('abc123');
    expect([parseTraceId(''), parseTraceId('xyz'), parseTraceId('0'.repeat(33))]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  });
});
