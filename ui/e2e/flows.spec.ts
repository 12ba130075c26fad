import { connect } from 'node:net';

import { expect, grid, JA4, rows, test } from './weir';

test('the demo’s TLS connections show up live, with SNI and JA4', async ({ page }) => {
  await page.goto('/flows');
  await expect(page).toHaveTitle('Flows · Weir');
  await expect(page.getByRole('button', { name: 'Live' })).toHaveAttribute('aria-pressed', 'true');
  const flows = grid(page, 'Flows');
  const tls = rows(flows).filter({ hasText: 'api.demo.internal' }).filter({ hasText: JA4 });
  await expect(tls.first()).toBeVisible();
  await expect(tls.first()).toContainText('TLS');
  // Nobody touches the page, and newer rows come.
  const newest = rows(flows).first().locator('time');
  const before = await newest.getAttribute('datetime');
  await expect(newest).not.toHaveAttribute('datetime', before ?? '');
});

test('a connection is on the page within seconds of its end', async ({ page, baseURL }) => {
  const { hostname, port } = new URL(baseURL ?? '');
  const socket = connect(Number(port), hostname);
  await new Promise((resolve) => socket.once('connect', resolve));
  // By process too: the kernel gives out ports again within the quarter of an hour that the page shows.
  await page.goto(`/flows?f=client_port%3D${socket.localPort ?? 0}&f=client_pid%3D${process.pid}`);
  await expect(page.getByRole('button', { name: /Edit filter client_port/ })).toBeVisible();
  const closed = rows(grid(page, 'Flows')).filter({ hasText: 'fin' });
  await expect(closed).toHaveCount(0);
  socket.end();
  const end = Date.now();
  await expect(closed.first()).toBeVisible({ timeout: 5000 });
  test
    .info()
    .annotations.push({ type: 'measured', description: `seen ${Date.now() - end} ms after its end` });
});

test('a filter narrows the list, and the link keeps it', async ({ page }) => {
  await page.goto('/flows?tz=utc');
  const flows = grid(page, 'Flows');
  await expect(rows(flows).filter({ hasText: 'api.demo.internal' }).first()).toBeVisible();
  await page.keyboard.press('/');
  await page.keyboard.type('tls_sni=store.demo.internal');
  await page.keyboard.press('Enter');
  const store = rows(flows).filter({ hasText: 'store.demo.internal' });
  await expect(store.first()).toBeVisible();
  await expect(rows(flows).filter({ hasNotText: 'store.demo.internal' })).toHaveCount(0);
  expect(new URL(page.url()).searchParams.getAll('f')).toEqual(['tls_sni=store.demo.internal']);
  await page.reload();
  await expect(store.first()).toBeVisible();
  await expect(rows(flows).filter({ hasNotText: 'store.demo.internal' })).toHaveCount(0);
});

test('the filter completes columns of the schema and values of the rows', async ({ page }) => {
  await page.goto('/flows');
  await expect(rows(grid(page, 'Flows')).filter({ hasText: JA4 }).first()).toBeVisible();
  const box = page.getByRole('combobox', { name: 'Filter' });
  await box.fill('tls_s');
  await expect(page.getByRole('option', { name: /^tls_sni=/ })).toBeVisible();
  await box.fill('tls_sni=');
  await page.getByRole('option', { name: 'tls_sni=api.demo.internal' }).click();
  await expect(page.getByRole('button', { name: 'Edit filter tls_sni=api.demo.internal' })).toBeVisible();
  await box.fill('server_prt=1');
  await box.press('Enter');
  await expect(page.getByRole('alert')).toContainText('did you mean server_port?');
});

test('a row tells its whole story, down to its trace', async ({ page }) => {
  await page.goto('/flows?f=tls_sni%3Dapi.demo.internal&f=close_reason%3Dfin');
  await rows(grid(page, 'Flows')).filter({ hasText: JA4 }).first().click();
  const panel = page.getByRole('complementary', { name: 'Flow' });
  await expect(panel.getByRole('heading', { name: /TLS handshake/ }).first()).toBeVisible();
  await expect(panel.getByText(JA4).first()).toBeVisible();
  await expect(panel.getByText(/^TLS_\w+/).first()).toBeVisible();
  await panel.getByRole('link', { name: 'Open its trace' }).click();
  const handshake = page.getByRole('row', { name: /TLS handshake/ }).first();
  await expect(handshake).toHaveAttribute('aria-level', /[2-9]/);
});

test('the list is walked by keyboard', async ({ page }) => {
  await page.goto('/flows');
  const flows = grid(page, 'Flows');
  await expect(rows(flows).first()).toBeVisible();
  await page.keyboard.press('Space');
  await expect(page.getByRole('button', { name: 'Paused' })).toBeVisible();
  await page.keyboard.press('j');
  await page.keyboard.press('j');
  await page.keyboard.press('Enter');
  const panel = page.getByRole('complementary', { name: 'Flow' });
  await expect(panel).toBeVisible();
  await expect(flows.getByRole('row', { selected: true })).toHaveAttribute('aria-rowindex', '3');
  await page.keyboard.press('k');
  await expect(flows.getByRole('row', { selected: true })).toHaveAttribute('aria-rowindex', '2');
  await page.keyboard.press('Escape');
  await expect(panel).toHaveCount(0);
});

test('columns are chosen and remembered', async ({ page }) => {
  await page.goto('/flows');
  const flows = grid(page, 'Flows');
  await expect(flows.getByRole('columnheader', { name: 'RTT' })).toBeVisible();
  await page.getByRole('button', { name: 'Choose columns' }).click();
  await page.getByRole('textbox', { name: 'Find a column' }).fill('rtt_us');
  await page.getByRole('checkbox', { name: /RTT/ }).uncheck();
  await expect(flows.getByRole('columnheader', { name: 'RTT' })).toHaveCount(0);
  await page.reload();
  await expect(rows(flows).first()).toBeVisible();
  await expect(flows.getByRole('columnheader', { name: 'RTT' })).toHaveCount(0);
});
