import { readFile } from 'node:fs/promises';

import type { Page } from '@playwright/test';

import { expect, grid, JA4, rows, test } from './weir';

/** Writes a query in the place of the one that is there. */
async function write(page: Page, sql: string): Promise<void> {
  await page.getByRole('textbox', { name: 'SQL query' }).click();
  await page.keyboard.press('ControlOrMeta+a');
  await page.keyboard.insertText(sql);
}

test('a query runs by keyboard over the demo’s handshakes, and its link shows the same', async ({ page }) => {
  await page.goto('/sql');
  await expect(page).toHaveTitle('SQL · Weir');
  await write(
    page,
    `SELECT tls_sni, tls_version, tls_ja4, count(*) AS handshakes
FROM tls_handshakes
WHERE time BETWEEN $start AND $end AND tls_sni = 'api.demo.internal'
GROUP BY 1, 2, 3`,
  );
  // The demo may have begun a moment ago: asked until its first handshake is there.
  await expect(async () => {
    await page.keyboard.press('Control+Enter');
    await expect(rows(grid(page, 'Results')).first()).toContainText('api.demo.internal', { timeout: 2000 });
  }).toPass();
  await expect(rows(grid(page, 'Results')).first()).toContainText(JA4);
  await expect(page.getByText(/row.* in .*s$/)).toBeVisible();
  await page.reload();
  await expect(rows(grid(page, 'Results')).first()).toContainText('api.demo.internal');
});

test('a mistake is shown in its place', async ({ page }) => {
  await page.goto('/sql');
  await write(page, 'SELECT tls_sni, client_prcess\nFROM flows\nWHERE time > $start AND server_prt = 443');
  await page.getByRole('button', { name: 'Run', exact: true }).click();
  const alert = page.getByRole('alert');
  await expect(alert).toContainText('The query has a mistake');
  await expect(alert).toContainText(/did you mean/i);
  const mark = page.locator('.cm-lintRange-error');
  await expect(mark).toHaveText(/^(client_prcess|server_prt)$/);
  const wrong = (await mark.textContent()) ?? '';
  await page.getByRole('button', { name: /Go to line \d+, column \d+/ }).click();
  // The cursor has chosen the word: typing takes its place.
  expect(await page.evaluate(() => document.getSelection()?.toString())).toBe(wrong);
});

test('a mistake of grammar is shown in its place', async ({ page }) => {
  await page.goto('/sql');
  await write(page, 'SELECT time\nFORM flows');
  await page.keyboard.press('Control+Enter');
  await expect(page.getByRole('alert')).toContainText('The query has a mistake');
  await expect(page.getByRole('button', { name: 'Go to line 2, column 6' })).toBeVisible();
});

test('the editor completes tables and columns, and lets go of Tab', async ({ page }) => {
  await page.goto('/sql');
  await write(page, 'SELECT * FROM flows WHERE ');
  await page.keyboard.type('tls_s');
  await page.getByRole('option', { name: /tls_sni/ }).click();
  await expect(page.getByRole('textbox', { name: 'SQL query' })).toContainText('WHERE tls_sni');
  await page.keyboard.press('Escape');
  await page.keyboard.press('Tab');
  await expect(page.getByRole('button', { name: 'Run', exact: true })).toBeFocused();
});

test('examples run as they are, and export as CSV', async ({ page }) => {
  await page.goto('/sql');
  const examples = page.getByRole('combobox', { name: 'Examples' });
  await expect(examples).toBeVisible();
  const titles = await examples.getByRole('option').allTextContents();
  expect(titles.length).toBeGreaterThan(5);
  for (const title of titles.slice(1)) {
    await examples.selectOption(title);
    const answered = page.waitForResponse((response) => response.url().endsWith('/api/v1/sql'));
    await page.getByRole('button', { name: 'Run', exact: true }).click();
    expect((await answered).status(), title).toBe(200);
    await expect(page.getByText(/\d+ rows? in /), title).toBeVisible();
  }
  await examples.selectOption(titles[1] ?? '');
  const downloading = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Export CSV' }).click();
  const csv = await readFile(await (await downloading).path(), 'utf8');
  expect(csv.split('\n')[0]?.trim()).toBe('client,server,server_port,connections,bytes');
  expect(csv).toContain('api.demo.internal');
});
