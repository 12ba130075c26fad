/** What all browser tests share: a page that may ask nobody but Weir and may not break, and an accessibility check. */
import AxeBuilder from '@axe-core/playwright';
import { expect, test as base, type Locator, type Page } from '@playwright/test';

/** WCAG 2.2, levels A and AA, as axe checks them. */
const WCAG = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];

/** `t13d1516h2_8daaf6152771_b186095e22b6` */
export const JA4 = /[tq]\d{2}[di]\d{4}\w{2}_[0-9a-f]{12}_[0-9a-f]{12}/;

interface Watch {
  /** Every address that the page asked for. */
  readonly asked: string[];
}

export const test = base.extend<{ watch: Watch }>({
  watch: [
    async ({ page, baseURL }, use) => {
      const asked: string[] = [];
      const broken: string[] = [];
      page.on('request', (request) => asked.push(request.url()));
      page.on('websocket', (socket) => asked.push(socket.url()));
      page.on('pageerror', (error) => broken.push(error.message));
      page.on('console', (message) => {
        if (/Content Security Policy|React/.test(message.text())) broken.push(message.text());
      });
      await use({ asked });
      const isOurs = (url: string): boolean => /^(data|blob):/.test(url) || new URL(url).origin === baseURL;
      expect(
        asked.filter((url) => !isOurs(url)),
        'requests that left the origin',
      ).toEqual([]);
      expect(broken, 'errors in the page').toEqual([]);
    },
    { auto: true },
  ],
});

export { expect };

export const grid = (page: Page, name: string): Locator => page.getByRole('grid', { name });

/** Rows of a table with data, without its head. */
export const rows = (table: Locator): Locator => table.locator('[role=row]:not([aria-rowindex="1"])');

/** Fails with the rule, the element and how to mend it. */
export async function isAccessible(page: Page): Promise<void> {
  const { violations } = await new AxeBuilder({ page }).withTags(WCAG).analyze();
  const found = violations.flatMap(({ id, help, nodes }) =>
    nodes.map(
      ({ target, failureSummary }) => `${id} (${help}): ${target.join(' ')}: ${failureSummary ?? ''}`,
    ),
  );
  expect(found).toEqual([]);
}
