/** Why a query has no answer: a mistake and where it is, a limit that it ran into, or a failure of ours. */
import type { ReactNode } from 'react';

import { ApiError } from '@/api/client';
import { Failure, Notice } from '@/components/Notice';
import type { Position } from '@/model/sql';

interface QueryFailureProps {
  readonly error: Error;
  /** Puts the editor's cursor there. */
  readonly onJump: (position: Position) => void;
  readonly retry: () => void;
}

export function QueryFailure({ error, onJump, retry }: QueryFailureProps): ReactNode {
  if (!(error instanceof ApiError) || error.kind !== 'refused') {
    return <Failure error={error} retry={retry} />;
  }
  const { position, hint, message } = error;
  return (
    <Notice title={titleOf(error)} tone="bad">
      <p className="mono">{message}</p>
      {hint !== undefined && <p>{hint}</p>}
      {position !== undefined && (
        <button type="button" className="button" onClick={() => onJump(position)}>
          Go to line {position.line}, column {position.column}
        </button>
      )}
    </Notice>
  );
}

function titleOf({ code = '' }: ApiError): string {
  if (code.startsWith('sql.')) return 'The query has a mistake';
  return code.startsWith('limit.') ? 'The query was stopped' : 'Weir could not answer';
}
