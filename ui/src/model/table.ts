/** What the server says of its tables and columns, and of how complete an answer is. Pure. */

import type { Cell } from './quantity';

export interface Column {
  readonly name: string;
  readonly type: string;
  readonly unit: string;
  readonly description: string;
  readonly otel: string;
  readonly ipfix: string;
  readonly zeek: string;
}

export interface Table {
  readonly name: string;
  readonly description: string;
  readonly columns: readonly Column[];
}

/** What was lost, shed, late or silent in the range and scope of an answer. */
export interface Completeness {
  readonly complete: boolean;
  readonly lost: number;
  readonly shed: number;
  readonly late: number;
  readonly silent: number;
  readonly message: string;
}

/** An answer to SQL. */
export interface Answer {
  readonly columns: readonly { readonly name: string; readonly type: string }[];
  readonly rows: readonly (readonly Cell[])[];
  readonly truncated: boolean;
  readonly elapsedMs: number;
  readonly completeness: Completeness;
}

export interface Status {
  readonly version: string;
  readonly node: string;
  readonly probe: { readonly state: string; readonly detail: string };
  readonly listeners: readonly string[];
  readonly tables: readonly {
    readonly name: string;
    readonly rows: number;
    readonly files: number;
    readonly bytes: number;
  }[];
  readonly health: readonly {
    readonly node: string;
    readonly counter: string;
    readonly value: number;
    readonly kind: string;
    readonly message: string;
  }[];
}

/** Everything lost against our will, over all counters. */
export const lossesOf = (status: Status): number =>
  status.health.reduce((sum, row) => sum + (row.kind === 'lost' ? row.value : 0), 0);

/** Text in SQL: quoted, with quotes in it doubled. */
export const sqlText = (value: string): string => `'${value.replaceAll("'", "''")}'`;
