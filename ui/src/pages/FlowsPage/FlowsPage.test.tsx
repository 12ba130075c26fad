import { screen, waitFor, within } from '@testing-library/react';
import { describe, expect, it } from 'vitest';

import {
  CONNECTION,
  flows,
  INCOMPLETE,
  JA4,
  PLAIN_FLOW,
  sql,
  STATUS,
  TABLES,
  TLS_FLOW,
  TRACE,
} from '@/test/answers';
import { open } from '@/test/render';
import { refusal, serve, unreachable, type Served } from '@/test/server';

const USUAL = {
  '/api/v1/flows': () => flows(PLAIN_FLOW, TLS_FLOW),
  '/api/v1/tables': () => TABLES,
  '/api/v1/status': () => STATUS,
  '/api/v1/sql': () => sql({}),
};
const serveAnd = (more: Parameters<typeof serve>[0] = {}): Served => serve({ ...USUAL, ...more });
const rowOf = async (name: RegExp): Promise<HTMLElement> => screen.findByRole('row', { name });

describe('the Flows page', () => {
  it('shows who talks to whom, with SNI and JA4', async () => {
    serveAnd();
    open('/flows?tz=utc');
    const row = await rowOf(/api\.demo\.internal/);
    for (const text of [
      'front',
      '10.77.0.2:40000',
      '10.77.0.3:8443',
      '1.53 kB',
      '312 µs',
      'TLS 1.3',
      'http/1.1',
      JA4,
    ]) {
      expect(row).toHaveTextContent(text);
    }
    expect(document.title).toBe('Flows · Weir');
    expect(screen.getByText('Complete')).toBeVisible();
  });

  it('does not hide an address behind a name that has its own column', async () => {
    serveAnd({ '/api/v1/flows': () => flows({ ...TLS_FLOW, server_name: 'api.demo.internal' }) });
    open('/flows');
    const row = await rowOf(/api\.demo\.internal/);
    expect(within(row).getAllByText('api.demo.internal')).toHaveLength(1);
  });

  it('narrows by a typed filter, which the link then carries', async () => {
    const server = serveAnd({
      '/api/v1/flows': ({ params }) =>
        params.getAll('filter').includes('server_port=8443') ? flows(TLS_FLOW) : flows(PLAIN_FLOW, TLS_FLOW),
    });
    const { user, address } = open('/flows');
    await rowOf(/10\.77\.0\.3:8080/);
    await user.type(screen.getByRole('combobox', { name: 'Filter' }), 'server_port=8443{Enter}');
    await waitFor(() =>
      expect(screen.queryByRole('row', { name: /10\.77\.0\.3:8080/ })).not.toBeInTheDocument(),
    );
    expect(await rowOf(/api\.demo\.internal/)).toBeVisible();
    expect(address().searchParams.getAll('f')).toEqual(['server_port=8443']);
    await user.click(screen.getByRole('button', { name: 'Remove filter server_port=8443' }));
    await rowOf(/10\.77\.0\.3:8080/);
    expect(server.of('/api/v1/flows').at(-1)?.params.getAll('filter')).toEqual([]);
  });

  it('completes columns and values by keyboard', async () => {
    serveAnd();
    const { user, address } = open('/flows');
    await rowOf(/api\.demo\.internal/);
    const box = screen.getByRole('combobox', { name: 'Filter' });
    await user.type(box, 'tls_s{ArrowDown}{Enter}');
    expect(box).toHaveValue('tls_sni=');
    await user.keyboard('{ArrowDown}{Enter}');
    expect(address().searchParams.getAll('f')).toEqual(['tls_sni=api.demo.internal']);
  });

  it('says that a column does not exist before it asks', async () => {
    const server = serveAnd();
    const { user } = open('/flows');
    await rowOf(/api\.demo\.internal/);
    await user.type(screen.getByRole('combobox', { name: 'Filter' }), 'server_prot=443{Enter}');
    expect(screen.getByRole('alert')).toHaveTextContent('did you mean server_port?');
    expect(server.of('/api/v1/flows').every(({ params }) => params.getAll('filter').length === 0)).toBe(true);
  });

  it('tells a row’s whole story, with the way to its trace', async () => {
    serveAnd({
      '/api/v1/sql': ({ body }) =>
        body.includes('tls_handshakes')
          ? sql({ observer: 'VARCHAR', tls_cipher: 'VARCHAR' }, ['client', 'TLS_AES_128_GCM_SHA256'])
          : sql({ time: 'TIMESTAMP', connection_id: 'VARCHAR', observer: 'VARCHAR', state: 'VARCHAR' }, [
              TLS_FLOW.time,
              CONNECTION,
              'client',
              'only',
            ]),
    });
    const { user, address } = open('/flows');
    await user.click(await rowOf(/api\.demo\.internal/));
    const panel = await screen.findByRole('complementary', { name: 'Flow' });
    expect(await within(panel).findByText('TLS_AES_128_GCM_SHA256')).toBeVisible();
    expect(within(panel).getByRole('link', { name: 'Open its trace' })).toHaveAttribute(
      'href',
      `/traces/${TRACE}`,
    );
    await user.click(within(panel).getByRole('button', { name: 'Filter by server_port = 8443' }));
    expect(address().searchParams.getAll('f')).toEqual(['server_port=8443']);
    await user.keyboard('{Escape}');
    expect(screen.queryByRole('complementary')).not.toBeInTheDocument();
  });

  it('sorts by a column’s title, largest first', async () => {
    serveAnd();
    const { user, address } = open('/flows');
    await rowOf(/api\.demo\.internal/);
    await user.click(screen.getByRole('button', { name: /Client sent/ }));
    expect(address().searchParams.get('s')).toBe('-client_bytes');
    expect(screen.getAllByRole('row')[1]).toHaveTextContent('800 kB');
  });

  it('pauses and resumes by the space bar', async () => {
    serveAnd();
    const { user, address } = open('/flows');
    await rowOf(/api\.demo\.internal/);
    await user.keyboard(' ');
    expect(screen.getByRole('button', { name: /Paused/ })).toHaveAttribute('aria-pressed', 'false');
    expect(address().searchParams.get('live')).toBe('off');
  });

  it('says what is missing', async () => {
    serveAnd({ '/api/v1/flows': () => ({ ...flows(TLS_FLOW), completeness: INCOMPLETE }) });
    open('/flows');
    expect(await screen.findByText(/Incomplete: records missing in this range: 3 lost/)).toBeVisible();
  });

  it('says why there is nothing, and what to do', async () => {
    const off = { ...STATUS, probe: { state: 'off', detail: 'needs root' } };
    serveAnd({ '/api/v1/flows': () => flows(), '/api/v1/status': () => off });
    open('/flows');
    expect(await screen.findByRole('heading', { name: 'The probe is off' })).toBeVisible();
    expect(screen.getByText('weir doctor')).toBeVisible();
  });

  it('offers to remove the filters where they hide everything', async () => {
    serveAnd({ '/api/v1/flows': ({ params }) => (params.has('filter') ? flows() : flows(TLS_FLOW)) });
    const { user } = open('/flows?f=server_port%3D1');
    await user.click(await screen.findByRole('button', { name: 'Remove all filters' }));
    expect(await rowOf(/api\.demo\.internal/)).toBeVisible();
  });

  it('says that Weir does not answer, and asks again', async () => {
    let isUp = false;
    serveAnd({ '/api/v1/flows': () => (isUp ? flows(TLS_FLOW) : unreachable()) });
    const { user } = open('/flows?live=off');
    expect(await screen.findByRole('alert')).toHaveTextContent('Weir does not answer');
    isUp = true;
    await user.click(screen.getByRole('button', { name: 'Try again' }));
    expect(await rowOf(/api\.demo\.internal/)).toBeVisible();
  });

  it('shows the server’s own words when it refuses', async () => {
    const why = { code: 'request.parameter', message: 'server_port is a whole number, "x" is none' };
    serveAnd({ '/api/v1/flows': () => refusal(400, why) });
    open('/flows?live=off');
    expect(await screen.findByRole('alert')).toHaveTextContent('server_port is a whole number');
  });
});
