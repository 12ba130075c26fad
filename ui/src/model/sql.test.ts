import { describe, expect, it } from 'vitest';

import { columnsInReach, fillRange, usesRange, wordAt } from './sql';
import type { Table } from './table';
import type { Range } from './time';

const RANGE: Range = {
  kind: 'fixed',
  start: new Date('2026-11-24T21:00:00Z'),
  end: new Date('2026-11-24T22:00:00Z'),
};
const fill = (written: string): ReturnType<typeof fillRange> => fillRange(written, RANGE, new Date());

describe('the range in a query', () => {
  it('takes the place of $start and $end', () => {
    expect(fill('SELECT 1 WHERE time BETWEEN $start AND $end').sql).toBe(
      'SELECT 1 WHERE time BETWEEN to_timestamp_nanos(1795554000000000000) AND to_timestamp_nanos(1795557600000000000)',
    );
  });

  it.each([
    "SELECT '$start'",
    'SELECT "$end"',
    'SELECT 1 -- $start',
    '/* $start */ SELECT 1',
    'SELECT $starting',
    "SELECT 'it''s $end'",
  ])('leaves %s alone', (written) => {
    expect([fill(written).sql, usesRange(written)]).toEqual([written, false]);
  });

  it('leads an error back to where it was written', () => {
    const written = 'SELECT 1\nWHERE a > $start AND b < $end AND oops';
    const { sql, place } = fill(written);
    const line = sql.split('\n')[1] ?? '';
    const column = (word: string): number => line.indexOf(word) + 1;
    const own = (word: string): number => (written.split('\n')[1] ?? '').indexOf(word) + 1;
    expect(place({ line: 2, column: column('oops') })).toEqual({ line: 2, column: own('oops') });
    expect(place({ line: 2, column: column('b <') })).toEqual({ line: 2, column: own('b <') });
    expect(place({ line: 2, column: column('to_timestamp') + 5 })).toEqual({
      line: 2,
      column: own('$start'),
    });
    expect(place({ line: 1, column: 8 })).toEqual({ line: 1, column: 8 });
  });
});

describe('the word at a position', () => {
  const at = (written: string, line: number, column: number): string | undefined => {
    const place = wordAt(written, { line, column });
    return place && written.slice(place.from, place.to);
  };
  it.each([
    ['SELECT nope FROM flows', 1, 8, 'nope'],
    ['SELECT 1\nFROM flwos', 2, 6, 'flwos'],
    ['SELECT 1 FROM', 1, 14, 'M'],
    ['SELECT ,', 1, 8, ','],
    // The server counts characters; 🌊 is one, and two units of a JavaScript string.
    ["SELECT '🌊', nope", 1, 13, 'nope'],
  ])('of %j at %d:%d is %j', (written, line, column, word) => {
    expect(at(written, line, column)).toBe(word);
  });

  it('is nothing outside of the text', () => {
    expect(wordAt('SELECT 1', { line: 9, column: 1 })).toBeUndefined();
  });
});

describe('columns in reach', () => {
  const table = (name: string, ...columns: string[]): Table => ({
    name,
    description: '',
    columns: columns.map((column) => ({
      name: column,
      type: 'VARCHAR',
      unit: '',
      description: '',
      otel: '',
      ipfix: '',
      zeek: '',
    })),
  });
  const tables = [
    table('flows', 'time', 'rtt_us'),
    table('spans', 'time', 'service'),
    table('dns', 'question'),
  ];
  const names = (written: string): string[] =>
    columnsInReach(written, tables).map(
      ({ column, tables: having }) => `${column.name}: ${having.join(' ')}`,
    );

  it('are those of the tables that the query names', () => {
    expect(names('SELECT t FROM Flows JOIN spans USING (time)')).toEqual([
      'time: flows spans',
      'rtt_us: flows',
      'service: spans',
    ]);
  });

  it('are all while it names none', () => {
    expect(names('SELECT q')).toContain('question: dns');
  });
});
