import { expect, grid, JA4, rows, test } from './weir';

test('a search finds a trace; it has the TLS handshake as a child of its connection', async ({ page }) => {
  await page.goto('/traces?t=1h');
  await expect(page).toHaveTitle('Traces · Weir');
  await expect(rows(grid(page, 'Traces')).first()).toBeVisible();
  // Services and operations come with the spans: the page asks for them while it is open.
  const service = page.getByRole('combobox', { name: 'Service' });
  await expect(service.getByRole('option', { name: 'front', exact: true })).toBeAttached();
  await service.selectOption('front');
  // Until it is answered, the page keeps what was found before.
  const answered = page.waitForResponse((response) =>
    /operation.*TLS/.test(decodeURIComponent(response.url())),
  );
  await page.getByRole('combobox', { name: 'Operation' }).selectOption('TLS handshake');
  await answered;
  await expect(grid(page, 'Traces')).toHaveAttribute('aria-busy', 'false');
  const found = rows(grid(page, 'Traces')).filter({ hasText: 'TCP connection' });
  await expect(found.first()).toBeVisible();
  await found.first().click();

  await expect(page).toHaveURL(/\/traces\/[0-9a-f]{16,32}/);
  const connection = page.getByRole('row', { name: /TCP connection/ }).first();
  await expect(connection).toHaveAttribute('aria-level', '1');
  // The client's own handshake; the server's connection is a child too, with a handshake one level below.
  const handshake = page.locator('[role=row][aria-level="2"]').filter({ hasText: 'TLS handshake' }).first();
  await expect(handshake).toBeVisible();

  await handshake.click();
  const panel = page.getByRole('complementary', { name: 'Span' });
  await expect(panel.getByText('tls.cipher')).toBeVisible();
  await expect(panel.getByText(JA4)).toBeVisible();
  await panel.getByRole('link', { name: 'Show its flows' }).click();
  await expect(rows(grid(page, 'Flows')).first()).toBeVisible();
  await expect(page.getByRole('button', { name: /Edit filter connection_id=/ })).toBeVisible();
});

test('a trace is walked, folded and zoomed by keyboard, and leads back to its search', async ({ page }) => {
  await page.goto('/traces?t=1h&tags=tls.established%3Dtrue');
  await expect(rows(grid(page, 'Traces')).filter({ hasText: 'TCP connection' }).first()).toBeVisible();
  await rows(grid(page, 'Traces')).filter({ hasText: 'TCP connection' }).first().getByRole('link').click();
  const spans = page.getByRole('treegrid', { name: 'Spans' });
  await spans.focus();
  await page.keyboard.press('ArrowDown');
  const first = spans.getByRole('row', { selected: true });
  await expect(first).toHaveAttribute('aria-expanded', 'true');
  await page.keyboard.press('ArrowLeft');
  await expect(first).toHaveAttribute('aria-expanded', 'false');
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('ArrowDown');
  await expect(spans.getByRole('row', { selected: true })).toHaveAttribute('aria-level', '2');
  await page.keyboard.press('z');
  await expect(page).toHaveURL(/part=\d+~\d+|part=\d+%7E\d+/);
  await expect(page.getByRole('button', { name: 'Whole trace' })).toBeVisible();
  await page.keyboard.press('z');
  await expect(page).not.toHaveURL(/part=/);
  await page.getByRole('link', { name: 'All traces' }).click();
  await expect(page.getByRole('textbox', { name: 'Tags' })).toHaveValue('tls.established=true');
});

test('an application’s own spans are found by their service', async ({ page }) => {
  await page.goto('/traces?t=1h');
  const service = page.getByRole('combobox', { name: 'Service' });
  await expect(service.getByRole('option', { name: 'store', exact: true })).toBeAttached();
  await service.selectOption('store');
  await page.getByRole('textbox', { name: 'Tags' }).fill('span.kind=server');
  await page.getByRole('textbox', { name: 'Tags' }).press('Enter');
  await expect(rows(grid(page, 'Traces')).first()).toContainText('store');
});

test('an unknown trace is told as such', async ({ page }) => {
  await page.goto('/traces/00000000000000000000000000000bad');
  await expect(page.getByRole('heading', { name: 'Weir has no such trace' })).toBeVisible();
});
