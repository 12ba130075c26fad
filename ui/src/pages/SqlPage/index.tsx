/** SQL: an editor over all tables, results below, the query in the URL. */
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { lazy, Suspense, useMemo, useState, type ReactNode } from 'react';

import { EXAMPLES } from './examples';
import { QueryFailure } from './QueryFailure';
import { Results } from './Results';
import { SchemaList } from './SchemaList';
import { sqlUrl } from './url';
import './SqlPage.css';

import { ApiError } from '@/api/client';
import { exportCsv } from '@/api/weir';
import { Failure, Loading, Notice } from '@/components/Notice';
import { RangePicker } from '@/components/RangePicker';
import { useSql, useTables } from '@/hooks/questions';
import { useTitle } from '@/hooks/title';
import { useView } from '@/hooks/view';
import { fillRange, type Position } from '@/model/sql';
import type { Table } from '@/model/table';

const Editor = lazy(async () => ({ default: (await import('./Editor')).Editor }));
const NO_TABLES: readonly Table[] = [];

export function SqlPage(): ReactNode {
  useTitle('SQL');
  const [view, change] = useView(sqlUrl);
  const { query, range, zone } = view;
  const [text, setText] = useState(query === '' ? (EXAMPLES[0]?.sql ?? '') : query);
  const [insertion, setInsertion] = useState<{ text: string }>();
  const [jump, setJump] = useState<{ to: Position }>();
  const [runs, setRuns] = useState(0);
  const tables = useTables();
  const client = useQueryClient();
  // The query in the URL is what runs: a link shows its result, Back goes to the query before.
  const answer = useSql(query, range, runs);
  const csv = useMutation({ mutationFn: exportCsv, onSuccess: download });
  const [known, setKnown] = useState(query);
  if (known !== query) {
    setKnown(query);
    if (query !== '') setText(query);
  }

  const run = (written: string): void => {
    if (written.trim() === '') return;
    setRuns(runs + 1);
    change({ query: written }, written === query ? 'replace' : 'step');
  };
  const mistake = useMemo(() => {
    const { error } = answer;
    if (!(error instanceof ApiError) || error.position === undefined || text !== query) return undefined;
    return { message: [error.message, error.hint].filter(Boolean).join('\n'), position: error.position };
  }, [answer, text, query]);

  return (
    <main className="page" aria-label="SQL">
      <h1 className="visually-hidden">SQL</h1>
      <div className="page-split">
        <SchemaList onInsert={(name) => setInsertion({ text: name })} />
        <div className="page-main">
          <Suspense fallback={<Loading what="the editor" />}>
            <Editor
              text={text}
              tables={tables.data ?? NO_TABLES}
              mistake={mistake}
              insertion={insertion}
              jump={jump}
              onChange={setText}
              onRun={run}
            />
          </Suspense>
          <div className="toolbar sql-toolbar">
            {answer.isFetching ? (
              <button
                type="button"
                className="button"
                onClick={() => void client.cancelQueries({ queryKey: ['sql'] })}
              >
                Stop
              </button>
            ) : (
              <button
                type="button"
                className="button primary"
                title="Ctrl+Enter, or Cmd+Enter"
                onClick={() => run(text)}
              >
                Run
              </button>
            )}
            <select
              className="button"
              aria-label="Examples"
              value=""
              onChange={({ target }) =>
                setText(EXAMPLES.find(({ title }) => title === target.value)?.sql ?? text)
              }
            >
              <option value="">Examples</option>
              {EXAMPLES.map(({ title }) => (
                <option key={title}>{title}</option>
              ))}
            </select>
            <button
              type="button"
              className="button"
              disabled={text.trim() === '' || csv.isPending}
              onClick={() => csv.mutate(fillRange(text, range, new Date()).sql)}
            >
              {csv.isPending ? 'Exporting…' : 'Export CSV'}
            </button>
            {answer.isFetching && <span role="status">Running…</span>}
            <RangePicker
              range={range}
              zone={zone}
              onRange={(next) => change({ range: next })}
              onZone={(next) => change({ zone: next }, 'replace')}
            />
          </div>
          {csv.error !== null && <Failure error={csv.error} />}
          {answer.data !== undefined ? (
            <Results answer={answer.data} zone={zone} />
          ) : answer.error !== null ? (
            <QueryFailure error={answer.error} onJump={(to) => setJump({ to })} retry={() => run(query)} />
          ) : query === '' ? (
            <Notice title="Ask anything of what Weir keeps">
              <p>
                Press Ctrl+Enter to run the query above, or choose an example. <code>$start</code> and{' '}
                <code>$end</code> stand for the time range. Escape, then Tab, leaves the editor.
              </p>
            </Notice>
          ) : answer.isFetching ? (
            <Loading what="the answer" />
          ) : (
            <Notice title="Stopped">
              <p>The query was stopped before it had an answer. A narrower time range makes it quicker.</p>
            </Notice>
          )}
        </div>
      </div>
    </main>
  );
}

function download(blob: Blob): void {
  const url = URL.createObjectURL(blob);
  const link = document.createElement('a');
  link.href = url;
  link.download = `weir-${new Date().toISOString().slice(0, 19).replaceAll(':', '')}.csv`;
  link.click();
  URL.revokeObjectURL(url);
}
