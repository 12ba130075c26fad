/** A trace as a tree with positions in time, ready to be drawn. Pure. */

import { micros, type Micros } from './time';
import { cellText, type Cell } from './quantity';

export type TraceId = string & { readonly __id: 'trace' };

const TRACE_ID = /^[0-9a-f]{1,32}$/;

export const isTraceId = (text: string): text is TraceId => TRACE_ID.test(text);

/** Reads a trace id as people paste it: any case, spaces around, leading zeros missing. */
export function parseTraceId(text: string): TraceId | undefined {
  const id = text.trim().toLowerCase();
  return isTraceId(id) ? id : undefined;
}

export interface Tag {
  readonly key: string;
  readonly value: Cell;
}

export interface Log {
  readonly time: Micros;
  readonly fields: readonly Tag[];
}

export interface Span {
  readonly id: string;
  readonly parent: string | undefined;
  readonly service: string;
  readonly operation: string;
  readonly start: Micros;
  readonly duration: Micros;
  readonly tags: readonly Tag[];
  readonly process: readonly Tag[];
  readonly logs: readonly Log[];
  readonly warnings: readonly string[];
}

export interface Node {
  readonly span: Span;
  readonly depth: number;
  readonly children: readonly Node[];
  /** Spans below this one, at any depth. */
  readonly below: number;
}

export interface Trace {
  readonly id: TraceId;
  readonly roots: readonly Node[];
  readonly spans: ReadonlyMap<string, Span>;
  readonly services: readonly string[];
  readonly start: Micros;
  readonly duration: Micros;
  readonly errors: number;
  /** Spans whose parent is not here: lost, or not sent yet. */
  readonly orphans: number;
}

/** One search result. */
export interface Summary {
  readonly id: TraceId;
  readonly service: string;
  readonly operation: string;
  readonly start: Date;
  readonly duration: Micros;
  readonly spans: number;
  readonly errors: number;
  readonly services: readonly { readonly name: string; readonly spans: number; readonly errors: number }[];
}

/** Puts spans under their parents, siblings by start. A span whose parent is absent, or is below itself, is a root. */
export function traceOf(id: TraceId, spans: readonly Span[]): Trace {
  const byId = new Map(spans.map((span) => [span.id, span]));
  const children = new Map<string, Span[]>();
  const tops: Span[] = [];
  for (const span of byId.values()) {
    const parent = span.parent === undefined || isUnderItself(span, byId) ? undefined : byId.get(span.parent);
    if (parent === undefined) tops.push(span);
    else children.set(parent.id, [...(children.get(parent.id) ?? []), span]);
  }
  const start = Math.min(...spans.map((span) => span.start));
  const end = Math.max(...spans.map((span) => span.start + span.duration));
  const node = (span: Span, depth: number): Node => {
    const below = (children.get(span.id) ?? []).sort(byStart).map((child) => node(child, depth + 1));
    return { span, depth, children: below, below: below.reduce((sum, child) => sum + 1 + child.below, 0) };
  };
  return {
    id,
    roots: tops.sort(byStart).map((span) => node(span, 0)),
    spans: byId,
    services: [...new Set(spans.map((span) => span.service))],
    start: micros(spans.length === 0 ? 0 : start),
    duration: micros(spans.length === 0 ? 0 : end - start),
    errors: spans.filter(isError).length,
    orphans: tops.filter(({ parent }) => parent !== undefined && !byId.has(parent)).length,
  };
}

/** The rows that a reader sees: depth first, without what is below collapsed spans. */
export function visibleNodes(trace: Trace, collapsed: ReadonlySet<string>): readonly Node[] {
  const shown: Node[] = [];
  const visit = (node: Node): void => {
    shown.push(node);
    if (!collapsed.has(node.span.id)) node.children.forEach(visit);
  };
  trace.roots.forEach(visit);
  return shown;
}

export const tagOf = (span: Span, key: string): Cell | undefined =>
  span.tags.find((tag) => tag.key === key)?.value;

export const isError = (span: Span): boolean => {
  const error = tagOf(span, 'error');
  return error === true || error === 'true' || tagOf(span, 'otel.status_code') === 'ERROR';
};

/** The connection that a span is part of, where Weir knows it. */
export function connectionOf(span: Span): string | undefined {
  const id = tagOf(span, 'weir.connection.id');
  return typeof id === 'string' && id !== '' ? id : undefined;
}

/** Whether a span has the text in its names or tags, for search within a trace. `needle` is lower case. */
export function mentions(span: Span, needle: string): boolean {
  return [
    span.service,
    span.operation,
    span.id,
    ...span.tags.map((tag) => `${tag.key}=${cellText(tag.value, '', 'utc')}`),
  ].some((part) => part.toLowerCase().includes(needle));
}

function isUnderItself(span: Span, byId: ReadonlyMap<string, Span>): boolean {
  const seen = new Set([span.id]);
  for (let up = span.parent; up !== undefined; up = byId.get(up)?.parent) {
    if (seen.has(up)) return true;
    seen.add(up);
  }
  return false;
}

const byStart = (a: Span, b: Span): number => a.start - b.start || b.duration - a.duration;

/** `http.method=GET error=true note="two words"` → pairs; a bare word means `word=true`, as in Jaeger's box. */
export function parseTags(typed: string): Record<string, string> {
  const tags: Record<string, string> = {};
  for (const [, key, quoted, bare] of typed.matchAll(/([^\s=]+)(?:=(?:"([^"]*)"|(\S*)))?/g)) {
    if (key !== undefined) tags[key] = quoted ?? bare ?? 'true';
  }
  return tags;
}

/** A duration as Go writes it: `1.5ms`, `100us`, `1h30m`. */
export const isDuration = (typed: string): boolean => /^(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+$/.test(typed);
