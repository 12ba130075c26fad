import { describe, expect, it } from 'vitest';

import { sqlUrl, type SqlView } from './url';

describe('the SQL page’s address', () => {
  it('carries the query with its line breaks, the range and the zone', () => {
    const view: SqlView = {
      query: "SELECT 1 + 1 AS two, '100 % & #'\nFROM flows -- ok",
      range: { kind: 'last', preset: '24h' },
      zone: 'utc',
    };
    expect(sqlUrl.parse(new URLSearchParams(sqlUrl.format(view).toString()))).toEqual(view);
  });

  it('is short for what is usual', () => {
    expect(sqlUrl.format(sqlUrl.parse(new URLSearchParams())).toString()).toBe('');
  });
});
