/** What a view shows in place of data: that it loads, that there is none, or why it failed, and what to do next. */
import type { ReactNode } from 'react';

import { ApiError } from '@/api/client';
import './Notice.css';

interface NoticeProps {
  readonly title: string;
  readonly tone?: 'plain' | 'bad';
  readonly children?: ReactNode;
}

export function Notice({ title, tone = 'plain', children }: NoticeProps): ReactNode {
  return (
    <div className="notice" data-tone={tone} role={tone === 'bad' ? 'alert' : 'status'}>
      <h2>{title}</h2>
      {children}
    </div>
  );
}

export const Loading = ({ what }: { readonly what: string }): ReactNode => (
  <div className="notice" role="status">
    <p className="notice-loading">Loading {what}…</p>
  </div>
);

const TITLES: Readonly<Record<ApiError['kind'], string>> = {
  unreachable: 'Weir does not answer',
  refused: 'Weir refused the question',
  forbidden: 'You may not see this',
  missing: 'Not found',
  shape: 'Unexpected answer',
};

/** An error with its way out. */
export function Failure({ error, retry }: { readonly error: Error; readonly retry?: () => void }): ReactNode {
  return (
    <Notice title={error instanceof ApiError ? TITLES[error.kind] : 'Something went wrong'} tone="bad">
      <p>{error.message}</p>
      {error instanceof ApiError && error.hint !== undefined && <p>{error.hint}</p>}
      {retry !== undefined && (
        <button type="button" className="button" onClick={retry}>
          Try again
        </button>
      )}
    </Notice>
  );
}

/** The same in one line, above data that is still shown. */
export function FailureLine({ error }: { readonly error: Error }): ReactNode {
  return (
    <p className="failure-line" role="alert">
      {error.message} {error instanceof ApiError ? error.hint : ''} What you see is the last answer.
    </p>
  );
}
