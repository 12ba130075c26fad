/** Why the flows table is empty, and what to do about it. */
import type { ReactNode } from 'react';

import { Notice } from '@/components/Notice';
import { useStatus } from '@/hooks/questions';

interface NoFlowsProps {
  readonly narrowed: boolean;
  readonly onClear: () => void;
}

export function NoFlows({ narrowed, onClear }: NoFlowsProps): ReactNode {
  const status = useStatus().data;
  if (narrowed) {
    return (
      <Notice title="No flow matches">
        <p>Widen the time range, or remove a filter.</p>
        <button type="button" className="button" onClick={onClear}>
          Remove all filters
        </button>
      </Notice>
    );
  }
  if (status !== undefined && status.probe.state !== 'running') {
    return (
      <Notice title="The probe is off">
        <p>
          {status.probe.detail === ''
            ? 'Weir runs without its probe, so it sees no traffic of this machine.'
            : status.probe.detail}
        </p>
        <p>
          Run <code>weir doctor</code> to see what it needs. Captures still work:{' '}
          <code>weir import FILE.pcap</code>, then widen the time range to the capture&apos;s.
        </p>
      </Notice>
    );
  }
  return (
    <Notice title="No flows in this range yet">
      <p>
        The probe is watching. Open any connection, or run <code>weir demo</code> in another shell for traffic
        worth looking at. New flows appear here within two seconds.
      </p>
    </Notice>
  );
}
