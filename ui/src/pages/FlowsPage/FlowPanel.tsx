/** One flow's whole story: both ends, its connection's life over all intervals, its handshake, and every column. */
import type { ReactNode } from 'react';
import { Link } from 'react-router';

import { EncryptionBadge } from '@/components/Badge';
import { FieldList, type Field } from '@/components/FieldList';
import { Failure, Loading } from '@/components/Notice';
import { SidePanel } from '@/components/SidePanel';
import { useConnection, useTables } from '@/hooks/questions';
import {
  addressOf,
  encryptionOf,
  endText,
  flowOf,
  nameOf,
  number,
  observerText,
  partsOfKey,
  text,
  type Flow,
} from '@/model/flow';
import type { Filter, Operator } from '@/model/filter';
import { bytesText, cellText, filterText, plural, type Cell } from '@/model/quantity';
import { sqlText, type Answer, type Column } from '@/model/table';
import { clockText, lengthText, pointText, type Zone } from '@/model/time';

interface FlowPanelProps {
  readonly selected: string;
  /** The row itself, where the list has it. */
  readonly flow: Flow | undefined;
  readonly columns: readonly Column[];
  readonly zone: Zone;
  readonly live: boolean;
  readonly onFilter: (filter: Filter) => void;
  readonly onClose: () => void;
}

export function FlowPanel({
  selected,
  flow,
  columns,
  zone,
  live,
  onFilter,
  onClose,
}: FlowPanelProps): ReactNode {
  const connectionId = partsOfKey(selected)?.connectionId;
  const connection = useConnection(connectionId, live);
  const handshakeColumns = useTables().data?.find(({ name }) => name === 'tls_handshakes')?.columns ?? [];
  const intervals = rowsOf(connection.data?.flows).flatMap((cells) => flowOf(cells) ?? []);
  const shown = flow ?? intervals.find(({ key }) => key === selected) ?? intervals[0];
  const filterBy =
    (cells: Readonly<Record<string, Cell>>) =>
    (column: string, op: Operator): void => {
      const value = filterText(cells[column]);
      if (value !== undefined) onFilter({ column, op, value });
    };

  if (shown === undefined) {
    return (
      <SidePanel label="Flow" title={<h2>Flow</h2>} onClose={onClose}>
        {connection.isPending && connectionId !== undefined ? (
          <Loading what="the connection" />
        ) : connection.error !== null ? (
          <Failure error={connection.error} retry={() => void connection.refetch()} />
        ) : (
          <p>
            This connection is not stored here any more, or was never seen. Close the panel and choose another
            row.
          </p>
        )}
      </SidePanel>
    );
  }
  return (
    <SidePanel label="Flow" title={<Title flow={shown} zone={zone} />} onClose={onClose}>
      <Actions flow={shown} zone={zone} onFilter={onFilter} />
      {intervals.length > 0 && <Life intervals={intervals} zone={zone} />}
      {connection.error !== null && (
        <Failure error={connection.error} retry={() => void connection.refetch()} />
      )}
      {rowsOf(connection.data?.handshakes).map((cells, index) => (
        <section key={index}>
          <h3>TLS handshake, seen by {observerText(text(cells, 'observer'))}</h3>
          <FieldList
            label="TLS handshake"
            fields={fieldsOf(
              cells,
              handshakeColumns.filter(({ name }) => name.startsWith('tls_') || NOT_IN_FLOWS.test(name)),
              zone,
            )}
          />
        </section>
      ))}
      <section>
        <h3>All columns</h3>
        <FieldList
          label="All columns"
          fields={fieldsOf(shown.cells, columns, zone)}
          onFilter={filterBy(shown.cells)}
        />
        <Unknown columns={columns.filter(({ name }) => isNothing(shown.cells[name]))} />
      </section>
    </SidePanel>
  );
}

/** Columns of a handshake that its flow doesn't have. */
const NOT_IN_FLOWS =
  /^(failure_reason|hello_us|handshake_us|certificate_|server_certificate_|client_certificate_)/;

