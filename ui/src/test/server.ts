/** A server that answers from a table, in place of `fetch`. What was asked is kept, for tests to look at. */
import { vi } from 'vitest';

export interface Asked {
  readonly path: string;
  readonly params: URLSearchParams;
  readonly body: string;
  readonly accept: string;
}

/** A value is sent as JSON with status 200; a `Response` as it is. */
type Answering = (asked: Asked) => unknown;

export interface Served {
  readonly asked: readonly Asked[];
  /** What was asked of one path, oldest first. */
  readonly of: (path: string) => readonly Asked[];
}

export function serve(answers: Readonly<Record<string, Answering>>): Served {
  const asked: Asked[] = [];
  vi.stubGlobal('fetch', (input: string, init: RequestInit = {}): Promise<Response> => {
    const url = new URL(input, 'http://weir.test');
    const question: Asked = {
      path: url.pathname,
      params: url.searchParams,
      body: typeof init.body === 'string' ? init.body : '',
      accept: new Headers(init.headers).get('accept') ?? '',
    };
    asked.push(question);
    const answering = answers[url.pathname];
    if (answering === undefined)
      return Promise.resolve(new Response('404 page not found\n', { status: 404 }));
    try {
      const answer = answering(question);
      return Promise.resolve(answer instanceof Response ? answer.clone() : Response.json(answer));
    } catch (error) {
      // As a browser says that nobody listens.
      return Promise.reject(error instanceof Error ? error : new TypeError('Failed to fetch'));
    }
  });
  return { asked, of: (path) => asked.filter((each) => each.path === path) };
}

/** Nobody listens there. */
export const unreachable = (): never => {
  throw new TypeError('Failed to fetch');
};

/** A refusal in the form of `/api/v1`. */
export const refusal = (status: number, error: Readonly<Record<string, unknown>>): Response =>
  Response.json({ error }, { status });
