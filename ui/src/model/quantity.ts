/** How numbers are written: bytes, counts, and any cell of any table. Pure. */

import { lengthText, parsePoint, pointText, type Zone } from './time';

/** A value as the server sends it: text, number, claim, list, map, or nothing. */
export type Cell = string | number | boolean | null | readonly Cell[] | { readonly [key: string]: Cell };

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'] as const;

/** `0 B`, `812 B`, `1.53 kB`, `12.0 MB`: powers of 1000, three digits. */
export function bytesText(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${UNITS[unit] ?? 'B'}`;
}

/** `12 345`, with thin spaces between thousands. */
export const countText = (count: number): string => String(count).replace(/\B(?=(\d{3})+(?!\d))/g, '\u2009');

/** `1 flow`, `2 flows`. */
export const plural = (count: number, one: string, many = `${one}s`): string =>
  `${countText(count)} ${count === 1 ? one : many}`;

/** A cell for a person, by its column's unit. Null is empty text. */
export function cellText(cell: Cell | undefined, unit: string, zone: Zone): string {
  if (cell === null || cell === undefined) return '';
  if (typeof cell === 'number') {
    if (unit === 'us') return lengthText(cell);
    if (unit === 'ns') return lengthText(cell / 1000);
    if (unit === 'bytes') return bytesText(cell);
    return unit === 'packets' ? countText(cell) : String(cell);
  }
  if (typeof cell === 'boolean') return cell ? 'yes' : 'no';
  if (typeof cell === 'string') {
    const time = unit === 'ns' ? parsePoint(cell) : undefined;
    return time === undefined ? cell : pointText(time, zone);
  }
  return Array.isArray(cell)
    ? cell.map((item: Cell) => cellText(item, '', zone)).join(', ')
    : JSON.stringify(cell);
}

/** A cell as filters write it: exact, without units. Undefined where no filter can compare it. */
export function filterText(cell: Cell | undefined): string | undefined {
  if (cell === null || cell === undefined || cell === '' || typeof cell === 'object') return undefined;
  return String(cell);
}

/** Orders cells of one column: numbers by size, texts by letters, nothing last whichever way. */
export function compareCells(a: Cell | undefined, b: Cell | undefined, descending: boolean): number {
  const noA = a === null || a === undefined;
  const noB = b === null || b === undefined;
  if (noA || noB) return noA && noB ? 0 : noA ? 1 : -1;
  const order =
    typeof a === 'number' && typeof b === 'number'
      ? a - b
      : cellText(a, '', 'utc').localeCompare(cellText(b, '', 'utc'), 'en', { numeric: true });
  return descending ? -order : order;
}
