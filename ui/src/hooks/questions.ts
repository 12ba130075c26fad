/** What pages ask of the server, one hook a question. */
import { keepPreviousData, useQuery, type UseQueryResult } from '@tanstack/react-query';

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
import { formatRange } from '@/model/time';
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
    retry: false,
  });
}

export const useTrace = (id: TraceId | undefined): UseQueryResult<Trace | undefined> =>
  useQuery({
    queryKey: ['trace', id],
    enabled: id !== undefined,
    queryFn: ({ signal }) => (id === undefined ? undefined : fetchTrace(id, signal)),
    structuralSharing: false,
    retry: false,
  });
