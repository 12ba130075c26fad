/** Filters of rows: `column op value`, as typed, as shown in a chip, as sent to the server. Pure. */

export const OPERATORS = ['!=', '>=', '<=', '=', '~', '>', '<'] as const;
export type Operator = (typeof OPERATORS)[number];

export interface Filter {
  readonly column: string;
  readonly op: Operator;
  readonly value: string;
}

/** What each operator means, for completion and labels. */
export const OPERATOR_MEANING: Readonly<Record<Operator, string>> = {
  '=': 'equals',
  '!=': 'is not',
  '~': 'contains',
  '>': 'more than',
  '>=': 'at least',
  '<': 'less than',
  '<=': 'at most',
};

const SHAPE = /^\s*([a-z_][a-z0-9_]*)\s*(!=|>=|<=|=|~|>|<)\s*(.*?)\s*$/;

const isOperator = (text: string): text is Operator => OPERATORS.some((op) => op === text);

/** `server_port = 443` → its parts; undefined where the text is no filter (it is free text then). */
export function parseFilter(text: string): Filter | undefined {
  const [, column, op, value] = SHAPE.exec(text) ?? [];
  if (column === undefined || op === undefined || value === undefined || !isOperator(op)) return undefined;
  const unquoted = /^"(.*)"$|^'(.*)'$/.exec(value);
  return { column, op, value: unquoted?.[1] ?? unquoted?.[2] ?? value };
}

/** In URLs and requests: `server_port=443`. */
export const formatFilter = (filter: Filter): string => `${filter.column}${filter.op}${filter.value}`;

export const sameFilter = (a: Filter, b: Filter): boolean => formatFilter(a) === formatFilter(b);

/** Adds a filter, once. */
export const addFilter = (filters: readonly Filter[], added: Filter): readonly Filter[] =>
  filters.some((filter) => sameFilter(filter, added)) ? filters : [...filters, added];

/** What the text so far is about to become, so that completion knows what to offer. */
export type Draft =
  | { readonly part: 'column'; readonly typed: string }
  | { readonly part: 'value'; readonly column: string; readonly op: Operator; readonly typed: string };

export function draftOf(text: string): Draft {
  const filter = parseFilter(text);
  return filter === undefined
    ? { part: 'column', typed: text.trim() }
    : { part: 'value', column: filter.column, op: filter.op, typed: filter.value };
}

/** The known name that is nearest to a mistyped one, if any is near: at most a third of its letters differ. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let least = Math.max(1, Math.floor(name.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(name, candidate);
    if (distance < least) {
      least = distance;
      best = candidate;
    }
  }
  return best ?? known.find((candidate) => name.length > 1 && candidate.endsWith(`_${name}`));
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
