/** What every test starts from: matchers, a clean page, and the parts of a browser that jsdom lacks. */
import '@testing-library/jest-dom/vitest';
import { cleanup, configure } from '@testing-library/react';
import { afterEach, vi } from 'vitest';

// Tests wait for a state; how long that takes on a busy machine is no part of what they promise.
configure({ asyncUtilTimeout: 10_000 });

afterEach(() => {
  cleanup();
  vi.useRealTimers();
  localStorage.clear();
  document.title = '';
});

// jsdom lays nothing out, so that a virtual list would draw no row: everything is as large as a window.
const WIDTH = 1280;
const HEIGHT = 800;
Object.defineProperties(HTMLElement.prototype, {
  clientWidth: { configurable: true, value: WIDTH },
  clientHeight: { configurable: true, value: HEIGHT },
});
Element.prototype.scrollTo = () => undefined;
Range.prototype.getClientRects = () => document.createElement('div').getClientRects();
Range.prototype.getBoundingClientRect = () => new DOMRect(0, 0, 0, 0);

HTMLDialogElement.prototype.showModal = function showModal() {
  this.open = true;
};
HTMLDialogElement.prototype.close = function close() {
  this.open = false;
  this.dispatchEvent(new Event('close'));
};

/** Nothing changes its size here, so there is nothing to tell. */
class SteadyObserver implements ResizeObserver {
  observe(): void {
    // Nothing to watch.
  }
  unobserve(): void {
    // Nothing was watched.
  }
  disconnect(): void {
    // Nothing was watched.
  }
}
vi.stubGlobal('ResizeObserver', SteadyObserver);
