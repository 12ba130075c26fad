import { screen, waitFor, within } from '@testing-library/react';
import { describe, expect, it, vi } from 'vitest';

import { CONNECTION, CONNECTION_SPANS, JA4, ORPHAN, STATUS, TRACE, trace } from '@/test/answers';
import { open } from '@/test/render';
import { serve, type Served } from '@/test/server';

const PATH = `/api/traces/${TRACE}`;
const serveTrace = (answer: () => unknown = () => trace(...CONNECTION_SPANS)): Served =>
  serve({ '/api/v1/status': () => STATUS, [PATH]: answer });
const rowOf = (name: RegExp): Promise<HTMLElement> => screen.findByRole('row', { name });

describe('the Trace page', () => {
  it('shows the handshake as a child of its connection', async () => {
    serveTrace();
    open(`/traces/${TRACE}?tz=utc`);
    expect(await screen.findByRole('heading', { name: /front: TCP connection/ })).toBeVisible();
    expect(await rowOf(/TCP connection/)).toHaveAttribute('aria-level', '1');
    const handshake = await rowOf(/TLS handshake/);
    expect(handshake).toHaveAttribute('aria-level', '2');
    expect(handshake).toHaveTextContent('2.10 ms');
    expect(screen.getByText('4 spans')).toBeVisible();
    expect(screen.getByText('2 services')).toBeVisible();
    expect(screen.getByText('1 error')).toBeVisible();
    expect(screen.getByText('2026-11-24 21:03:05.120')).toBeVisible();
  });

  it('tells a span’s whole story, with the way to its flows', async () => {
    serveTrace();
    const { user, address } = open(`/traces/${TRACE}`);
    await user.click(await rowOf(/TLS handshake/));
    const panel = screen.getByRole('complementary', { name: 'Span' });
    expect(within(panel).getByText('TLS_AES_128_GCM_SHA256')).toBeVisible();
    expect(within(panel).getByText(JA4)).toBeVisible();
    expect(address().searchParams.get('span')).toBe('00000000000000b3');
    await user.click(await rowOf(/TCP connection/));
    const link = within(panel).getByRole('link', { name: 'Show its flows' });
    expect(link).toHaveAttribute('href', expect.stringContaining(`f=connection_id%3D${CONNECTION}`));
    await user.keyboard('{Escape}');
    expect(screen.queryByRole('complementary')).not.toBeInTheDocument();
  });

  it('is walked, folded and unfolded by keyboard', async () => {
    serveTrace();
    const { user } = open(`/traces/${TRACE}`);
    (await screen.findByRole('treegrid', { name: 'Spans' })).focus();
    await user.keyboard('{ArrowDown}');
    expect(await rowOf(/TCP connection/)).toHaveAttribute('aria-selected', 'true');
    await user.keyboard('{ArrowLeft}');
    expect(screen.queryByRole('row', { name: /TLS handshake/ })).not.toBeInTheDocument();
    expect(await rowOf(/TCP connection/)).toHaveTextContent('+3');
    await user.keyboard('{ArrowRight}{ArrowDown}{ArrowDown}');
    expect(await rowOf(/TLS handshake/)).toHaveAttribute('aria-selected', 'true');
  });

  it('zooms to a span and back, which the link carries', async () => {
    serveTrace();
    const { user, address } = open(`/traces/${TRACE}?span=00000000000000b3`);
    await user.click(await screen.findByRole('button', { name: 'Zoom to this span' }));
    expect(address().searchParams.get('part')).toBe('90~2610');
    expect(await rowOf(/GET \/catalog/)).toHaveTextContent('50 ms, later');
    await user.keyboard('z');
    expect(address().searchParams.has('part')).toBe(false);
    expect(await rowOf(/GET \/catalog/)).not.toHaveTextContent('later');
  });

  it('finds spans by what their tags say', async () => {
    serveTrace();
    const { user } = open(`/traces/${TRACE}`);
    await user.type(await screen.findByRole('searchbox', { name: 'Find in this trace' }), 'aes_128');
    expect(screen.getByText('1 span found')).toBeVisible();
    expect(await rowOf(/TLS handshake/)).toHaveAttribute('data-dimmed', 'false');
    expect(await rowOf(/TCP connect /)).toHaveAttribute('data-dimmed', 'true');
  });

  it('says that a parent is missing, and takes it in when it comes', async () => {
    // A minute after the trace began: its connection may still be open.
    vi.useFakeTimers({ toFake: ['Date'], now: new Date('2026-11-24T21:04:05Z') });
    let spans: readonly object[] = [ORPHAN];
    serveTrace(() => trace(...spans));
    open(`/traces/${TRACE}`);
    expect(await screen.findByText('1 span without parent')).toBeVisible();
    spans = CONNECTION_SPANS;
    await waitFor(() => expect(screen.queryByText('1 span without parent')).not.toBeInTheDocument());
    expect(await rowOf(/TLS handshake/)).toHaveAttribute('aria-level', '2');
  });

  it('says that there is no such trace, and looks again', async () => {
    let known = false;
    const missing = {
      data: null,
      total: 0,
      limit: 0,
      offset: 0,
      errors: [{ code: 404, msg: 'trace not found' }],
    };
    serveTrace(() => (known ? trace(...CONNECTION_SPANS) : Response.json(missing, { status: 404 })));
    const { user } = open(`/traces/${TRACE}`);
    expect(await screen.findByRole('heading', { name: 'Weir has no such trace' })).toBeVisible();
    known = true;
    await user.click(screen.getByRole('button', { name: 'Look again' }));
    expect(await rowOf(/TLS handshake/)).toBeVisible();
  });

  it('does not ask for what is no trace id', async () => {
    const server = serveTrace();
    open('/traces/not-an-id');
    expect(await screen.findByRole('heading', { name: 'This is no trace id' })).toBeVisible();
    expect(server.asked.some(({ path }) => path.startsWith('/api/traces'))).toBe(false);
  });
});
