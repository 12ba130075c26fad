import { describe, expect, it } from 'vitest';

import { tracesUrl, type TracesView } from './url';

const again = (view: TracesView): TracesView =>
  tracesUrl.parse(new URLSearchParams(tracesUrl.format(view).toString()));

describe('the Traces page’s address', () => {
  it('carries the whole search', () => {
    const view: TracesView = {
      range: { kind: 'last', preset: '6h' },
      zone: 'utc',
      service: 'front & back',
      operation: 'GET /cart?id=1',
      tags: 'error http.route="/cart"',
      minDuration: '1.5ms',
      maxDuration: '2s',
      limit: 20,
    };
    expect(again(view)).toEqual(view);
  });

  it('is short for what is usual', () => {
    const usual = tracesUrl.parse(new URLSearchParams());
    expect(tracesUrl.format(usual).toString()).toBe('');
    expect(tracesUrl.parse(new URLSearchParams('t=x&n=7&tz=mars'))).toEqual(usual);
  });
});
