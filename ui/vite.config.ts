import { fileURLToPath } from 'node:url';

import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

/** Where a `weir up` answers while the pages are being worked on (`npm run dev`). */
const WEIR = process.env['WEIR_URL'] ?? 'http://127.0.0.1:8480';

/** The host stays the page's own: Weir refuses a question whose origin and host differ. */
const proxy = { '/api': { target: WEIR, changeOrigin: false } };

export default defineConfig({
  plugins: [react()],
  resolve: { alias: { '@': fileURLToPath(new URL('src', import.meta.url)) } },
  // Browsers that know `light-dark()`: each colour is written once, for both themes.
  build: {
    target: ['chrome123', 'edge123', 'firefox120', 'safari17.5'],
    cssTarget: ['chrome123', 'edge123', 'firefox120', 'safari17.5'],
    manifest: true,
    // No data: URLs for small assets, so that a strict content security policy can stand before the pages.
    assetsInlineLimit: 0,
    // What counts is the budget of scripts/bundle-budget.mjs.
    chunkSizeWarningLimit: 1000,
  },
  server: { host: '127.0.0.1', proxy },
  preview: { host: '127.0.0.1', proxy },
  test: {
    environment: 'jsdom',
    setupFiles: ['src/test/setup.ts'],
    include: ['src/**/*.test.{ts,tsx}'],
    restoreMocks: true,
    testTimeout: 30_000,
  },
});
