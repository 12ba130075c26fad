import { describe, expect, it } from 'vitest';

import { addFilter, draftOf, formatFilter, nearest, OPERATORS, parseFilter } from './filter';

describe('a filter', () => {
  it('reads as it is written, whatever the operator', () => {
    for (const op of OPERATORS) {
      const filter = { column: 'server_port', op, value: '443' };
      expect(parseFilter(formatFilter(filter))).toEqual(filter);
    }
  });

  it.each([
    ['server_port = 443', 'server_port', '=', '443'],
    ['rtt_us>=1000', 'rtt_us', '>=', '1000'],
    ['tls_sni~"two words"', 'tls_sni', '~', 'two words'],
    ["client_process!='curl'", 'client_process', '!=', 'curl'],
    ['client_name=a=b', 'client_name', '=', 'a=b'],
    ['server_ip=fd00::7', 'server_ip', '=', 'fd00::7'],
  ])('%s has its parts', (text, column, op, value) => {
    expect(parseFilter(text)).toEqual({ column, op, value });
  });

  it.each(['', 'curl', '10.0.0.7', 'example.com', '=443', '443=443'])(
    '%j is free text and no filter',
    (text) => {
      expect(parseFilter(text)).toBeUndefined();
    },
  );

  it('is added once', () => {
    const filter = { column: 'server_port', op: '=', value: '443' } as const;
    expect(addFilter(addFilter([], filter), { ...filter })).toEqual([filter]);
  });
});

describe('a draft', () => {
  it('is a column until it has an operator, then a value', () => {
    expect(draftOf('serv')).toEqual({ part: 'column', typed: 'serv' });
    expect(draftOf('server_port>=')).toEqual({ part: 'value', column: 'server_port', op: '>=', typed: '' });
  });
});

describe('the nearest name', () => {
  const known = ['server_port', 'server_ip', 'client_ip', 'tls_sni'];
  it.each([
    ['server_prot', 'server_port'],
    ['tls_sin', 'tls_sni'],
    ['sni', 'tls_sni'],
  ])('of %s is %s', (typed, meant) => {
    expect(nearest(typed, known)).toBe(meant);
  });

  it('is none where nothing is near', () => {
    expect(nearest('temperature', known)).toBeUndefined();
  });
});
