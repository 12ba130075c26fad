import { screen, waitFor } from '@testing-library/react';
import { describe, expect, it, vi } from 'vitest';

import { sql, STATUS, TABLES } from '@/test/answers';
import { open } from '@/test/render';
import { refusal, serve, type Served } from '@/test/server';

const serveAnd = (answer: Parameters<typeof serve>[0][string]): Served =>
  serve({ '/api/v1/status': () => STATUS, '/api/v1/tables': () => TABLES, '/api/v1/sql': answer });
const at = (query: string, more = ''): string => `/sql?q=${encodeURIComponent(query)}${more}`;
const editor = (): Promise<HTMLElement> => screen.findByRole('textbox', { name: 'SQL query' });

describe('the SQL page', () => {
  it('runs the query of its link and shows the answer, times in the chosen zone', async () => {
    const server = serveAnd(() =>
      sql(
        { time: 'TIMESTAMP', server: 'VARCHAR', bytes: 'BIGINT' },
        ['2026-11-24T21:03:05.120456789Z', 'api', 1530],
        ['2026-11-24T21:03:06Z', null, 7],
      ),
    );
    open(at('SELECT time, server, bytes FROM flows', '&tz=utc'));
    expect(await screen.findByRole('row', { name: '2026-11-24 21:03:05.120 api 1530' })).toBeVisible();
    expect(screen.getByRole('row', { name: '2026-11-24 21:03:06.000 null 7' })).toBeVisible();
    expect(screen.getByText('2 rows in 4.25 ms')).toBeVisible();
    expect(screen.getByText('Complete')).toBeVisible();
    expect(server.of('/api/v1/sql')[0]?.body).toBe('SELECT time, server, bytes FROM flows');
    expect(document.title).toBe('SQL · Weir');
  });

  it('points at the place of a mistake, in the text as it was written', async () => {
    // The server counts in the text that it got, where $start is longer.
    serveAnd(({ body }) =>
      refusal(400, {
        code: 'sql.unknown_column',
        message: 'no column "nope" in the tables of this query',
        position: { line: 2, column: (body.split('\n')[1] ?? '').indexOf('nope') + 1 },
        hint: 'did you mean node?',
      }),
    );
    const { user } = open(at('SELECT 1 FROM flows\nWHERE time > $start AND nope = 1'));
    const alert = await screen.findByRole('alert');
    expect(alert).toHaveTextContent('The query has a mistake');
    expect(alert).toHaveTextContent('no column "nope"');
    expect(alert).toHaveTextContent('did you mean node?');
    await waitFor(() => expect(document.querySelector('.cm-lintRange-error')).toHaveTextContent('nope'));
    await user.click(screen.getByRole('button', { name: 'Go to line 2, column 25' }));
    expect(await editor()).toHaveFocus();
  });

  it('puts the time range in place of $start and $end', async () => {
    const server = serveAnd(() => sql({ n: 'BIGINT' }, [1]));
    open(at('SELECT 1 WHERE time > $start', '&t=2026-11-24T21:00:00.000Z~2026-11-24T22:00:00.000Z'));
    await screen.findByText(/1 row in/);
    expect(server.of('/api/v1/sql')[0]?.body).toBe(
      'SELECT 1 WHERE time > to_timestamp_nanos(1795554000000000000)',
    );
  });

  it('says that a limit stopped the query, and not that it is wrong', async () => {
    serveAnd(() =>
      refusal(408, { code: 'limit.time', message: 'stopped after 30 s', hint: 'narrow the time range' }),
    );
    open(at('SELECT 1'));
    expect(await screen.findByRole('heading', { name: 'The query was stopped' })).toBeVisible();
    expect(document.querySelector('.cm-lintRange-error')).toBeNull();
  });

  it('runs an example, and Back returns to the query before', async () => {
    const server = serveAnd(({ body }) => sql({ n: 'BIGINT' }, [body.includes('flows') ? 2 : 1]));
    const { user, address, back } = open(at('SELECT 1'));
    await screen.findByRole('row', { name: '1' });
    await user.selectOptions(screen.getByRole('combobox', { name: 'Examples' }), 'Plaintext connections');
    await user.click(screen.getByRole('button', { name: 'Run' }));
    await screen.findByRole('row', { name: '2' });
    expect(server.of('/api/v1/sql').at(-1)?.body).toContain("encryption = 'plaintext'");
    await back();
    await screen.findByRole('row', { name: '1' });
    expect(address().searchParams.get('q')).toBe('SELECT 1');
    expect(await editor()).toHaveTextContent('SELECT 1');
  });

  it('asks again when the same query is run again, without another step of history', async () => {
    const server = serveAnd(() => sql({ n: 'BIGINT' }, [1]));
    const { user } = open(at('SELECT 1'));
    await screen.findByRole('row', { name: '1' });
    await user.click(screen.getByRole('button', { name: 'Run' }));
    await waitFor(() => expect(server.of('/api/v1/sql')).toHaveLength(2));
  });

  it('completes out of the schema list', async () => {
    serveAnd(() => sql({}));
    const { user } = open('/sql');
    await user.click(await screen.findByRole('button', { name: 'Columns of flows' }));
    await user.click(screen.getByRole('button', { name: 'tls_sni' }));
    await waitFor(async () => expect(await editor()).toHaveTextContent('tls_sni'));
    await user.type(screen.getByRole('textbox', { name: 'Find a column' }), 'ja4');
    expect(screen.getByRole('button', { name: 'tls_ja4' })).toBeVisible();
    expect(screen.queryByRole('button', { name: 'tls_sni' })).not.toBeInTheDocument();
  });

  it('exports all of it as CSV', async () => {
    const made = vi.fn(() => 'blob:weir');
    const downloaded = vi.spyOn(HTMLAnchorElement.prototype, 'click').mockReturnValue();
    vi.stubGlobal('URL', Object.assign(URL, { createObjectURL: made, revokeObjectURL: vi.fn() }));
    const server = serveAnd(({ accept }) =>
      accept === 'text/csv' ? new Response('n\n1\n') : sql({ n: 'BIGINT' }, [1]),
    );
    const { user } = open(at('SELECT 1'));
    await screen.findByRole('row', { name: '1' });
    await user.click(screen.getByRole('button', { name: 'Export CSV' }));
    await waitFor(() => expect(downloaded).toHaveBeenCalledOnce());
    expect(made).toHaveBeenCalledOnce();
    expect(server.of('/api/v1/sql').at(-1)).toMatchObject({ accept: 'text/csv', body: 'SELECT 1' });
  });

  it('says that nothing matches', async () => {
    serveAnd(() => sql({ n: 'BIGINT' }));
    open(at('SELECT 1 WHERE false'));
    expect(await screen.findByRole('heading', { name: 'No rows' })).toBeVisible();
  });
});
