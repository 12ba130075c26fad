import { describe, expect, it } from 'vitest';

import { fetchOperations, fetchServices, fetchSummaries, fetchTrace } from './jaeger';
import { fetchFlows, fetchStatus, fetchTables, runSql } from './weir';

import { micros } from '@/model/time';
import { connectionOf, isError, parseTraceId } from '@/model/trace';
import {
  CONNECTION,
  CONNECTION_SPANS,
  flows,
  INCOMPLETE,
  sql,
  STATUS,
  SUMMARIES,
  TABLES,
  TLS_FLOW,
  TRACE,
  trace,
} from '@/test/answers';
import { serve } from '@/test/server';

const signal = new AbortController().signal;
const FIXED = {
  kind: 'fixed',
  start: new Date('2026-11-24T21:00:00Z'),
  end: new Date('2026-11-24T22:00:00Z'),
} as const;

describe('flows', () => {
  const question = {
    range: FIXED,
    filters: [{ column: 'server_port', op: '=', value: '443' }],
    words: 'curl',
    limit: 1000,
  } as const;

  it('are asked for with range, filters, words and limit', async () => {
    const server = serve({ '/api/v1/flows': () => ({ ...flows(TLS_FLOW), completeness: INCOMPLETE }) });
    const { flows: found, completeness } = await fetchFlows(question, signal);
    expect([...(server.asked[0]?.params ?? [])]).toEqual([
      ['start', '2026-11-24T21:00:00.000Z'],
      ['end', '2026-11-24T22:00:00.000Z'],
      ['filter', 'server_port=443'],
      ['q', 'curl'],
      ['limit', '1000'],
    ]);
    expect(found[0]?.cells['tls_sni']).toBe('api.demo.internal');
    expect(completeness).toMatchObject({ complete: false, lost: 3, silent: 0 });
  });

  it('of the last minutes have no end, so that a clock ahead of ours is seen', async () => {
    const server = serve({ '/api/v1/flows': () => flows() });
    await fetchFlows({ ...question, range: { kind: 'last', preset: '5m' } }, signal);
    expect(server.asked[0]?.params.has('end')).toBe(false);
  });
});

describe('the server', () => {
  it('says how it is', async () => {
    serve({ '/api/v1/status': () => STATUS });
    expect(await fetchStatus(signal)).toMatchObject({
      listeners: ['http 127.0.0.1:8480'],
      tables: [{ name: 'flows', rows: 12, files: 1, bytes: 4096 }],
      health: [{ counter: 'ring_full', value: 0, message: '' }],
    });
  });

  it('describes its tables', async () => {
    serve({ '/api/v1/tables': () => TABLES });
    expect((await fetchTables(signal)).map(({ name }) => name)).toEqual(['flows', 'tls_handshakes']);
  });

  it('answers SQL with columns, rows and how long it took', async () => {
    serve({ '/api/v1/sql': () => sql({ n: 'BIGINT', t: 'VARCHAR[]' }, [1, ['a', 'b']], [null, []]) });
    expect(await runSql('SELECT', signal)).toMatchObject({
      columns: [
        { name: 'n', type: 'BIGINT' },
        { name: 't', type: 'VARCHAR[]' },
      ],
      rows: [
        [1, ['a', 'b']],
        [null, []],
      ],
      elapsedMs: 4.25,
      truncated: false,
    });
  });
});

describe('Jaeger’s API', () => {
  it('names services and operations, each once and in order', async () => {
    serve({
      '/api/v3/services': () => ({ services: ['store', 'api'] }),
      '/api/v3/operations': ({ params }) => ({
        operations:
          params.get('service') === 'api'
            ? [
                { name: 'b', spanKind: 'client' },
                { name: 'a', spanKind: '' },
                { name: 'b', spanKind: 'server' },
              ]
            : [],
      }),
    });
    expect(await fetchServices(signal)).toEqual(['api', 'store']);
    expect(await fetchOperations('api', signal)).toEqual(['a', 'b']);
    expect(await fetchOperations('unknown', signal)).toEqual([]);
  });

  it('finds traces, also those without a root, newest first, to the microsecond', async () => {
    const server = serve({ '/api/v3/trace-summaries': () => SUMMARIES });
    const question = {
      service: '',
      operation: '',
      tags: {},
      minDuration: '',
      maxDuration: '',
      range: FIXED,
      limit: 20,
    };
    const [first, second] = await fetchSummaries(question, signal);
    expect(first).toMatchObject({
      service: '',
      operation: '',
      spans: 1,
      errors: 0,
      duration: 250,
      services: [],
    });
    expect(second).toMatchObject({ id: TRACE, service: 'front', spans: 4, errors: 1, duration: 1_000_000 });
    expect(second?.start.toISOString()).toBe('2026-11-24T21:03:05.120Z');
    expect([...(server.asked[0]?.params.keys() ?? [])]).toEqual([
      'query.startTimeMin',
      'query.startTimeMax',
      'query.searchDepth',
    ]);
  });

  it('tells a trace, parents by their references', async () => {
    serve({ [`/api/traces/${TRACE}`]: () => trace(...CONNECTION_SPANS) });
    const id = parseTraceId(TRACE);
    if (id === undefined) throw new Error('a trace id');
    const found = await fetchTrace(id, signal);
    const [root] = found.roots;
    expect(root?.children.map(({ span }) => span.operation)).toEqual([
      'TCP connect',
      'TLS handshake',
      'GET /catalog',
    ]);
    expect([found.duration, found.errors, found.services]).toEqual([micros(1_000_000), 1, ['front', 'api']]);
    expect(root && [connectionOf(root.span), isError(root.span)]).toEqual([CONNECTION, true]);
  });
});
