import type { Page } from '@playwright/test';

import { expect, grid, isAccessible, rows, test } from './weir';

interface View {
  readonly name: string;
  /** Opens it, and waits until it shows what it is for. */
  readonly show: (page: Page) => Promise<void>;
}

const SQL =
  'SELECT time, client_process, tls_sni, tls_version FROM tls_handshakes WHERE tls_sni IS NOT NULL LIMIT 50';

/** What opens over a list is checked over an empty one: the rows have their own check, which takes long. */
const NO_ROWS = '/flows?live=off&f=server_port%3D1';

const VIEWS: readonly View[] = [
  {
    name: 'flows',
    show: async (page) => {
      await page.goto('/flows');
      await expect(rows(grid(page, 'Flows')).filter({ hasText: 'demo.internal' }).first()).toBeVisible();
    },
  },
  {
    name: 'flow',
    show: async (page) => {
      await page.goto('/flows?live=off&f=tls_sni~demo');
      await rows(grid(page, 'Flows')).first().click();
      await expect(page.getByRole('heading', { name: /TLS handshake/ }).first()).toBeVisible();
    },
  },
  {
    name: 'flows-none',
    show: async (page) => {
      await page.goto('/flows?f=server_port%3D1');
      await expect(page.getByRole('heading', { name: 'No flow matches' })).toBeVisible();
    },
  },
  {
    name: 'filter',
    show: async (page) => {
      await page.goto(NO_ROWS);
      await page.getByRole('combobox', { name: 'Filter' }).fill('tls');
      await page.keyboard.press('ArrowDown');
      await expect(
        page.getByRole('listbox', { name: 'Suggestions' }).getByRole('option', { selected: true }),
      ).toBeVisible();
    },
  },
  {
    name: 'range',
    show: async (page) => {
      await page.goto(NO_ROWS);
      await page.getByRole('button', { name: /Time range/ }).click();
      await expect(page.getByRole('button', { name: 'Use this range' })).toBeVisible();
    },
  },
  {
    name: 'health',
    show: async (page) => {
      await page.goto(NO_ROWS);
      await page.getByRole('button', { name: /Health/ }).click();
      await expect(page.getByRole('heading', { name: 'Listens on' })).toBeVisible();
    },
  },
  {
    name: 'traces',
    show: async (page) => {
      await page.goto('/traces');
      await expect(rows(grid(page, 'Traces')).first()).toBeVisible();
    },
  },
  {
    name: 'traces-none',
    show: async (page) => {
      await page.goto('/traces?service=nobody&min=5x');
      await expect(
        page.getByRole('alert').or(page.getByRole('heading', { name: 'No trace matches' })),
      ).toBeVisible();
    },
  },
  {
    name: 'trace',
    show: async (page) => {
      await page.goto('/traces?tags=tls.established%3Dtrue');
      await rows(grid(page, 'Traces')).filter({ hasText: 'TCP connection' }).first().click();
      await page
        .getByRole('row', { name: /TLS handshake/ })
        .first()
        .click();
      await expect(page.getByRole('complementary', { name: 'Span' })).toBeVisible();
    },
  },
  {
    name: 'sql',
    show: async (page) => {
      await page.goto(`/sql?q=${encodeURIComponent(SQL)}`);
      await expect(rows(grid(page, 'Results')).first()).toBeVisible();
      await page.getByRole('button', { name: 'Columns of flows' }).click();
      await expect(page.locator('.cm-content')).toContainText('tls_handshakes');
    },
  },
  {
    name: 'sql-mistake',
    show: async (page) => {
      await page.goto(`/sql?q=${encodeURIComponent('SELECT client_prcess FROM flows')}`);
      await expect(page.getByRole('alert')).toBeVisible();
      await expect(page.locator('.cm-lintRange-error')).toBeVisible();
    },
  },
  {
    name: 'shortcuts',
    show: async (page) => {
      await page.goto(NO_ROWS);
      await page.keyboard.press('?');
      await expect(page.getByRole('dialog', { name: 'Keyboard shortcuts' })).toBeVisible();
    },
  },
];

for (const { name, show } of VIEWS) {
  test(`${name} is accessible, light and dark`, async ({ page }) => {
    await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'reduce' });
    await show(page);
    for (const theme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme: theme, reducedMotion: 'reduce' });
      await page.screenshot({ path: `test-results/views/${name}-${theme}.png` });
      await isAccessible(page);
    }
  });
}

test('the chosen theme outlives the visit, whatever the system’s', async ({ page }) => {
  await page.emulateMedia({ colorScheme: 'light' });
  await page.goto('/flows');
  await page.getByRole('button', { name: /Switch to light/ }).click();
  await page.getByRole('button', { name: /Switch to dark/ }).click();
  const ground = (): Promise<string> => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await ground();
  await page.reload();
  expect(await ground()).toBe(dark);
  await page.getByRole('button', { name: /Switch to system/ }).click();
  expect(await ground()).not.toBe(dark);
});

test('nothing is cut off at 320 pixels', async ({ page }) => {
  await page.setViewportSize({ width: 320, height: 640 });
  for (const path of ['/flows', '/traces', '/sql']) {
    await page.goto(path);
    await expect(page.getByRole('main')).toBeVisible();
    await expect(page.getByText(/Loading/)).toHaveCount(0);
    expect(await page.evaluate(() => document.documentElement.scrollWidth), path).toBeLessThanOrEqual(320);
    await page.screenshot({ path: `test-results/views/narrow${path.replaceAll('/', '-')}.png` });
  }
});

test('no page asks anyone but Weir', async ({ page, watch, baseURL }) => {
  for (const path of ['/flows', '/traces', '/sql?q=SELECT%201', '/nowhere']) {
    await page.goto(path);
    await expect(page.getByRole('main')).toBeVisible();
    await expect(page.getByText(/Loading/)).toHaveCount(0);
  }
  const origins = new Set(
    watch.asked.filter((url) => url.startsWith('http')).map((url) => new URL(url).origin),
  );
  expect([...origins]).toEqual([baseURL]);
});
