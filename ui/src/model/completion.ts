/** What a filter's text box offers next. Pure. */

import {
  draftOf,
  formatFilter,
  nearest,
  OPERATOR_MEANING,
  OPERATORS,
  parseFilter,
  type Filter,
} from './filter';

export interface Suggestion {
  /** The box's text once it is taken. */
  readonly text: string;
  readonly note: string;
  /** Taking it finishes the filter. */
  readonly finishes: boolean;
}

/** What may be filtered by. */
export interface Filterable {
  readonly name: string;
  readonly description: string;
}

const MOST = 10;

/** Columns by name, then operators, then the values that the loaded rows have, commonest first. */
export function suggest(
  typed: string,
  columns: readonly Filterable[],
  valuesOf: (column: string) => readonly string[],
): readonly Suggestion[] {
  const draft = draftOf(typed);
  switch (draft.part) {
    case 'column': {
      const exact = columns.find(({ name }) => name === draft.typed);
      const operators = OPERATORS.map((op) => ({
        text: `${draft.typed}${op}`,
        note: OPERATOR_MEANING[op],
        finishes: false,
      }));
      const rank = (name: string): number => (name.startsWith(draft.typed) ? 0 : 1);
      const named = columns
        .filter(({ name }) => name.includes(draft.typed) && name !== draft.typed)
        .sort((a, b) => rank(a.name) - rank(b.name))
        .map(({ name, description }) => ({ text: `${name}=`, note: description, finishes: false }));
      return (exact === undefined ? named : [...operators, ...named]).slice(0, MOST);
    }
    case 'value': {
      const needle = draft.typed.toLowerCase();
      return valuesOf(draft.column)
        .filter((value) => value.toLowerCase().includes(needle))
        .slice(0, MOST)
        .map((value) => ({ text: formatFilter({ ...draft, value }), note: '', finishes: true }));
    }
  }
}

export type Committed =
  | { readonly kind: 'filter'; readonly filter: Filter }
  | { readonly kind: 'words'; readonly words: string }
  | { readonly kind: 'problem'; readonly message: string };

/** What the typed text means when the reader presses Enter. Unknown columns are told at once, with the nearest one. */
export function commit(typed: string, columns: readonly Filterable[]): Committed {
  const filter = parseFilter(typed);
  if (filter === undefined) return { kind: 'words', words: typed.trim() };
  const names = columns.map(({ name }) => name);
  if (names.length > 0 && !names.includes(filter.column)) {
    const near = nearest(filter.column, names);
    return {
      kind: 'problem',
      message: `There is no column ${filter.column}${near === undefined ? '.' : `; did you mean ${near}?`}`,
    };
  }
  return filter.value === ''
    ? { kind: 'problem', message: `Add a value, as in ${filter.column}${filter.op}443.` }
    : { kind: 'filter', filter };
}
