import { describe, expect, it } from 'vitest';

import { commit, suggest } from './completion';

const COLUMNS = [
  { name: 'client_ip', description: 'Who opened it' },
  { name: 'server_ip', description: 'Whom it reached' },
  { name: 'server_port', description: 'Where' },
  { name: 'tls_sni', description: 'The name asked for' },
];
const values = (column: string): readonly string[] =>
  column === 'tls_sni' ? ['api.demo.internal', 'store.demo.internal'] : [];
const texts = (typed: string): string[] => suggest(typed, COLUMNS, values).map(({ text }) => text);

describe('completion', () => {
  it('offers columns, those that begin with the text first', () => {
    expect(texts('server')).toEqual(['server_ip=', 'server_port=']);
    expect(texts('ip')).toEqual(['client_ip=', 'server_ip=']);
  });

  it('offers operators after a whole column', () => {
    expect(texts('tls_sni').slice(0, 3)).toEqual(['tls_sni!=', 'tls_sni>=', 'tls_sni<=']);
  });

  it('offers values that the rows have, and these finish the filter', () => {
    expect(suggest('tls_sni=STORE', COLUMNS, values)).toEqual([
      { text: 'tls_sni=store.demo.internal', note: '', finishes: true },
    ]);
  });
});

describe('Enter', () => {
  it('makes a filter of a column, an operator and a value', () => {
    expect(commit('server_port=443', COLUMNS)).toEqual({
      kind: 'filter',
      filter: { column: 'server_port', op: '=', value: '443' },
    });
  });

  it('makes free text of anything else', () => {
    expect(commit(' curl ', COLUMNS)).toEqual({ kind: 'words', words: 'curl' });
  });

  it('says what is wrong, and which column was probably meant', () => {
    expect(commit('server_prot=443', COLUMNS)).toEqual({
      kind: 'problem',
      message: 'There is no column server_prot; did you mean server_port?',
    });
    expect(commit('server_port=', COLUMNS)).toMatchObject({ kind: 'problem' });
  });

  it('trusts the reader while the columns are not known yet', () => {
    expect(commit('server_prot=443', [])).toMatchObject({ kind: 'filter' });
  });
});
