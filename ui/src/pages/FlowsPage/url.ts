/** Flows page state in the URL; absent means default, so links stay short and old links keep working. */
import type { Sort } from '@/components/DataTable';
import type { UrlForm } from '@/hooks/view';
import { formatFilter, parseFilter, type Filter } from '@/model/filter';
import { formatRange, parseRange, parseZone, type Range, type Zone } from '@/model/time';

export interface FlowsView {
  readonly range: Range;
  readonly zone: Zone;
  readonly live: boolean;
  readonly filters: readonly Filter[];
  /** Free text over addresses, names, processes and SNI. */
  readonly words: string;
  readonly sort: Sort;
  /** Key of the row whose story is open. */
  readonly selected: string | undefined;
  /** At most so many rows are asked for. */
  readonly limit: number;
}

/** The last is the most that the server gives in one answer. */
export const LIMITS = [1000, 5000] as const;

const DEFAULT_RANGE: Range = { kind: 'last', preset: '15m' };
const DEFAULT_SORT: Sort = { column: 'time', descending: true };

function parse(params: URLSearchParams): FlowsView {
  const limit = Number(params.get('n'));
  return {
    range: parseRange(params.get('t')) ?? DEFAULT_RANGE,
    zone: parseZone(params.get('tz')) ?? 'local',
    live: params.get('live') !== 'off',
    filters: params.getAll('f').flatMap((text) => parseFilter(text) ?? []),
    words: params.get('q') ?? '',
    sort: parseSort(params.get('s')),
    selected: params.get('sel') ?? undefined,
    limit: LIMITS.find((known) => known === limit) ?? LIMITS[0],
  };
}

function format(view: FlowsView): URLSearchParams {
  const params = new URLSearchParams();
  const range = formatRange(view.range);
  if (range !== formatRange(DEFAULT_RANGE)) params.set('t', range);
  if (view.zone !== 'local') params.set('tz', view.zone);
  if (!view.live) params.set('live', 'off');
  view.filters.forEach((filter) => params.append('f', formatFilter(filter)));
  if (view.words !== '') params.set('q', view.words);
  const sort = formatSort(view.sort);
  if (sort !== formatSort(DEFAULT_SORT)) params.set('s', sort);
  if (view.limit !== LIMITS[0]) params.set('n', String(view.limit));
  if (view.selected !== undefined) params.set('sel', view.selected);
  return params;
}

const formatSort = ({ column, descending }: Sort): string => `${descending ? '-' : ''}${column}`;

function parseSort(text: string | null): Sort {
  if (text === null || !/^-?[a-z_][a-z0-9_]*$/.test(text)) return DEFAULT_SORT;
  return { column: text.replace(/^-/, ''), descending: text.startsWith('-') };
}

export const flowsUrl: UrlForm<FlowsView> = { parse, format };

/** The Flows page on one connection, around a time; for links from other pages. */
export function linkToConnection(connectionId: string, start: Date, end: Date, zone: Zone): string {
  const minute = 60_000;
  const view: FlowsView = {
    ...parse(new URLSearchParams()),
    range: {
      kind: 'fixed',
      start: new Date(start.getTime() - minute),
      end: new Date(end.getTime() + minute),
    },
    zone,
    filters: [{ column: 'connection_id', op: '=', value: connectionId }],
  };
  return `/flows?${format(view).toString()}`;
}
