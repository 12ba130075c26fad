/** An answer as a virtual table of whatever columns it has. */
import { useMemo, useState, type ReactNode } from 'react';

import { CompletenessLine } from '@/components/CompletenessLine';
import { DataTable, type Sort, type TableColumn } from '@/components/DataTable';
import { Notice } from '@/components/Notice';
import { cellText, compareCells, plural, type Cell } from '@/model/quantity';
import type { Answer } from '@/model/table';
import { lengthText, type Zone } from '@/model/time';

type Row = readonly Cell[];

/** Rows that are looked at to choose a column's width. */
const SAMPLE = 100;
const LETTER_PX = 7.8;

interface ResultsProps {
  readonly answer: Answer;
  readonly zone: Zone;
}

export function Results({ answer, zone }: ResultsProps): ReactNode {
  const [sort, setSort] = useState<Sort>();
  const columns = useMemo(() => columnsOf(answer, zone), [answer, zone]);
  const rows = useMemo(() => {
    if (sort === undefined) return answer.rows;
    const at = columns.findIndex(({ id }) => id === sort.column);
    return [...answer.rows].sort((a, b) => compareCells(a[at], b[at], sort.descending));
  }, [answer, columns, sort]);
  return (
    <>
      {rows.length === 0 ? (
        <Notice title="No rows">
          <p>The query ran and nothing matches it.</p>
        </Notice>
      ) : (
        <DataTable
          label="Results"
          columns={columns}
          rows={rows}
          keyOf={(_, index) => String(index)}
          sort={sort}
          onSort={setSort}
        />
      )}
      <div className="status-line">
        <p>
          {answer.truncated
            ? `The first ${plural(answer.rows.length, 'row')}; the CSV has all`
            : plural(answer.rows.length, 'row')}{' '}
          in {lengthText(answer.elapsedMs * 1000)}
        </p>
        <p>
          <CompletenessLine completeness={answer.completeness} />
        </p>
      </div>
    </>
  );
}

function columnsOf(answer: Answer, zone: Zone): readonly TableColumn<Row>[] {
  return answer.columns.map(({ name, type }, at) => {
    const isNumber = /^(big)?int|^(float|double|decimal)/i.test(type);
    const unit = unitOf(type);
    const written = (row: Row): string => cellText(row[at], unit, zone);
    const longest = answer.rows
      .slice(0, SAMPLE)
      .reduce((most, row) => Math.max(most, written(row).length), name.length + 2);
    return {
      // Two columns of an answer may have one name.
      id: `${at} ${name}`,
      title: name,
      hint: type,
      width: Math.round(Math.min(Math.max(longest * LETTER_PX + 24, 70), 420)),
      sortable: true,
      ...(isNumber ? { align: 'end' } : {}),
      cell: (row) =>
        row[at] === null ? (
          <span className="muted">null</span>
        ) : (
          <span title={written(row)}>{written(row)}</span>
        ),
    };
  });
}

/** Times are written in the reader's zone; numbers stay as they are, for others may be computed from them. */
const unitOf = (type: string): string => (type === 'TIMESTAMP' ? 'ns' : '');
