/** Flows: what talks to what, newest first, refreshed while it is looked at. */
import { useCallback, useMemo, useState, type ReactNode } from 'react';

import { ColumnPicker } from './ColumnPicker';
import { DEFAULT_COLUMNS, flowColumns, schemaColumns } from './columns';
import { FlowPanel } from './FlowPanel';
import { NoFlows } from './NoFlows';
import { flowsUrl, LIMITS } from './url';
import './FlowsPage.css';

import { useShortcuts } from '@/app/keymap';
import { CompletenessLine } from '@/components/CompletenessLine';
import { DataTable } from '@/components/DataTable';
import { FilterBox } from '@/components/FilterBox';
import { Failure, FailureLine, Loading } from '@/components/Notice';
import { RangePicker } from '@/components/RangePicker';
import { usePreferences } from '@/hooks/preferences';
import { useFlows, useTables } from '@/hooks/questions';
import { useTitle } from '@/hooks/title';
import { useView } from '@/hooks/view';
import type { Flow } from '@/model/flow';
import { addFilter, type Filter } from '@/model/filter';
import { compareCells, countText, filterText, plural } from '@/model/quantity';
import { clockText } from '@/model/time';

const NONE: readonly Flow[] = [];
const keyOf = (flow: Flow): string => flow.key;

export function FlowsPage(): ReactNode {
  useTitle('Flows');
  const [view, change] = useView(flowsUrl);
  const { range, zone, filters, words, sort, selected, limit } = view;
  const live = view.live && range.kind === 'last';
  const answer = useFlows({ range, filters, words, limit }, live);
  const tables = useTables();
  const chosen = usePreferences().flowColumns ?? DEFAULT_COLUMNS;

  const newest = answer.data?.flows ?? NONE;
  const question = JSON.stringify([range, filters, words, limit]);
  const { rows, waiting, hold } = useHeld(newest, question);
  const schema = useMemo(() => schemaColumns(tables.data ?? []), [tables.data]);
  const day = Math.floor(answer.dataUpdatedAt / 60_000) * 60_000;
  const all = useMemo(() => flowColumns(schema, zone, new Date(day)), [schema, zone, day]);
  const columns = useMemo(
    () => chosen.flatMap((id) => all.find((column) => column.id === id) ?? []),
    [all, chosen],
  );
  const sorted = useMemo(() => {
    const by = all.find(({ id }) => id === sort.column);
    if (by === undefined) return rows;
    return [...rows].sort((a, b) => compareCells(by.value(a), by.value(b), sort.descending));
  }, [all, rows, sort]);
  const valuesOf = useCallback((column: string) => commonest(newest, column), [newest]);

  const toggleLive = (): void => change({ live: !view.live }, 'replace');
  const addToFilters = (filter: Filter): void => change({ filters: addFilter(filters, filter) });
  useShortcuts(range.kind === 'last' ? { 'flows.live': toggleLive } : {});

  return (
    <main className="page" aria-label="Flows">
      <h1 className="visually-hidden">Flows</h1>
      <div className="toolbar">
        <FilterBox
          filters={filters}
          words={words}
          columns={schema}
          valuesOf={valuesOf}
          onChange={(nextFilters, nextWords) => change({ filters: nextFilters, words: nextWords })}
        />
        <RangePicker
          range={range}
          zone={zone}
          onRange={(next) => change({ range: next })}
          onZone={(next) => change({ zone: next }, 'replace')}
        />
        <button
          type="button"
          className="button live"
          aria-pressed={live}
          disabled={range.kind === 'fixed'}
          title={range.kind === 'fixed' ? 'A fixed range does not move' : 'Space pauses and resumes'}
          onClick={toggleLive}
        >
          <span className="live-dot" data-on={live} aria-hidden="true" />
          {live ? 'Live' : 'Paused'}
        </button>
        <ColumnPicker all={all} shown={chosen} />
      </div>
      {answer.error !== null && answer.data !== undefined && <FailureLine error={answer.error} />}
      <div className="page-split">
        <div className="page-main">
          {answer.data === undefined ? (
            answer.error === null ? (
              <Loading what="flows" />
            ) : (
              <Failure error={answer.error} retry={() => void answer.refetch()} />
            )
          ) : sorted.length === 0 ? (
            <NoFlows
              narrowed={filters.length > 0 || words !== ''}
              onClear={() => change({ filters: [], words: '' })}
            />
          ) : (
            <DataTable
              key={question}
              label="Flows"
              columns={columns}
              rows={sorted}
              keyOf={keyOf}
              sort={sort}
              onSort={(next) => change({ sort: next }, 'replace')}
              selected={selected}
              isStale={answer.isPlaceholderData}
              onSelect={(_, key) => change({ selected: key }, 'replace')}
              onScrolledAway={hold}
            />
          )}
          <div className="status-line">
            {answer.data !== undefined && (
              <>
                <p>
                  {answer.data.truncated
                    ? `The newest ${plural(rows.length, 'flow')} of more; sorting covers these`
                    : plural(rows.length, 'flow')}
                  {waiting > 0 && ` · ${countText(waiting)} new above, scroll up to see them`}
                </p>
                {answer.data.truncated && (
                  <More limit={limit} onLimit={(next) => change({ limit: next }, 'replace')} />
                )}
                <p>
                  <CompletenessLine completeness={answer.data.completeness} />
                </p>
                <p>
                  {live
                    ? 'Refreshed each second'
                    : `As of ${clockText(new Date(answer.dataUpdatedAt), zone).slice(0, 8)}`}
                </p>
              </>
            )}
          </div>
        </div>
        {selected !== undefined && (
          <FlowPanel
            selected={selected}
            flow={rows.find(({ key }) => key === selected)}
            columns={schema}
            zone={zone}
            live={live}
            onFilter={addToFilters}
            onClose={() => change({ selected: undefined }, 'replace')}
          />
        )}
      </div>
    </main>
  );
}

