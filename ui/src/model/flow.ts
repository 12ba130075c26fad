/** A flow as the Flows page reads it: which end is who, and what is worth a warning. Pure. */

import type { Cell } from './quantity';
import { parsePoint } from './time';

export type Encryption = 'tls' | 'mtls' | 'plaintext' | 'unknown';

/** A row of `flows` with what its handshake adds; every other column of the table is in `cells`. */
export interface Flow {
  /** Names the row among all rows, in lists and links. */
  readonly key: string;
  readonly time: Date;
  readonly cells: Readonly<Record<string, Cell>>;
}

/** Builds a flow from a checked row; undefined where it has no time, which every row has. */
export function flowOf(cells: Readonly<Record<string, Cell>>): Flow | undefined {
  const written = text(cells, 'time');
  const time = written === undefined ? undefined : parsePoint(written);
  if (time === undefined || written === undefined) return undefined;
  return { key: [text(cells, 'connection_id'), text(cells, 'observer'), written].join('~'), time, cells };
}

/** The parts of [`Flow.key`]; undefined where a link carries something else. */
export function partsOfKey(key: string): { connectionId: string; time: Date } | undefined {
  const [connectionId, , written] = key.split('~');
  const time = written === undefined ? undefined : parsePoint(written);
  return connectionId === undefined || connectionId === '' || time === undefined
    ? undefined
    : { connectionId, time };
}

/** The cell as text; undefined where it is absent or empty. */
export function text(cells: Readonly<Record<string, Cell>>, column: string): string | undefined {
  const cell = cells[column];
  if (typeof cell === 'number') return String(cell);
  return typeof cell === 'string' && cell !== '' ? cell : undefined;
}

/** The cell as a number; undefined where it is absent. */
export function number(cells: Readonly<Record<string, Cell>>, column: string): number | undefined {
  const cell = cells[column];
  return typeof cell === 'number' ? cell : undefined;
}

export type End = 'client' | 'server';

/** `10.0.0.7:443`, `[fd00::7]:443`. */
export function addressOf({ cells }: Flow, end: End): string {
  const ip = text(cells, `${end}_ip`) ?? '?';
  const port = number(cells, `${end}_port`);
  const host = ip.includes(':') && port !== undefined ? `[${ip}]` : ip;
  return port === undefined ? host : `${host}:${port}`;
}

/** Who that end is, by the best name known: pod, workload, name, process; undefined where only its address is. */
export function nameOf({ cells }: Flow, end: End): string | undefined {
  const pod = text(cells, `${end}_pod`);
  const namespace = text(cells, `${end}_namespace`);
  if (pod !== undefined) return namespace === undefined ? pod : `${namespace}/${pod}`;
  const sni = end === 'server' ? text(cells, 'tls_sni') : undefined;
  return text(cells, `${end}_name`) ?? text(cells, `${end}_process`) ?? text(cells, `${end}_workload`) ?? sni;
}

const ENCRYPTIONS: readonly Encryption[] = ['tls', 'mtls', 'plaintext'];

/** What nobody could prove is unknown, whatever the cell says. */
export const encryptionOf = ({ cells }: Flow): Encryption =>
  ENCRYPTIONS.find((known) => known === cells['encryption']) ?? 'unknown';

/** How the connection ended, for people; undefined while it is open. */
export function endText({ cells }: Flow): string | undefined {
  return text(cells, 'close_reason')?.replaceAll('_', ' ');
}

const OBSERVERS: Readonly<Record<string, string>> = {
  client: 'the client',
  server: 'the server',
  both: 'both ends',
  path: 'a node on the path',
};

/** Who saw it, for people. */
export const observerText = (observer: string | undefined): string =>
  OBSERVERS[observer ?? ''] ?? 'an unknown observer';

/** Whether it ended in a way that someone should look at. */
export function endedBadly({ cells }: Flow): boolean {
  const reason = text(cells, 'close_reason');
  return reason !== undefined && reason !== 'fin' && reason !== 'idle';
}

/** Both directions' sum of a counter; undefined where neither side was seen. */
export function bothWays({ cells }: Flow, counter: 'bytes' | 'packets' | 'retransmits'): number | undefined {
  const client = number(cells, `client_${counter}`);
  const server = number(cells, `server_${counter}`);
  return client === undefined && server === undefined ? undefined : (client ?? 0) + (server ?? 0);
}
