import { screen, waitFor, within } from '@testing-library/react';
import { describe, expect, it } from 'vitest';

import { CONNECTION_SPANS, STATUS, SUMMARIES, TRACE, trace } from '@/test/answers';
import { open } from '@/test/render';
import { serve, type Served } from '@/test/server';

const serveAnd = (more: Parameters<typeof serve>[0] = {}): Served =>
  serve({
    '/api/v1/status': () => STATUS,
    '/api/v3/services': () => ({ services: ['front', 'api'] }),
    '/api/v3/operations': () => ({ operations: [{ name: 'TCP connection', spanKind: 'client' }] }),
    '/api/v3/trace-summaries': () => SUMMARIES,
    [`/api/traces/${TRACE}`]: () => trace(...CONNECTION_SPANS),
    ...more,
  });
const summaries = '/api/v3/trace-summaries';

describe('the Traces page', () => {
  it('lists the newest traces first, with duration, spans, errors and services', async () => {
    serveAnd();
    open('/traces?tz=utc');
    const [, first, second] = await screen.findAllByRole('row');
    expect(first).toHaveTextContent('Parent not seen yet');
    for (const text of ['front TCP connection', '1 s', '1 error', 'api (1), front (3)']) {
      expect(second).toHaveTextContent(text);
    }
    expect(document.title).toBe('Traces · Weir');
  });

  it('asks by service, operation, tags and duration, which the link carries', async () => {
    const server = serveAnd();
    const { user, address } = open('/traces');
    await screen.findByRole('option', { name: 'front' });
    await user.selectOptions(screen.getByRole('combobox', { name: 'Service' }), 'front');
    await screen.findByRole('option', { name: 'TCP connection' });
    await user.selectOptions(screen.getByRole('combobox', { name: 'Operation' }), 'TCP connection');
    await user.type(screen.getByRole('textbox', { name: 'Tags' }), 'error tls.cipher=X{Enter}');
    await user.type(screen.getByRole('textbox', { name: 'Min duration' }), '1.5ms{Enter}');
    await waitFor(() =>
      expect(Object.fromEntries(server.of(summaries).at(-1)?.params ?? [])).toMatchObject({
        'query.serviceName': 'front',
        'query.operationName': 'TCP connection',
        'query.attributes': '{"error":"true","tls.cipher":"X"}',
        'query.durationMin': '1.5ms',
        'query.searchDepth': '100',
      }),
    );
    expect(Object.fromEntries(address().searchParams)).toEqual({
      service: 'front',
      operation: 'TCP connection',
      tags: 'error tls.cipher=X',
      min: '1.5ms',
    });
    expect(screen.getByRole('textbox', { name: 'Min duration' })).toHaveFocus();
  });

  it('marks rows that answer the question before, until the next one is answered', async () => {
    let answer = (): void => undefined;
    const later = new ReadableStream<Uint8Array>({
      start: (body) => {
        answer = () => {
          body.enqueue(new TextEncoder().encode(JSON.stringify(SUMMARIES)));
          body.close();
        };
      },
    });
    serveAnd({
      [summaries]: ({ params }) => (params.has('query.serviceName') ? new Response(later) : SUMMARIES),
    });
    const { user } = open('/traces');
    const traces = await screen.findByRole('grid', { name: 'Traces' });
    expect(traces).toHaveAttribute('aria-busy', 'false');
    await screen.findByRole('option', { name: 'front' });
    await user.selectOptions(screen.getByRole('combobox', { name: 'Service' }), 'front');
    await waitFor(() => expect(traces).toHaveAttribute('aria-busy', 'true'));
    answer();
    await waitFor(() => expect(traces).toHaveAttribute('aria-busy', 'false'));
  });

  it('asks again for the same on Enter and by the button', async () => {
    const server = serveAnd();
    const { user } = open('/traces');
    await screen.findByRole('grid', { name: 'Traces' });
    const before = server.of(summaries).length;
    await user.click(screen.getByRole('button', { name: 'Search' }));
    await user.type(screen.getByRole('textbox', { name: 'Tags' }), '{Enter}');
    await waitFor(() => expect(server.of(summaries)).toHaveLength(before + 2));
  });

  it('says how to write a duration, and asks for none that is wrong', async () => {
    const server = serveAnd();
    const { user } = open('/traces');
    await screen.findByRole('grid', { name: 'Traces' });
    const field = screen.getByRole('textbox', { name: /Max duration/ });
    await user.type(field, '5 seconds{Enter}');
    expect(field).toBeInvalid();
    expect(field).toHaveAccessibleDescription('Write a number and a unit, such as 1.5ms or 2s.');
    expect(server.of(summaries).every(({ params }) => !params.has('query.durationMax'))).toBe(true);
  });

  it('opens a trace by keyboard, and leads back to the same search', async () => {
    serveAnd();
    const { user, address } = open('/traces?service=front');
    await screen.findByRole('grid', { name: 'Traces' });
    await user.keyboard('jj{Enter}');
    await screen.findByRole('treegrid', { name: 'Spans' });
    expect(address().pathname).toBe(`/traces/${TRACE}`);
    await user.keyboard('j');
    await user.click(screen.getByRole('link', { name: 'All traces' }));
    await screen.findByRole('grid', { name: 'Traces' });
    expect([address().pathname, address().search]).toEqual(['/traces', '?service=front']);
  });

  it('opens a trace by a pasted id', async () => {
    serveAnd();
    const { user, address } = open('/traces');
    await user.type(
      await screen.findByRole('textbox', { name: /Trace id/ }),
      ` ${TRACE.toUpperCase()}{Enter}`,
    );
    await screen.findByRole('treegrid', { name: 'Spans' });
    expect(address().pathname).toBe(`/traces/${TRACE}`);
  });

  it('clears a search that found nothing', async () => {
    serveAnd({
      [summaries]: ({ params }) => (params.has('query.serviceName') ? { summaries: [] } : SUMMARIES),
    });
    const { user, address } = open('/traces?service=gone&t=1h');
    const notice = await screen.findByRole('heading', { name: 'No trace matches' });
    expect(
      within(screen.getByRole('combobox', { name: 'Service' })).getByRole('option', { name: 'gone' }),
    ).toBeVisible();
    await user.click(screen.getByRole('button', { name: 'Clear the search' }));
    expect(await screen.findByRole('grid', { name: 'Traces' })).toBeVisible();
    expect([notice.isConnected, address().search]).toEqual([false, '?t=1h']);
  });

  it('says how traces come about where there are none', async () => {
    serveAnd({ [summaries]: () => ({ summaries: [] }) });
    open('/traces');
    expect(await screen.findByRole('heading', { name: 'No traces in this range yet' })).toBeVisible();
  });

  it('shows Jaeger’s words when the search is refused', async () => {
    const refused = { error: { httpCode: 400, message: 'malformed parameter query.durationMin' } };
    serveAnd({ [summaries]: () => Response.json(refused, { status: 400 }) });
    open('/traces?min=1ms');
    expect(await screen.findByRole('alert')).toHaveTextContent('malformed parameter query.durationMin');
  });
});
