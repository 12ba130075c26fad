/** Traces page state in the URL; absent means default. */
import type { UrlForm } from '@/hooks/view';
import { formatRange, parseRange, parseZone, type Range, type Zone } from '@/model/time';

export interface TracesView {
  readonly range: Range;
  readonly zone: Zone;
  readonly service: string;
  readonly operation: string;
  /** As typed: `http.response.status_code=500 error`. */
  readonly tags: string;
  readonly minDuration: string;
  readonly maxDuration: string;
  readonly limit: number;
}

export const LIMITS = [20, 50, 100, 500, 1500] as const;

const DEFAULT_RANGE: Range = { kind: 'last', preset: '15m' };
const DEFAULT_LIMIT = 100;

function parse(params: URLSearchParams): TracesView {
  const limit = Number(params.get('n'));
  return {
    range: parseRange(params.get('t')) ?? DEFAULT_RANGE,
    zone: parseZone(params.get('tz')) ?? 'local',
    service: params.get('service') ?? '',
    operation: params.get('operation') ?? '',
    tags: params.get('tags') ?? '',
    minDuration: params.get('min') ?? '',
    maxDuration: params.get('max') ?? '',
    limit: LIMITS.find((known) => known === limit) ?? DEFAULT_LIMIT,
  };
}

function format(view: TracesView): URLSearchParams {
  const params = new URLSearchParams();
  const set = (name: string, value: string, standard = ''): void => {
    if (value !== standard) params.set(name, value);
  };
  set('t', formatRange(view.range), formatRange(DEFAULT_RANGE));
  set('tz', view.zone, 'local');
  set('service', view.service);
  set('operation', view.operation);
  set('tags', view.tags);
  set('min', view.minDuration);
  set('max', view.maxDuration);
  set('n', String(view.limit), String(DEFAULT_LIMIT));
  return params;
}

export const tracesUrl: UrlForm<TracesView> = { parse, format };
