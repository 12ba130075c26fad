/** Queries as readers write them: `$start` and `$end` stand for the page's time range. Pure. */

import type { Column, Table } from './table';
import { bounds, type Range } from './time';

/** A place in a text, both from 1; columns count characters. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

export interface Filled {
  readonly sql: string;
  /** Where something in the filled text stands in the text as written. */
  readonly place: (position: Position) => Position;
}

interface Edit {
  readonly line: number;
  readonly column: number;
  readonly length: number;
  readonly filled: number;
}

/** Strings, quoted names and comments, which are left alone; then the two marks. */
const PARTS = /'(?:[^']|'')*'?|"[^"]*"?|--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)|\$(?:start|end)\b/g;
const isMark = (part: string): boolean => part === '$start' || part === '$end';

/** Whether the answer depends on the page's time range. */
export const usesRange = (written: string): boolean => (written.match(PARTS) ?? []).some(isMark);

/** Puts the range in. The new text has no line breaks, so that lines stay what they were. */
export function fillRange(written: string, range: Range, now: Date): Filled {
  const { start, end } = bounds(range, now);
  const edits: Edit[] = [];
  const sql = written.replace(PARTS, (part: string, at: number) => {
    if (!isMark(part)) return part;
    const filled = `to_timestamp_nanos(${(part === '$start' ? start : end).getTime()}000000)`;
    const before = written.slice(0, at);
    const lineStart = before.lastIndexOf('\n') + 1;
    edits.push({
      line: before.split('\n').length,
      column: Array.from(before.slice(lineStart)).length + 1,
      length: part.length,
      filled: filled.length,
    });
    return filled;
  });
  return { sql, place: (position) => placeIn(edits, position) };
}

function placeIn(edits: readonly Edit[], { line, column }: Position): Position {
  let shift = 0;
  for (const edit of edits.filter((each) => each.line === line)) {
    const from = edit.column + shift;
    if (column < from) break;
    if (column < from + edit.filled) return { line, column: edit.column };
    shift += edit.filled - edit.length;
  }
  return { line, column: column - shift };
}

/** Offsets in UTF-16 units of the word at a position; undefined where the text has no such place. */
export function wordAt(
  written: string,
  { line, column }: Position,
): { from: number; to: number } | undefined {
  const lines = written.split('\n');
  const found = lines[line - 1];
  if (found === undefined || column < 1) return undefined;
  const start = lines.slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0);
  const at = Array.from(found)
    .slice(0, column - 1)
    .join('').length;
  const word = /^[\w."]+|^\S/.exec(found.slice(at))?.[0] ?? '';
  // At the end of a line, the last letter stands for what is missing.
  if (word === '') return { from: start + Math.max(0, at - 1), to: start + at };
  return { from: start + at, to: start + at + word.length };
}

/** A column that may be written in a query, and the tables that have it. */
export interface Reachable {
  readonly column: Column;
  readonly tables: readonly string[];
}

/** Columns of the tables that the query names; of all tables while it names none. Each name once. */
export function columnsInReach(written: string, tables: readonly Table[]): readonly Reachable[] {
  const words = new Set(written.toLowerCase().match(/\w+/g));
  const named = tables.filter(({ name }) => words.has(name));
  const found = new Map<string, { column: Column; tables: string[] }>();
  for (const { name, columns } of named.length === 0 ? tables : named) {
    for (const column of columns) {
      const known = found.get(column.name);
      if (known === undefined) found.set(column.name, { column, tables: [name] });
      else known.tables.push(name);
    }
  }
  return [...found.values()];
}
