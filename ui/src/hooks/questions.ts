/** What pages ask of the server, one hook a question. */
import { keepPreviousData, skipToken, useQuery, type UseQueryResult } from '@tanstack/react-query';

import { ApiError } from '@/api/client';
import {
  fetchOperations,
  fetchServices,
  fetchSummaries,
  fetchTrace,
  type TracesQuestion,
} from '@/api/jaeger';
import {
  fetchFlows,
  fetchStatus,
  fetchTables,
  runSql,
  type FlowsAnswer,
  type FlowsQuestion,
} from '@/api/weir';
import { sqlText, type Answer, type Status, type Table } from '@/model/table';
import { formatFilter } from '@/model/filter';
import { fillRange, usesRange } from '@/model/sql';
import { formatRange, type Range } from '@/model/time';
import type { Summary, Trace, TraceId } from '@/model/trace';

/** How often a live page looks again. */
const LIVE_MS = 1000;

/** Flows, asked again each second while live; the last answer stays while the next one is on its way. */
export function useFlows(question: FlowsQuestion, live: boolean): UseQueryResult<FlowsAnswer> {
  const { range, filters, words, limit } = question;
  return useQuery({
    queryKey: ['flows', formatRange(range), filters.map(formatFilter), words, limit],
    queryFn: ({ signal }) => fetchFlows(question, signal),
    refetchInterval: live ? LIVE_MS : false,
    placeholderData: keepPreviousData,
    // Rows are made anew by each answer; comparing all of them would cost more than it saves.
    structuralSharing: false,
    retry: false,
  });
}

/** One query's answer; errors point into the query as written. `runs` grows when the reader asks again. */
export function useSql(written: string, range: Range, runs: number): UseQueryResult<Answer> {
  return useQuery({
    queryKey: ['sql', written, usesRange(written) ? formatRange(range) : '', runs],
    enabled: written !== '',
    queryFn: async ({ signal }) => {
      const { sql, place } = fillRange(written, range, new Date());
      try {
        return await runSql(sql, signal);
      } catch (error) {
        throw error instanceof ApiError ? error.placed(place) : error;
      }
    },
    retry: false,
    // An answer may be large: only the one that is looked at is kept.
    gcTime: 0,
    staleTime: Infinity,
    structuralSharing: false,
  });
}

/** Tables change with the server's version only. */
export const useTables = (): UseQueryResult<readonly Table[]> =>
  useQuery({ queryKey: ['tables'], queryFn: ({ signal }) => fetchTables(signal), staleTime: Infinity });

export const useStatus = (): UseQueryResult<Status> =>
  useQuery({
    queryKey: ['status'],
    queryFn: ({ signal }) => fetchStatus(signal),
    refetchInterval: 5000,
    retry: false,
  });

/** All that is stored of one connection: its flows and its handshakes, oldest first. */
export function useConnection(
  id: string | undefined,
  live: boolean,
): UseQueryResult<{ flows: Answer; handshakes: Answer }> {
  return useQuery({
    queryKey: ['connection', id],
    enabled: id !== undefined,
    queryFn: async ({ signal }) => {
      const where = `WHERE connection_id = ${sqlText(id ?? '')} ORDER BY time LIMIT 1000`;
      const [flows, handshakes] = await Promise.all([
        runSql(`SELECT * FROM flows ${where}`, signal),
        runSql(`SELECT * FROM tls_handshakes ${where}`, signal),
      ]);
      return { flows, handshakes };
    },
    refetchInterval: live ? 5 * LIVE_MS : false,
    retry: false,
  });
}

export const useServices = (): UseQueryResult<readonly string[]> =>
  useQuery({
    queryKey: ['services'],
    queryFn: ({ signal }) => fetchServices(signal),
    refetchInterval: 10_000,
  });

export const useOperations = (service: string): UseQueryResult<readonly string[]> =>
  useQuery({
    queryKey: ['operations', service],
    enabled: service !== '',
    queryFn: ({ signal }) => fetchOperations(service, signal),
  });

export function useSummaries(question: TracesQuestion): UseQueryResult<readonly Summary[]> {
  return useQuery({
    queryKey: [
      'summaries',
      question.service,
      question.operation,
      question.tags,
      question.minDuration,
      question.maxDuration,
      formatRange(question.range),
      question.limit,
    ],
    queryFn: ({ signal }) => fetchSummaries(question, signal),
    placeholderData: keepPreviousData,
    // The first trace shows up by itself; after that, rows stay where they are until the reader searches again.
    refetchInterval: ({ state }) =>
      question.range.kind === 'last' && state.data?.length === 0 ? 2 * LIVE_MS : false,
    retry: false,
  });
}

/** How long after its last span a trace is still looked at again for the spans that it misses. */
const UNFINISHED_MS = 10 * 60_000;

export const useTrace = (id: TraceId | undefined): UseQueryResult<Trace> =>
  useQuery({
    queryKey: ['trace', id],
    queryFn: id === undefined ? skipToken : ({ signal }) => fetchTrace(id, signal),
    // A connection's own span comes when the connection closes; until then its children have no parent.
    refetchInterval: ({ state: { data } }) =>
      data !== undefined &&
      data.orphans > 0 &&
      Date.now() - (data.start + data.duration) / 1000 < UNFINISHED_MS
        ? 2 * LIVE_MS
        : false,
    structuralSharing: false,
    retry: false,
  });
