import { describe, expect, it } from 'vitest';

import { bytesText, cellText, compareCells, countText, filterText, plural, type Cell } from './quantity';

describe('a quantity', () => {
  it.each([
    [0, '0 B'],
    [812, '812 B'],
    [999, '999 B'],
    [1530, '1.53 kB'],
    [12_000_000, '12.0 MB'],
    [999_950, '1.00 MB'],
  ])('of %d bytes is written %s', (bytes, text) => {
    expect(bytesText(bytes)).toBe(text);
  });

  it('has thin spaces between thousands', () => {
    expect(countText(1_234_567)).toBe('1\u2009234\u2009567');
    expect([plural(1, 'flow'), plural(2, 'flow')]).toEqual(['1 flow', '2 flows']);
  });
});

describe('a cell', () => {
  it.each<[Cell | undefined, string, string]>([
    [null, 'us', ''],
    [undefined, '', ''],
    [1500, 'us', '1.50 ms'],
    [1500, 'ns', '1.50 µs'],
    [1500, 'bytes', '1.50 kB'],
    [443, '', '443'],
    [true, '', 'yes'],
    ['2026-11-24T21:03:05.120456789Z', 'ns', '2026-11-24 21:03:05.120'],
    [['h2', 'http/1.1'], '', 'h2, http/1.1'],
    [{ a: 1 }, '', '{"a":1}'],
  ])('%j in unit %j is written %j', (cell, unit, text) => {
    expect(cellText(cell, unit, 'utc')).toBe(text);
  });

  it('is exact in a filter, and none where no filter can compare it', () => {
    expect([filterText(true), filterText(1500), filterText('curl')]).toEqual(['true', '1500', 'curl']);
    expect([filterText(null), filterText(''), filterText(['a'])]).toEqual([undefined, undefined, undefined]);
  });

  it('sorts by size, and after everything where it is absent, whichever way', () => {
    const cells: Cell[] = [9, null, 100, 20];
    expect([...cells].sort((a, b) => compareCells(a, b, false))).toEqual([9, 20, 100, null]);
    expect([...cells].sort((a, b) => compareCells(a, b, true))).toEqual([100, 20, 9, null]);
    expect(['node10', 'node9'].sort((a, b) => compareCells(a, b, false))).toEqual(['node9', 'node10']);
  });
});
