/**
 * The one place that talks to the server. Answers are checked here, so that the rest of the program may believe its
 * types. Never asks another origin.
 */
import { z } from 'zod';

import type { Position } from '@/model/sql';

// No code is made at run time: a content security policy may forbid it.
z.config({ jitless: true });

/** Why a question got no answer, and what to do about it. */
export class ApiError extends Error {
  constructor(
    readonly kind: 'unreachable' | 'refused' | 'forbidden' | 'missing' | 'shape',
    message: string,
    readonly hint?: string,
    readonly position?: Position,
    readonly code?: string,
  ) {
    super(message);
    this.name = 'ApiError';
  }

  /** The same error, its place moved into another text. */
  placed(place: (position: Position) => Position): ApiError {
    const position = this.position === undefined ? undefined : place(this.position);
    return new ApiError(this.kind, this.message, this.hint, position, this.code);
  }
}

export type Params = readonly (readonly [name: string, value: string])[];

/** `path?name=value&…`, values encoded. */
export function address(path: string, params: Params): string {
  const query = new URLSearchParams(
    params.map(([name, value]): [string, string] => [name, value]),
  ).toString();
  return query === '' ? path : `${path}?${query}`;
}

/** Asks and checks the answer. */
export async function ask<T>(url: string, schema: z.ZodType<T>, init: RequestInit = {}): Promise<T> {
  const response = await send(url, { headers: { accept: 'application/json' }, ...init });
  const body: unknown = await response.json().catch(() => undefined);
  const answer = schema.safeParse(body);
  if (answer.success) return answer.data;
  const issue = answer.error.issues[0];
  throw new ApiError(
    'shape',
    `The answer of ${url.split('?')[0] ?? url} is not what this page expects${issue === undefined ? '' : `: ${issue.path.join('.')} ${issue.message}`}.`,
    'Page and server may be of different versions: reload the page.',
  );
}

/** Sends a question; anything but success is thrown as [`ApiError`]. */
export async function send(url: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, init);
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === 'AbortError') throw cause;
    throw new ApiError(
      'unreachable',
      'Weir does not answer.',
      'Is it running? Start it with `weir up`; this page keeps trying.',
    );
  }
  if (response.ok) return response;
  throw refusal(response.status, await response.text());
}

const ours = z.object({
  error: z.object({
    code: z.string().optional(),
    message: z.string(),
    hint: z.string().nullish(),
    position: z.object({ line: z.number(), column: z.number() }).nullish(),
  }),
});
const jaegers = z.object({ errors: z.array(z.object({ msg: z.string() })).min(1) });

function refusal(status: number, body: string): ApiError {
  const json = parseJson(body);
  const kind = status === 404 ? 'missing' : status === 401 || status === 403 ? 'forbidden' : 'refused';
  const own = ours.safeParse(json);
  if (own.success) {
    const { message, hint, position, code } = own.data.error;
    return new ApiError(kind, message, hint ?? undefined, position ?? undefined, code);
  }
  const foreign = jaegers.safeParse(json);
  if (foreign.success) return new ApiError(kind, foreign.data.errors.map((error) => error.msg).join('; '));
  // A proxy in between answers for a server that is away.
  if (status >= 502 && status <= 504) {
    return new ApiError(
      'unreachable',
      'Weir does not answer.',
      'Is it running? Start it with `weir up`; this page keeps trying.',
    );
  }
  return new ApiError(kind, body.trim().slice(0, 300) || `The server answered with status ${status}.`);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
