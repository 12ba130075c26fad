/** The questions that the Jaeger API answers, v3 for search and v1 for one trace. */
import { z } from 'zod';

import { address, ask, ApiError, type Params } from './client';
import { cell } from './schemas';

import { bounds, micros, type Range } from '@/model/time';
import {
  parseTraceId,
  traceOf,
  type Span,
  type Summary,
  type Tag,
  type Trace,
  type TraceId,
} from '@/model/trace';

const services = z.object({ services: z.array(z.string()) });
const operations = z.object({ operations: z.array(z.object({ name: z.string() })) });

export const fetchServices = async (signal: AbortSignal): Promise<readonly string[]> =>
  (await ask('/api/v3/services', services, { signal })).services.sort((a, b) => a.localeCompare(b, 'en'));

export async function fetchOperations(service: string, signal: AbortSignal): Promise<readonly string[]> {
  const answer = await ask(address('/api/v3/operations', [['service', service]]), operations, { signal });
  return [...new Set(answer.operations.map(({ name }) => name))].sort((a, b) => a.localeCompare(b, 'en'));
}

export interface TracesQuestion {
  readonly service: string;
  readonly operation: string;
  readonly tags: Readonly<Record<string, string>>;
  readonly minDuration: string;
  readonly maxDuration: string;
  readonly range: Range;
  readonly limit: number;
}

/** Zero counts and empty texts are left out of proto3 JSON; nanoseconds are decimal strings. */
const count = z.number().default(0);
const nanos = z.string().regex(/^\d+$/).transform(BigInt);
const summaries = z.object({
  summaries: z.array(
    z
      .object({
        traceId: z.string(),
        rootServiceName: z.string().default(''),
        rootOperationName: z.string().default(''),
        minStartTimeUnixNano: nanos,
        maxEndTimeUnixNano: nanos,
        spanCount: count,
        errorSpanCount: count,
        services: z
          .array(z.object({ name: z.string().default(''), spanCount: count, errorSpanCount: count }))
          .default([]),
      })
      .transform((found) => ({
        traceId: found.traceId,
        service: found.rootServiceName,
        operation: found.rootOperationName,
        start: new Date(Number(found.minStartTimeUnixNano / 1_000_000n)),
        duration: micros(Number(found.maxEndTimeUnixNano - found.minStartTimeUnixNano) / 1000),
        spans: found.spanCount,
        errors: found.errorSpanCount,
        services: found.services.map(({ name, spanCount, errorSpanCount }) => ({
          name,
          spans: spanCount,
          errors: errorSpanCount,
        })),
      })),
  ),
});

/** Newest traces first. */
export async function fetchSummaries(
  question: TracesQuestion,
  signal: AbortSignal,
): Promise<readonly Summary[]> {
  const { start, end } = bounds(question.range, new Date());
  const given = (name: string, value: string): Params => (value === '' ? [] : [[name, value]]);
  const tags = Object.keys(question.tags).length === 0 ? '' : JSON.stringify(question.tags);
  const params: Params = [
    ...given('query.serviceName', question.service),
    ...given('query.operationName', question.operation),
    ['query.startTimeMin', start.toISOString()],
    ['query.startTimeMax', end.toISOString()],
    ...given('query.durationMin', question.minDuration),
    ...given('query.durationMax', question.maxDuration),
    ...given('query.attributes', tags),
    ['query.searchDepth', String(question.limit)],
  ];
  const answer = await ask(address('/api/v3/trace-summaries', params), summaries, { signal });
  return answer.summaries
    .flatMap(({ traceId, ...rest }) => {
      const id = parseTraceId(traceId);
      return id === undefined ? [] : [{ ...rest, id }];
    })
    .sort((a, b) => b.start.getTime() - a.start.getTime());
}

const tag = z.object({ key: z.string(), value: cell }) satisfies z.ZodType<Tag>;
const tags = z
  .array(tag)
  .nullish()
  .transform((list) => list ?? []);
const traces = z.object({
  data: z.array(
    z.object({
      traceID: z.string(),
      spans: z.array(
        z.object({
          spanID: z.string(),
          operationName: z.string(),
          references: z
            .array(z.object({ refType: z.string(), traceID: z.string(), spanID: z.string() }))
            .nullish()
            .transform((list) => list ?? []),
          startTime: z.number(),
          duration: z.number(),
          tags,
          logs: z
            .array(z.object({ timestamp: z.number(), fields: tags }))
            .nullish()
            .transform((list) => list ?? []),
          processID: z.string(),
          warnings: z.array(z.string()).nullish(),
        }),
      ),
      processes: z.record(z.string(), z.object({ serviceName: z.string(), tags })),
    }),
  ),
});

export async function fetchTrace(id: TraceId, signal: AbortSignal): Promise<Trace> {
  const answer = await ask(`/api/traces/${encodeURIComponent(id)}`, traces, { signal });
  const [found] = answer.data;
  if (found === undefined) throw new ApiError('missing', 'trace not found');
  const spans = found.spans.map((span): Span => {
    const process = found.processes[span.processID];
    const parent =
      span.references.find(({ refType, traceID }) => refType === 'CHILD_OF' && traceID === found.traceID) ??
      span.references.find(({ traceID }) => traceID === found.traceID);
    return {
      id: span.spanID,
      parent: parent?.spanID,
      service: process?.serviceName ?? 'unknown service',
      operation: span.operationName,
      start: micros(span.startTime),
      duration: micros(span.duration),
      tags: span.tags,
      process: process?.tags ?? [],
      logs: span.logs.map(({ timestamp, fields }) => ({ time: micros(timestamp), fields })),
      warnings: span.warnings ?? [],
    };
  });
  return traceOf(parseTraceId(found.traceID) ?? id, spans);
}
