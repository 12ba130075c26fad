/** A virtual table: any number of rows, only those in sight are drawn. Moves by keyboard, sorts by header. */
import { useVirtualizer } from '@tanstack/react-virtual';
import { memo, useId, useRef, useState, type CSSProperties, type ReactNode } from 'react';

import { useShortcuts } from '@/app/keymap';
import './DataTable.css';

export interface TableColumn<Row> {
  readonly id: string;
  readonly title: string;
  /** What the column means, shown when the pointer rests on its title. */
  readonly hint?: string;
  readonly width: number;
  readonly grows?: boolean;
  readonly align?: 'end';
  readonly sortable?: boolean;
  /** A method, so that a column of some row type is also one of unknown rows. */
  cell(row: Row): ReactNode;
}

export interface Sort {
  readonly column: string;
  readonly descending: boolean;
}

export interface DataTableProps<Row> {
  readonly label: string;
  readonly columns: readonly TableColumn<Row>[];
  readonly rows: readonly Row[];
  readonly keyOf: (row: Row, index: number) => string;
  readonly sort?: Sort | undefined;
  readonly onSort?: (sort: Sort) => void;
  readonly selected?: string | undefined;
  /** The rows answer the question before this one, whose answer is on its way. */
  readonly isStale?: boolean;
  readonly onSelect?: (row: Row, key: string) => void;
  /** Told when the reader scrolls away from the first row, and when they come back. */
  readonly onScrolledAway?: (away: boolean) => void;
}

const ROW_PX = 30;
const HEAD_PX = 32;

export function DataTable<Row>(props: DataTableProps<Row>): ReactNode {
  const { label, columns, rows, keyOf, sort, onSort, selected, isStale, onSelect, onScrolledAway } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const [active, setActive] = useState<string>();
  const id = useId();
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_PX,
    overscan: 12,
    scrollPaddingStart: HEAD_PX,
    getItemKey: (index) => {
      const row = rows[index];
      return row === undefined ? index : keyOf(row, index);
    },
  });

  const current = active ?? selected;
  const move = (step: number): void => {
    const from = rows.findIndex((row, index) => keyOf(row, index) === current);
    const to = from === -1 ? 0 : Math.min(Math.max(from + step, 0), rows.length - 1);
    const row = rows[to];
    if (row === undefined) return;
    setActive(keyOf(row, to));
    virtual.scrollToIndex(to);
    if (selected !== undefined) onSelect?.(row, keyOf(row, to));
  };
  const open = (): void => {
    const index = rows.findIndex((row, at) => keyOf(row, at) === current);
    const row = rows[index];
    if (row !== undefined) onSelect?.(row, keyOf(row, index));
  };
  useShortcuts({
    'list.next': () => move(1),
    'list.previous': () => move(-1),
    ...(onSelect === undefined ? {} : { 'list.open': open }),
  });

  const items = virtual.getVirtualItems();
  const widths = columns
    .map(({ width, grows }) => (grows === true ? `minmax(${width}px, 1fr)` : `${width}px`))
    .join(' ');
  const style: CSSProperties & Record<'--columns' | '--width', string> = {
    '--columns': widths,
    '--width': `${columns.reduce((sum, { width }) => sum + width, 0)}px`,
  };
  const drawn = items.find((item) => item.key === current);
  return (
    <div
      ref={scroller}
      className="table"
      style={style}
      role="grid"
      aria-label={label}
      aria-busy={isStale ?? false}
      aria-rowcount={rows.length + 1}
      aria-colcount={columns.length}
      aria-activedescendant={drawn === undefined ? undefined : `${id}-${drawn.index}`}
      tabIndex={0}
      onScroll={({ currentTarget }) => onScrolledAway?.(currentTarget.scrollTop > ROW_PX)}
      onKeyDown={(event) => {
        if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return;
        event.preventDefault();
        move(event.key === 'ArrowDown' ? 1 : -1);
      }}
    >
      <div role="rowgroup" className="table-head">
        <div role="row" aria-rowindex={1} className="table-row">
          {columns.map((column) => (
            <ColumnHeader key={column.id} column={column} sort={sort} onSort={onSort} />
          ))}
        </div>
      </div>
      <div
        role="rowgroup"
        className="table-body"
        style={{ height: virtual.getTotalSize() }}
        onClick={({ target }) => {
          if (!(target instanceof Element)) return;
          const index = Number(target.closest('[aria-rowindex]')?.getAttribute('aria-rowindex')) - 2;
          const row = rows[index];
          if (row === undefined) return;
          setActive(keyOf(row, index));
          onSelect?.(row, keyOf(row, index));
        }}
      >
        {items.map((item) => {
          const row = rows[item.index];
          if (row === undefined) return null;
          const key = String(item.key);
          return (
            <BodyRow
              key={key}
              id={`${id}-${item.index}`}
              index={item.index}
              top={item.start}
              row={row}
              columns={columns}
              state={key === selected ? 'selected' : key === active ? 'active' : 'plain'}
            />
          );
        })}
      </div>
    </div>
  );
}

interface HeaderProps<Row> {
  readonly column: TableColumn<Row>;
  readonly sort: Sort | undefined;
  readonly onSort: ((sort: Sort) => void) | undefined;
}

function ColumnHeader<Row>({ column, sort, onSort }: HeaderProps<Row>): ReactNode {
  const sorted = sort?.column === column.id ? (sort.descending ? 'descending' : 'ascending') : undefined;
  return (
    <div
      role="columnheader"
      className="table-cell"
      data-align={column.align}
      aria-sort={sorted ?? 'none'}
      title={column.hint}
    >
      {column.sortable === true && onSort !== undefined ? (
        <button
          type="button"
          className="table-sort"
          // A first click on a number's column asks for the largest.
          onClick={() =>
            onSort({
              column: column.id,
              descending: sorted === undefined ? column.align === 'end' : sorted === 'ascending',
            })
          }
        >
          {column.title}
          <span aria-hidden="true">{sorted === undefined ? '' : sorted === 'descending' ? ' ▾' : ' ▴'}</span>
        </button>
      ) : (
        column.title
      )}
    </div>
  );
}

interface RowProps<Row> {
  readonly id: string;
  readonly index: number;
  readonly top: number;
  readonly row: Row;
  readonly columns: readonly TableColumn<Row>[];
  readonly state: 'selected' | 'active' | 'plain';
}

function PlainRow<Row>({ id, index, top, row, columns, state }: RowProps<Row>): ReactNode {
  return (
    <div
      id={id}
      role="row"
      aria-rowindex={index + 2}
      aria-selected={state === 'selected'}
      className="table-row"
      data-state={state}
      style={{ transform: `translateY(${top}px)` }}
    >
      {columns.map((column) => (
        <div
          key={column.id}
          role="gridcell"
          className="table-cell"
          data-align={column.align}
          data-column={column.id}
        >
          {column.cell(row)}
        </div>
      ))}
    </div>
  );
}

/** Drawn again only when what it shows changes. */
const BodyRow = memo(PlainRow);
