/** The questions that `/api/v1` answers. */
import { address, ask, send, type Params } from './client';
import { flowsAnswer, sqlAnswer, statusAnswer, tablesAnswer } from './schemas';

import { flowOf, type Flow } from '@/model/flow';
import { formatFilter, type Filter } from '@/model/filter';
import type { Answer, Completeness, Status, Table } from '@/model/table';
import { bounds, type Range } from '@/model/time';

export interface FlowsQuestion {
  readonly range: Range;
  readonly filters: readonly Filter[];
  readonly words: string;
  readonly limit: number;
}

export interface FlowsAnswer {
  readonly flows: readonly Flow[];
  readonly truncated: boolean;
  readonly completeness: Completeness;
}

/** Newest flows first. */
export async function fetchFlows(question: FlowsQuestion, signal: AbortSignal): Promise<FlowsAnswer> {
  const { start, end } = bounds(question.range, new Date());
  const params: Params = [
    ['start', start.toISOString()],
    // A moving range has no end: a node whose clock is ahead of ours is still seen.
    ...(question.range.kind === 'fixed' ? [['end', end.toISOString()] as const] : []),
    ...question.filters.map((filter) => ['filter', formatFilter(filter)] as const),
    ...(question.words === '' ? [] : [['q', question.words] as const]),
    ['limit', String(question.limit)],
  ];
  const { rows, truncated, completeness } = await ask(address('/api/v1/flows', params), flowsAnswer, {
    signal,
  });
  return { flows: rows.flatMap((row) => flowOf(row) ?? []), truncated, completeness };
}

export async function fetchTables(signal: AbortSignal): Promise<readonly Table[]> {
  return (await ask('/api/v1/tables', tablesAnswer, { signal })).tables;
}

export const fetchStatus = (signal: AbortSignal): Promise<Status> =>
  ask('/api/v1/status', statusAnswer, { signal });

const question = (sql: string, accept: string, signal?: AbortSignal): RequestInit => ({
  method: 'POST',
  body: sql,
  headers: { 'content-type': 'text/plain', accept },
  ...(signal === undefined ? {} : { signal }),
});

export const runSql = (sql: string, signal?: AbortSignal): Promise<Answer> =>
  ask('/api/v1/sql', sqlAnswer, question(sql, 'application/json', signal));

/** The whole result as CSV, which the page's own limit does not cut. */
export const exportCsv = async (sql: string): Promise<Blob> =>
  (await send('/api/v1/sql', question(sql, 'text/csv'))).blob();
