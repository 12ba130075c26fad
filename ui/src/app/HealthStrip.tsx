/** Whether the probe runs, what was lost, and which version this is; more on a click. */
import type { ReactNode } from 'react';

import { Popover } from '@/components/Popover';
import { useStatus } from '@/hooks/questions';
import { bytesText, countText, plural } from '@/model/quantity';
import { lossesOf, type Status } from '@/model/table';

export function HealthStrip(): ReactNode {
  const { data: status, error } = useStatus();
  if (error !== null) {
    return (
      <span className="health" data-tone="bad" role="status">
        <Dot tone="bad" /> Weir does not answer
      </span>
    );
  }
  if (status === undefined) return null;
  const lost = lossesOf(status);
  const running = status.probe.state === 'running';
  const summary = `Probe ${status.probe.state}, ${lost === 0 ? 'nothing lost' : `${countText(lost)} lost`}`;
  return (
    <Popover
      label={`Health: ${summary}`}
      side="end"
      button={
        <>
          <Dot tone={!running ? 'warn' : lost > 0 ? 'bad' : 'good'} />
          <span className="health-words">{summary}</span>
          <span className="health-version muted">{status.version}</span>
        </>
      }
    >
      {() => <Details status={status} />}
    </Popover>
  );
}

const Dot = ({ tone }: { readonly tone: 'good' | 'warn' | 'bad' }): ReactNode => (
  <span className="health-dot" data-tone={tone} aria-hidden="true" />
);

function Details({ status }: { readonly status: Status }): ReactNode {
  const notable = status.health.filter(({ kind, value }) => kind !== 'gauge' && value > 0);
  const stored = status.tables.filter(({ rows }) => rows > 0);
  return (
    <div className="health-details">
      <h2>
        Weir {status.version} on {status.node === '' ? 'this node' : status.node}
      </h2>
      <p>
        <strong>Probe {status.probe.state}.</strong> {status.probe.detail}
      </p>
      <h3>Lost and shed</h3>
      {notable.length === 0 ? (
        <p>Nothing.</p>
      ) : (
        <ul>
          {notable.map(({ node, counter, value, kind, message }) => (
            <li key={`${node} ${counter} ${kind}`}>
              <strong>
                {countText(value)} {kind}
              </strong>{' '}
              <span className="mono">{counter}</span> {node !== '' && `on ${node}`} {message}
            </li>
          ))}
        </ul>
      )}
      <h3>Stored</h3>
      {stored.length === 0 ? (
        <p>Nothing yet.</p>
      ) : (
        <ul>
          {stored.map(({ name, rows, files, bytes }) => (
            <li key={name}>
              <span className="mono">{name}</span>: {plural(rows, 'row')}, {plural(files, 'file')},{' '}
              {bytesText(bytes)}
            </li>
          ))}
        </ul>
      )}
      <h3>Listens on</h3>
      <ul>
        {status.listeners.map((listener) => (
          <li key={listener} className="mono">
            {listener}
          </li>
        ))}
      </ul>
    </div>
  );
}
