/** Traces: search by service, operation, tags, duration and time. */
import { useMemo, type ReactNode } from 'react';
import { useNavigate } from 'react-router';

import { summaryColumns } from './columns';
import { SearchForm } from './SearchForm';
import { tracesUrl, type TracesView } from './url';
import './TracesPage.css';

import { DataTable } from '@/components/DataTable';
import { Failure, FailureLine, Loading, Notice } from '@/components/Notice';
import { RangePicker } from '@/components/RangePicker';
import { useSummaries } from '@/hooks/questions';
import { useTitle } from '@/hooks/title';
import { useView } from '@/hooks/view';
import { plural } from '@/model/quantity';
import { clockText } from '@/model/time';
import { parseTags, type Summary } from '@/model/trace';

const keyOf = (summary: Summary): string => summary.id;

/** What a search is without its conditions; range, zone and number stay. */
const NO_CONDITIONS = { service: '', operation: '', tags: '', minDuration: '', maxDuration: '' } as const;

export function TracesPage(): ReactNode {
  useTitle('Traces');
  const [view, change] = useView(tracesUrl);
  const navigate = useNavigate();
  const { range, zone, service, operation, minDuration, maxDuration, limit } = view;
  const tags = useMemo(() => parseTags(view.tags), [view.tags]);
  const answer = useSummaries({ service, operation, tags, minDuration, maxDuration, range, limit });
  const found = answer.data;
  const search = `?${tracesUrl.format(view).toString()}`;
  const columns = useMemo(
    () => summaryColumns(found ?? [], zone, new Date(answer.dataUpdatedAt), search),
    [found, zone, answer.dataUpdatedAt, search],
  );
  return (
    <main className="page" aria-label="Traces">
      <h1 className="visually-hidden">Traces</h1>
      <div className="toolbar">
        <SearchForm view={view} change={change} onAgain={() => void answer.refetch()} />
        <div className="search-end">
          <RangePicker
            range={range}
            zone={zone}
            onRange={(next) => change({ range: next })}
            onZone={(next) => change({ zone: next }, 'replace')}
          />
          <button type="button" className="button primary" onClick={() => void answer.refetch()}>
            Search
          </button>
        </div>
      </div>
      {answer.error !== null && found !== undefined && <FailureLine error={answer.error} />}
      {found === undefined ? (
        answer.error === null ? (
          <Loading what="traces" />
        ) : (
          <Failure error={answer.error} retry={() => void answer.refetch()} />
        )
      ) : found.length === 0 ? (
        <NoTraces view={view} onClear={() => change(NO_CONDITIONS)} />
      ) : (
        <DataTable
          label="Traces"
          columns={columns}
          rows={found}
          keyOf={keyOf}
          isStale={answer.isPlaceholderData}
          onSelect={({ id }) =>
            void navigate(
              { pathname: `/traces/${id}`, search: zone === 'utc' ? '?tz=utc' : '' },
              { state: { search } },
            )
          }
        />
      )}
      <div className="status-line">
        {found !== undefined && (
          <>
            <p>
              {plural(found.length, 'trace')}
              {found.length >= limit &&
                ', the newest that match; raise the limit or narrow the search for others'}
            </p>
            <p role="status">
              {answer.isFetching && found.length > 0
                ? 'Searching…'
                : `As of ${clockText(new Date(answer.dataUpdatedAt), zone).slice(0, 8)}`}
            </p>
          </>
        )}
      </div>
    </main>
  );
}

interface NoTracesProps {
  readonly view: TracesView;
  readonly onClear: () => void;
}

function NoTraces({ view, onClear }: NoTracesProps): ReactNode {
  const { service, tags, minDuration, maxDuration } = view;
  if (service !== '' || tags !== '' || minDuration !== '' || maxDuration !== '') {
    return (
      <Notice title="No trace matches">
        <p>Widen the time range, or search for less.</p>
        <button type="button" className="button" onClick={onClear}>
          Clear the search
        </button>
      </Notice>
    );
  }
  return (
    <Notice title="No traces in this range yet">
      <p>
        Each TCP connection becomes a trace when it closes, or as soon as its TLS handshake was seen.
        Applications send their own spans by OTLP to <code>127.0.0.1:4317</code>; <code>weir demo</code> makes
        some of both. This page looks again every two seconds.
      </p>
    </Notice>
  );
}
