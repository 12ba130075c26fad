/** Trace page state in the URL; absent means default. */
import type { UrlForm } from '@/hooks/view';
import { micros, parseZone, type Micros, type Zone } from '@/model/time';

/** The part of the trace that is drawn, from its start. */
export interface Part {
  readonly from: Micros;
  readonly to: Micros;
}

export interface TraceView {
  readonly zone: Zone;
  /** The span whose details are open. */
  readonly span: string | undefined;
  /** What is searched for within the trace. */
  readonly find: string;
  /** Undefined: the whole trace. */
  readonly part: Part | undefined;
}

function parse(params: URLSearchParams): TraceView {
  return {
    zone: parseZone(params.get('tz')) ?? 'local',
    span: params.get('span') ?? undefined,
    find: params.get('find') ?? '',
    part: parsePart(params.get('part')),
  };
}

function format({ zone, span, find, part }: TraceView): URLSearchParams {
  const params = new URLSearchParams();
  if (zone !== 'local') params.set('tz', zone);
  if (find !== '') params.set('find', find);
  if (part !== undefined) params.set('part', `${part.from}~${part.to}`);
  if (span !== undefined) params.set('span', span);
  return params;
}

/** `1200~5300`, microseconds. */
function parsePart(text: string | null): Part | undefined {
  const [, from, to] = /^(\d+)~(\d+)$/.exec(text ?? '') ?? [];
  if (from === undefined || to === undefined || Number(from) >= Number(to)) return undefined;
  return { from: micros(Number(from)), to: micros(Number(to)) };
}

export const traceUrl: UrlForm<TraceView> = { parse, format };
