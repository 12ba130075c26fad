/** One trace: its spans as a waterfall, each span's details beside it. */
import type { ReactNode } from 'react';
import { Link, useParams } from 'react-router';

import { ShownTrace } from './ShownTrace';
import './TracePage.css';

import { ApiError } from '@/api/client';
import { Failure, Loading, Notice } from '@/components/Notice';
import { useTrace } from '@/hooks/questions';
import { useTitle } from '@/hooks/title';
import { parseTraceId } from '@/model/trace';

export function TracePage(): ReactNode {
  const id = parseTraceId(useParams()['id'] ?? '');
  useTitle(`Trace ${id?.slice(0, 7) ?? ''}`.trim());
  const answer = useTrace(id);
  return (
    <main className="page" aria-label="Trace">
      {answer.data !== undefined ? (
        <ShownTrace trace={answer.data} />
      ) : (
        <>
          <h1 className="visually-hidden">Trace</h1>
          {id === undefined ? (
            <Notice title="This is no trace id">
              <p>A trace id is up to 32 hex digits.</p>
              <Link to="/traces">Search traces</Link>
            </Notice>
          ) : answer.error === null ? (
            <Loading what="the trace" />
          ) : answer.error instanceof ApiError && answer.error.kind === 'missing' ? (
            <Notice title="Weir has no such trace">
              <p>
                A connection&apos;s trace appears when the connection closes, or as soon as its TLS handshake
                was seen. If it is still open, look again later.
              </p>
              <button type="button" className="button" onClick={() => void answer.refetch()}>
                Look again
              </button>
              <Link to="/traces">Search traces</Link>
            </Notice>
          ) : (
            <Failure error={answer.error} retry={() => void answer.refetch()} />
          )}
        </>
      )}
    </main>
  );
}