function Title({ flow, zone }: { readonly flow: Flow; readonly zone: Zone }): ReactNode {
  return (
    <>
      <h2>
        {nameOf(flow, 'client') ?? addressOf(flow, 'client')} →{' '}
        {nameOf(flow, 'server') ?? addressOf(flow, 'server')}
      </h2>
      <p>
        <span className="mono">
          {addressOf(flow, 'client')} → {addressOf(flow, 'server')}
        </span>
      </p>
      <p>
        {pointText(flow.time, zone)} · {text(flow.cells, 'protocol') ?? 'unknown protocol'} ·{' '}
        <EncryptionBadge encryption={encryptionOf(flow)} version={text(flow.cells, 'tls_version')} />
      </p>
    </>
  );
}

function Actions({
  flow,
  zone,
  onFilter,
}: {
  readonly flow: Flow;
  readonly zone: Zone;
  readonly onFilter: (filter: Filter) => void;
}): ReactNode {
  const traceId = text(flow.cells, 'trace_id');
  const connectionId = text(flow.cells, 'connection_id');
  return (
    <p className="flow-actions">
      {traceId !== undefined && text(flow.cells, 'protocol') === 'tcp' && (
        <Link
          className="button"
          to={{ pathname: `/traces/${traceId}`, search: zone === 'utc' ? '?tz=utc' : '' }}
        >
          Open its trace
        </Link>
      )}
      {connectionId !== undefined && (
        <>
          <button
            type="button"
            className="button"
            onClick={() => onFilter({ column: 'connection_id', op: '=', value: connectionId })}
          >
            Only this connection
          </button>
          <Link
            className="button"
            to={`/sql?${new URLSearchParams({ q: `SELECT * FROM flows WHERE connection_id = ${sqlText(connectionId)} ORDER BY time` }).toString()}`}
          >
            As SQL
          </Link>
        </>
      )}
    </p>
  );
}

function Life({ intervals, zone }: { readonly intervals: readonly Flow[]; readonly zone: Zone }): ReactNode {
  const observers = [...new Set(intervals.map(({ cells }) => observerText(text(cells, 'observer'))))];
  return (
    <section>
      <h3>
        The connection: {plural(intervals.length, 'row')}, seen by {observers.join(' and ')}
      </h3>
      <table className="flow-life">
        <thead>
          <tr>
            <th scope="col">Interval</th>
            <th scope="col">By</th>
            <th scope="col">State</th>
            <th scope="col">Client sent</th>
            <th scope="col">Server sent</th>
            <th scope="col">RTT</th>
          </tr>
        </thead>
        <tbody>
          {intervals.slice(0, 50).map((flow) => {
            const rtt = number(flow.cells, 'rtt_us');
            return (
              <tr key={flow.key}>
                <td>{clockText(flow.time, zone).slice(0, 8)}</td>
                <td>{text(flow.cells, 'observer')}</td>
                <td>{endText(flow) ?? text(flow.cells, 'state')}</td>
                <td>{bytesText(number(flow.cells, 'client_bytes') ?? 0)}</td>
                <td>{bytesText(number(flow.cells, 'server_bytes') ?? 0)}</td>
                <td>{rtt === undefined ? '' : lengthText(rtt)}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
      {intervals.length > 50 && <p className="muted">The first 50 of {intervals.length}; use SQL for all.</p>}
    </section>
  );
}

function Unknown({ columns }: { readonly columns: readonly Column[] }): ReactNode {
  if (columns.length === 0) return null;
  return (
    <details>
      <summary>{plural(columns.length, 'column')} without a value here</summary>
      <FieldList
        label="Columns without a value"
        fields={columns.map(({ name, description }) => ({ name, value: '–', note: description }))}
      />
    </details>
  );
}

const isNothing = (cell: Cell | undefined): boolean =>
  cell === null || cell === undefined || cell === '' || (Array.isArray(cell) && cell.length === 0);

function fieldsOf(
  cells: Readonly<Record<string, Cell>>,
  columns: readonly Column[],
  zone: Zone,
): readonly Field[] {
  return columns
    .filter(({ name }) => !isNothing(cells[name]))
    .map(({ name, unit, description }) => ({
      name,
      value: cellText(cells[name], unit, zone),
      note:
        unit === 'us' || unit === 'bytes'
          ? `${description} (${cellText(cells[name], '', zone)} ${unit})`
          : description,
    }));
}

function rowsOf(answer: Answer | undefined): readonly Readonly<Record<string, Cell>>[] {
  if (answer === undefined) return [];
  return answer.rows.map((row) =>
    Object.fromEntries(answer.columns.map(({ name }, index) => [name, row[index] ?? null])),
  );
}
