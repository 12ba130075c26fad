/** A span's whole story: timing, tags, process, logs, warnings, and the way to its flows. */
import type { ReactNode } from 'react';
import { Link } from 'react-router';

import { Badge } from '@/components/Badge';
import { FieldList } from '@/components/FieldList';
import { SidePanel } from '@/components/SidePanel';
import { cellText } from '@/model/quantity';
import { lengthText, pointText, type Zone } from '@/model/time';
import { connectionOf, isError, type Span, type Tag, type Trace } from '@/model/trace';
import { linkToConnection } from '@/pages/FlowsPage/url';

interface SpanPanelProps {
  readonly span: Span;
  readonly trace: Trace;
  readonly zone: Zone;
  /** Draws only the time of this span; undefined where it already is. */
  readonly onZoom: (() => void) | undefined;
  readonly onClose: () => void;
}

export function SpanPanel({ span, trace, zone, onZoom, onClose }: SpanPanelProps): ReactNode {
  const connection = connectionOf(span);
  const start = new Date(span.start / 1000);
  const end = new Date((span.start + span.duration) / 1000);
  return (
    <SidePanel
      label="Span"
      onClose={onClose}
      title={
        <>
          <h2>{span.operation}</h2>
          <p>
            {span.service} · {lengthText(span.duration)} {isError(span) && <Badge tone="bad">error</Badge>}
          </p>
          <p>
            {pointText(start, zone)}, {lengthText(span.start - trace.start)} after the trace began
          </p>
        </>
      }
    >
      <p className="span-actions">
        {connection !== undefined && (
          <Link className="button" to={linkToConnection(connection, start, end, zone)}>
            Show its flows
          </Link>
        )}
        {onZoom !== undefined && (
          <button type="button" className="button" title="Zoom (z)" onClick={onZoom}>
            Zoom to this span
          </button>
        )}
      </p>
      {span.warnings.length > 0 && (
        <section>
          <h3>Warnings</h3>
          <ul className="span-warnings">
            {span.warnings.map((warning) => (
              <li key={warning}>{warning}</li>
            ))}
          </ul>
        </section>
      )}
      <Tags title="Tags" tags={span.tags} zone={zone} />
      <Tags title="Process" tags={span.process} zone={zone} />
      {span.logs.map((log, index) => (
        <Tags
          key={index}
          title={`Event, ${lengthText(log.time - span.start)} after the span began`}
          tags={log.fields}
          zone={zone}
        />
      ))}
      <p className="muted mono">
        span {span.id}
        {span.parent !== undefined && `, parent ${span.parent}`}
      </p>
    </SidePanel>
  );
}

function Tags({
  title,
  tags,
  zone,
}: {
  readonly title: string;
  readonly tags: readonly Tag[];
  readonly zone: Zone;
}): ReactNode {
  if (tags.length === 0) return null;
  return (
    <section>
      <h3>{title}</h3>
      <FieldList
        label={title}
        fields={tags.map(({ key, value }) => ({ name: key, value: cellText(value, '', zone) }))}
      />
    </section>
  );
}
