import { describe, expect, it } from 'vitest';
import { z } from 'zod';

import { address, ApiError, ask } from './client';

import { refusal, serve, unreachable } from '@/test/server';

const PATH = '/api/v1/thing';

/** The error that an answer turns into. */
async function failure(answer: () => unknown): Promise<ApiError> {
  serve({ [PATH]: answer });
  const error: unknown = await ask(PATH, z.object({ n: z.number() })).catch((thrown: unknown) => thrown);
  if (error instanceof ApiError) return error;
  throw new Error('the question was answered');
}

describe('a question', () => {
  it('is answered by what the schema proves', async () => {
    serve({ [PATH]: () => ({ n: 1, more: true }) });
    expect(await ask(PATH, z.object({ n: z.number() }))).toEqual({ n: 1 });
  });

  it('has its values encoded', () => {
    expect(address('/x', [])).toBe('/x');
    expect(
      address('/x', [
        ['filter', 'a=b&c'],
        ['filter', 'é'],
      ]),
    ).toBe('/x?filter=a%3Db%26c&filter=%C3%A9');
  });
});

describe('an error', () => {
  it('of ours keeps message, hint, place and code', async () => {
    const error = await failure(() =>
      refusal(400, { code: 'sql.syntax', message: 'no', hint: 'try', position: { line: 1, column: 8 } }),
    );
    expect(error).toMatchObject({ kind: 'refused', message: 'no', hint: 'try', code: 'sql.syntax' });
    expect(error.placed(({ line, column }) => ({ line, column: column + 1 })).position).toEqual({
      line: 1,
      column: 9,
    });
  });

  it.each<[string, () => unknown, ApiError['kind'], RegExp]>([
    ['nobody listening', unreachable, 'unreachable', /does not answer/],
    ['a proxy’s 502', () => new Response('bad gateway', { status: 502 }), 'unreachable', /does not answer/],
    ['a 403', () => new Response('not your origin\n', { status: 403 }), 'forbidden', /not your origin/],
    [
      'a 404 of Jaeger’s',
      () => Response.json({ data: null, errors: [{ code: 404, msg: 'trace not found' }] }, { status: 404 }),
      'missing',
      /trace not found/,
    ],
    [
      'a 400 of Jaeger’s v3',
      () => Response.json({ error: { httpCode: 400, message: 'malformed' } }, { status: 400 }),
      'refused',
      /^malformed$/,
    ],
    ['an empty 500', () => new Response('', { status: 500 }), 'refused', /status 500/],
    ['an answer of another shape', () => ({ n: 'one' }), 'shape', /\/api\/v1\/thing .*: n /],
    ['an answer that is no JSON', () => new Response('<html>'), 'shape', /not what this page expects/],
  ])('of %s says so', async (_, answer, kind, message) => {
    const error = await failure(answer);
    expect(error.kind).toBe(kind);
    expect(error.message).toMatch(message);
  });
});
