/** A real Chromium against a running Weir with real traffic; `deploy/e2e/browser.sh` starts both and calls this. */
import { defineConfig } from '@playwright/test';

const baseURL = process.env['BASE_URL'];
if (baseURL === undefined || baseURL === '') {
  throw new Error('BASE_URL says where Weir answers: run deploy/e2e/browser.sh, which starts it');
}

export default defineConfig({
  testDir: '.',
  outputDir: '../test-results',
  // One after the other and once: they look at one machine's traffic, and a second try would hide what a user meets.
  workers: 1,
  retries: 0,
  forbidOnly: true,
  timeout: 60_000,
  expect: { timeout: 15_000 },
  reporter: [['list']],
  use: {
    baseURL,
    viewport: { width: 1440, height: 900 },
    locale: 'en-GB',
    timezoneId: 'Europe/Vienna',
    trace: 'retain-on-failure',
    screenshot: 'only-on-failure',
    launchOptions: {
      executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
      // Root has no sandbox; the rest keeps the browser from asking anyone but Weir.
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
        // Not even a name is looked up.
        '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1',
      ],
    },
  },
});
