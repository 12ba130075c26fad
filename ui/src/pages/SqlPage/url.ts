/** SQL page state in the URL; absent means default. */
import type { UrlForm } from '@/hooks/view';
import { formatRange, parseRange, parseZone, type Range, type Zone } from '@/model/time';

export interface SqlView {
  /** The query that was run last, as written; empty before the first. */
  readonly query: string;
  /** What `$start` and `$end` stand for. */
  readonly range: Range;
  readonly zone: Zone;
}

const DEFAULT_RANGE: Range = { kind: 'last', preset: '15m' };

function parse(params: URLSearchParams): SqlView {
  return {
    query: params.get('q') ?? '',
    range: parseRange(params.get('t')) ?? DEFAULT_RANGE,
    zone: parseZone(params.get('tz')) ?? 'local',
  };
}

function format({ query, range, zone }: SqlView): URLSearchParams {
  const params = new URLSearchParams();
  const written = formatRange(range);
  if (written !== formatRange(DEFAULT_RANGE)) params.set('t', written);
  if (zone !== 'local') params.set('tz', zone);
  if (query !== '') params.set('q', query);
  return params;
}

export const sqlUrl: UrlForm<SqlView> = { parse, format };