function More({
  limit,
  onLimit,
}: {
  readonly limit: number;
  readonly onLimit: (limit: number) => void;
}): ReactNode {
  const next = LIMITS.find((known) => known > limit);
  if (next === undefined) return <p>Narrow the range or filter to see the others.</p>;
  return (
    <button type="button" className="link" onClick={() => onLimit(next)}>
      Load up to {countText(next)}
    </button>
  );
}

interface Held {
  readonly rows: readonly Flow[];
  /** Rows newer than those shown. */
  readonly waiting: number;
  readonly hold: (away: boolean) => void;
}

/** Rows stay as they are while the reader is scrolled into them, so that nothing moves under the pointer. */
function useHeld(newest: readonly Flow[], question: string): Held {
  const [held, setHeld] = useState<{ rows: readonly Flow[]; question: string }>();
  const rows = held?.question === question ? held.rows : undefined;
  const hold = (away: boolean): void => {
    if (away && rows === undefined) setHeld({ rows: newest, question });
    if (!away && held !== undefined) setHeld(undefined);
  };
  const waiting = useMemo(() => {
    if (rows === undefined) return 0;
    const known = new Set(rows.map(keyOf));
    return newest.reduce((sum, flow) => sum + (known.has(flow.key) ? 0 : 1), 0);
  }, [rows, newest]);
  return { rows: rows ?? newest, waiting, hold };
}

/** Values of a column, commonest first. */
function commonest(flows: readonly Flow[], column: string): readonly string[] {
  const counts = new Map<string, number>();
  for (const { cells } of flows) {
    const value = filterText(cells[column]);
    if (value !== undefined) counts.set(value, (counts.get(value) ?? 0) + 1);
  }
  return [...counts].sort((a, b) => b[1] - a[1]).map(([value]) => value);
}
