/** Columns of the flows table: those made for reading, and every column of the schema behind them. */
import type { ReactNode } from 'react';

import { Badge, EncryptionBadge } from '@/components/Badge';
import type { TableColumn } from '@/components/DataTable';
import {
  addressOf,
  bothWays,
  encryptionOf,
  endedBadly,
  endText,
  nameOf,
  number,
  text,
  type End,
  type Flow,
} from '@/model/flow';
import { cellText, countText, type Cell } from '@/model/quantity';
import type { Column, Table } from '@/model/table';
import { shortPointText, type Zone } from '@/model/time';

export interface FlowColumn extends TableColumn<Flow> {
  /** What rows are sorted by. */
  readonly value: (flow: Flow) => Cell | undefined;
}

/** What a reader sees who never chose. */
export const DEFAULT_COLUMNS: readonly string[] = [
  'time',
  'client',
  'server',
  'protocol',
  'encryption',
  'tls_sni',
  'tls_ja4',
  'state',
  'client_bytes',
  'server_bytes',
  'rtt_us',
  'retransmits',
  'connect_us',
  'packets',
  'tls_alpn',
];

/** Titles and widths of columns that are shown as they are. */
const SHOWN: Readonly<Record<string, { title: string; width: number }>> = {
  protocol: { title: 'Proto', width: 64 },
  client_bytes: { title: 'Client sent', width: 100 },
  server_bytes: { title: 'Server sent', width: 102 },
  rtt_us: { title: 'RTT', width: 84 },
  connect_us: { title: 'Connect', width: 84 },
  tls_version: { title: 'TLS', width: 60 },
  tls_sni: { title: 'SNI', width: 170 },
  tls_alpn: { title: 'ALPN', width: 84 },
  tls_ja4: { title: 'JA4', width: 282 },
};

/** Columns that the flows answer adds from the handshake; the schema tells their meaning. */
export const HANDSHAKE_COLUMNS: readonly string[] = ['tls_ja4', 'tls_ja3', 'tls_alpn', 'tls_cipher'];

/** The schema's columns of a row on this page. */
export function schemaColumns(tables: readonly Table[]): readonly Column[] {
  const columnsOf = (name: string): readonly Column[] =>
    tables.find((table) => table.name === name)?.columns ?? [];
  const handshake = columnsOf('tls_handshakes').filter(({ name }) => HANDSHAKE_COLUMNS.includes(name));
  return [...columnsOf('flows'), ...handshake];
}

/** All columns that can be shown, those made for reading first. */
export function flowColumns(schema: readonly Column[], zone: Zone, today: Date): readonly FlowColumn[] {
  const made = madeColumns(zone, today);
  const known = new Set(made.map(({ id }) => id));
  const names = new Set([...schema.map(({ name }) => name), ...Object.keys(SHOWN)]);
  const plain = [...names]
    .filter((name) => !known.has(name))
    .map((name) =>
      plainColumn(
        name,
        schema.find((column) => column.name === name),
        zone,
      ),
    );
  return [...made, ...plain];
}

function madeColumns(zone: Zone, today: Date): readonly FlowColumn[] {
  const sortable = true;
  return [
    {
      id: 'time',
      title: 'Time',
      hint: 'Start of the interval',
      width: 116,
      sortable,
      value: ({ cells }) => cells['time'] ?? null,
      cell: ({ time }) => <time dateTime={time.toISOString()}>{shortPointText(time, zone, today)}</time>,
    },
    endColumn('client', 'Client', 'Who opened the connection'),
    endColumn('server', 'Server', 'Whom the connection reached'),
    {
      id: 'packets',
      title: 'Packets',
      hint: 'Packets of both directions in the interval',
      width: 80,
      align: 'end',
      sortable,
      value: (flow) => bothWays(flow, 'packets'),
      cell: (flow) => countText(bothWays(flow, 'packets') ?? 0),
    },
    {
      id: 'retransmits',
      title: 'Retrans',
      hint: 'Segments sent again, both directions. Empty where no end could count them',
      width: 80,
      align: 'end',
      sortable,
      value: (flow) => bothWays(flow, 'retransmits'),
      cell: (flow) => <Retransmits count={bothWays(flow, 'retransmits')} />,
    },
    {
      id: 'state',
      title: 'State',
      hint: 'Where in its life the connection was in the interval, and how it ended',
      width: 142,
      sortable,
      value: ({ cells }) => text(cells, 'close_reason') ?? text(cells, 'state') ?? null,
      cell: (flow) => <State flow={flow} />,
    },
    {
      id: 'encryption',
      title: 'Encryption',
      hint: 'mTLS or TLS with its version, plaintext, or unknown where nothing proves either',
      width: 100,
      sortable,
      value: encryptionOf,
      cell: (flow) => (
        <EncryptionBadge encryption={encryptionOf(flow)} version={text(flow.cells, 'tls_version')} />
      ),
    },
  ];
}

function endColumn(end: End, title: string, hint: string): FlowColumn {
  return {
    id: end,
    title,
    hint,
    width: 185,
    grows: true,
    sortable: true,
    value: (flow) => `${nameBeside(flow, end) ?? ''} ${addressOf(flow, end)}`,
    cell: (flow) => {
      const name = nameBeside(flow, end);
      return (
        <>
          {name !== undefined && <strong className="flow-name">{name} </strong>}
          <span className={name === undefined ? 'mono' : 'mono muted'}>{addressOf(flow, end)}</span>
        </>
      );
    },
  };
}

/** The end's name; where that is only the SNI, which has a column of its own, the process or nothing. */
function nameBeside(flow: Flow, end: End): string | undefined {
  const name = nameOf(flow, end);
  return name === text(flow.cells, 'tls_sni') ? text(flow.cells, `${end}_process`) : name;
}

function plainColumn(name: string, column: Column | undefined, zone: Zone): FlowColumn {
  const unit = column?.unit ?? '';
  const isNumber = unit === 'bytes' || unit === 'packets' || unit === 'us';
  const shown = SHOWN[name];
  return {
    id: name,
    title: shown?.title ?? name,
    hint: column?.description ?? '',
    width: shown?.width ?? Math.max(100, name.length * 8 + 24),
    ...(isNumber ? { align: 'end' } : {}),
    sortable: true,
    value: ({ cells }) => cells[name],
    cell: ({ cells }) => {
      const written = cellText(cells[name], unit, zone);
      return name === 'tls_ja4' || name === 'tls_ja3' || name.endsWith('_id') ? (
        <span className="mono">{written}</span>
      ) : (
        written
      );
    },
  };
}

function Retransmits({ count }: { readonly count: number | undefined }): ReactNode {
  if (count === undefined) return null;
  return count === 0 ? (
    <span className="muted">0</span>
  ) : (
    <span className="tone-warn">{countText(count)}</span>
  );
}

function State({ flow }: { readonly flow: Flow }): ReactNode {
  const state = text(flow.cells, 'state') ?? '';
  const end = endText(flow);
  if (end === undefined) return state;
  const resets = number(flow.cells, 'resets') ?? 0;
  return (
    <>
      <Badge
        tone={endedBadly(flow) ? 'bad' : 'plain'}
        title={`${state}, ${end}${resets > 0 ? `, ${resets} RST` : ''}`}
      >
        {end}
      </Badge>
    </>
  );
}
