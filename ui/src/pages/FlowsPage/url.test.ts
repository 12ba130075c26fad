import { describe, expect, it } from 'vitest';

import { flowsUrl, linkToConnection, type FlowsView } from './url';

const again = (view: FlowsView): FlowsView =>
  flowsUrl.parse(new URLSearchParams(flowsUrl.format(view).toString()));

describe('the Flows page’s address', () => {
  it('carries the whole view', () => {
    const view: FlowsView = {
      range: {
        kind: 'fixed',
        start: new Date('2026-11-24T21:00:00Z'),
        end: new Date('2026-11-24T22:00:00Z'),
      },
      zone: 'utc',
      live: false,
      filters: [
        { column: 'server_port', op: '>=', value: '443' },
        { column: 'tls_sni', op: '~', value: 'a&b = "c"' },
      ],
      words: 'curl & wget',
      sort: { column: 'client_bytes', descending: true },
      selected: '9f3c~client~2026-11-24T21:03:05.120456789Z',
      limit: 5000,
    };
    expect(again(view)).toEqual(view);
  });

  it('is short for what is usual', () => {
    const usual = flowsUrl.parse(new URLSearchParams());
    expect(flowsUrl.format(usual).toString()).toBe('');
    expect(again(usual)).toEqual(usual);
  });

  it('made by hand, or of another version, still opens the page', () => {
    const view = flowsUrl.parse(new URLSearchParams('t=nonsense&n=7&f=nonsense&s=DROP TABLE&tz=mars'));
    expect(view).toEqual(flowsUrl.parse(new URLSearchParams()));
  });

  it('of a connection shows it with a minute around', () => {
    const link = linkToConnection(
      '9f3c',
      new Date('2026-11-24T21:00:00Z'),
      new Date('2026-11-24T21:00:01Z'),
      'utc',
    );
    const view = flowsUrl.parse(new URL(link, 'http://weir.test').searchParams);
    expect(view.filters).toEqual([{ column: 'connection_id', op: '=', value: '9f3c' }]);
    expect(view.range).toEqual({
      kind: 'fixed',
      start: new Date('2026-11-24T20:59:00Z'),
      end: new Date('2026-11-24T21:01:01Z'),
    });
  });
});
