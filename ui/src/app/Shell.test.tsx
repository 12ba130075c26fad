import { screen, waitFor, within } from '@testing-library/react';
import { describe, expect, it } from 'vitest';

import { flows, SUMMARIES, sql, STATUS, TABLES, TLS_FLOW } from '@/test/answers';
import { open } from '@/test/render';
import { serve, unreachable, type Served } from '@/test/server';

const serveAnd = (more: Parameters<typeof serve>[0] = {}): Served =>
  serve({
    '/api/v1/flows': () => flows(TLS_FLOW),
    '/api/v1/tables': () => TABLES,
    '/api/v1/status': () => STATUS,
    '/api/v1/sql': () => sql({}),
    '/api/v3/services': () => ({ services: [] }),
    '/api/v3/trace-summaries': () => SUMMARIES,
    ...more,
  });

describe('the bar', () => {
  it('keeps range and zone from page to page, and nothing else', async () => {
    serveAnd();
    const { user, address } = open('/flows?t=1h&tz=utc&f=server_port%3D443');
    await user.click(screen.getByRole('link', { name: 'Traces' }));
    await screen.findByRole('grid', { name: 'Traces' });
    expect(`${address().pathname}${address().search}`).toBe('/traces?t=1h&tz=utc');
  });

  it('is reached by keyboard: g, then a page', async () => {
    serveAnd();
    const { user, address } = open('/flows');
    await screen.findByRole('grid', { name: 'Flows' });
    await user.keyboard('gt');
    await screen.findByRole('grid', { name: 'Traces' });
    await user.keyboard('gs');
    await screen.findByRole('textbox', { name: 'SQL query' });
    expect(address().pathname).toBe('/sql');
  });

  it('leaves keys to who is typing', async () => {
    serveAnd();
    const { user, address } = open('/flows');
    await user.type(screen.getByRole('combobox', { name: 'Filter' }), 'gt?');
    expect(address().pathname).toBe('/flows');
    expect(screen.queryByRole('dialog')).not.toBeInTheDocument();
  });

  it('lists the shortcuts', async () => {
    serveAnd();
    const { user } = open('/flows');
    await user.keyboard('?');
    const dialog = screen.getByRole('dialog', { name: 'Keyboard shortcuts' });
    expect(within(dialog).getByText('Go to Traces')).toBeVisible();
    await user.click(within(dialog).getByRole('button', { name: 'Close' }));
    await waitFor(() => expect(screen.queryByRole('dialog')).not.toBeInTheDocument());
  });

  it('says how Weir is, and more on a click', async () => {
    const lossy = { ...STATUS.health[0], value: 12, message: 'raise the ring’s size' };
    serveAnd({ '/api/v1/status': () => ({ ...STATUS, health: [lossy] }) });
    const { user } = open('/flows');
    await user.click(await screen.findByRole('button', { name: 'Health: Probe running, 12 lost' }));
    const panel = screen.getByRole('dialog', { name: /Health/ });
    expect(panel).toHaveTextContent('12 lost ring_full on node-a raise the ring’s size');
    expect(panel).toHaveTextContent('flows: 12 rows, 1 file, 4.10 kB');
    await user.keyboard('{Escape}');
    expect(screen.getByRole('button', { name: /Health/ })).toHaveFocus();
  });

  it('says that Weir does not answer', async () => {
    serveAnd({ '/api/v1/status': unreachable });
    open('/flows');
    expect(await screen.findByText('Weir does not answer', { selector: '.health' })).toBeVisible();
  });

  it('goes light, dark and back, and remembers it', async () => {
    serveAnd();
    const { user } = open('/flows');
    await user.click(screen.getByRole('button', { name: /Switch to light/ }));
    await user.click(screen.getByRole('button', { name: /Switch to dark/ }));
    expect(document.documentElement.dataset['theme']).toBe('dark');
    expect(localStorage.getItem('weir.preferences.v1')).toContain('"dark"');
    await user.click(screen.getByRole('button', { name: /Switch to system/ }));
    expect(document.documentElement.dataset['theme']).toBeUndefined();
  });

  it('leads on from an address that is no page', async () => {
    serveAnd();
    open('/nowhere');
    expect(await screen.findByRole('heading', { name: 'There is no such page' })).toBeVisible();
  });
});

describe('the time range', () => {
  it('is chosen from a list or set by hand, in the chosen zone', async () => {
    serveAnd();
    const { user, address } = open('/flows?tz=utc');
    await user.click(screen.getByRole('button', { name: /Time range: Last 15 minutes/ }));
    await user.click(screen.getByRole('button', { name: 'Last 6 hours' }));
    expect(address().searchParams.get('t')).toBe('6h');
    await user.click(screen.getByRole('button', { name: /Time range: Last 6 hours/ }));
    const [from, to] = [screen.getByLabelText('From'), screen.getByLabelText('To')];
    await user.clear(from);
    await user.type(from, '2026-11-24T21:00:00');
    await user.clear(to);
    await user.type(to, '2026-11-24T20:00:00');
    expect(screen.getByRole('alert')).toHaveTextContent('ends before it starts');
    await user.clear(to);
    await user.type(to, '2026-11-24T22:00:00');
    await user.click(screen.getByRole('button', { name: 'Use this range' }));
    expect(address().searchParams.get('t')).toBe('2026-11-24T21:00:00.000Z~2026-11-24T22:00:00.000Z');
    expect(screen.getByRole('button', { name: /Paused/ })).toBeDisabled();
  });
});
