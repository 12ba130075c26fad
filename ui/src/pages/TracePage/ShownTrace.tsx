/** A trace that is there: its facts, its tools, the waterfall and the chosen span. */
import { useMemo, useState, type ReactNode } from 'react';
import { Link, useLocation } from 'react-router';
import { z } from 'zod';

import { SpanPanel } from './SpanPanel';
import { traceUrl, type Part } from './url';
import { Waterfall } from './Waterfall';

import { useShortcuts } from '@/app/keymap';
import { Badge } from '@/components/Badge';
import { ZonePicker } from '@/components/RangePicker';
import { useView } from '@/hooks/view';
import { plural } from '@/model/quantity';
import { lengthText, micros, pointText, type Zone } from '@/model/time';
import { mentions, type Span, type Trace } from '@/model/trace';

export function ShownTrace({ trace }: { readonly trace: Trace }): ReactNode {
  const [view, change] = useView(traceUrl);
  const { zone, span: selected, find, part } = view;
  const [collapsed, setCollapsed] = useState<ReadonlySet<string>>(new Set());
  const found = useMemo(() => foundIn(trace, find), [trace, find]);
  const span = selected === undefined ? undefined : trace.spans.get(selected);
  const zoom = (to: Part | undefined): void => change({ part: to }, 'replace');
  useShortcuts({
    filter: () => document.getElementById('trace-find')?.focus(),
    'trace.zoom': () => zoom(part === undefined && span !== undefined ? partOf(span, trace) : undefined),
  });

  const toggle = (id: string): void => {
    const next = new Set(collapsed);
    if (!next.delete(id)) next.add(id);
    setCollapsed(next);
  };
  const parents = [...trace.spans.values()].flatMap(({ parent }) => parent ?? []);
  return (
    <>
      <header className="toolbar trace-head">
        <Facts trace={trace} zone={zone} />
        <div className="trace-tools">
          {part !== undefined && (
            <button type="button" className="button" title="Whole trace (z)" onClick={() => zoom(undefined)}>
              Whole trace
            </button>
          )}
          <label>
            <span className="visually-hidden">Find in this trace</span>
            <input
              id="trace-find"
              type="search"
              placeholder="Find in this trace"
              value={find}
              onChange={({ target }) => change({ find: target.value }, 'replace')}
            />
          </label>
          {found !== undefined && <span role="status">{plural(found.size, 'span')} found</span>}
          <button
            type="button"
            className="button"
            onClick={() => setCollapsed(collapsed.size > 0 ? new Set() : new Set(parents))}
          >
            {collapsed.size > 0 ? 'Expand all' : 'Collapse all'}
          </button>
          <ZonePicker zone={zone} onZone={(next) => change({ zone: next }, 'replace')} />
          <BackToSearch zone={zone} />
        </div>
      </header>
      <div className="page-split">
        <Waterfall
          trace={trace}
          part={part ?? { from: micros(0), to: micros(Math.max(1, trace.duration)) }}
          collapsed={collapsed}
          onToggle={toggle}
          selected={selected}
          onSelect={(id) => change({ span: id }, 'replace')}
          found={found}
        />
        {span !== undefined && (
          <SpanPanel
            span={span}
            trace={trace}
            zone={zone}
            onZoom={samePart(part, partOf(span, trace)) ? undefined : () => zoom(partOf(span, trace))}
            onClose={() => change({ span: undefined }, 'replace')}
          />
        )}
      </div>
    </>
  );
}

function Facts({ trace, zone }: { readonly trace: Trace; readonly zone: Zone }): ReactNode {
  const root = trace.roots[0]?.span;
  return (
    <div>
      <h1>
        {root === undefined ? 'Trace without spans' : `${root.service}: ${root.operation}`}{' '}
        <span className="mono muted">{trace.id.slice(0, 7)}</span>
      </h1>
      <p className="trace-facts">
        <span>{pointText(new Date(trace.start / 1000), zone)}</span>
        <span>{lengthText(trace.duration)}</span>
        <span>{plural(trace.spans.size, 'span')}</span>
        <span>{plural(trace.services.length, 'service')}</span>
        {trace.errors > 0 && <Badge tone="bad">{plural(trace.errors, 'error')}</Badge>}
        {trace.orphans > 0 && (
          <Badge
            tone="warn"
            title="Their parent was lost, or is still going on: a connection's span comes when it closes"
          >
            {plural(trace.orphans, 'span')} without parent
          </Badge>
        )}
      </p>
    </div>
  );
}

/** What the search page leaves in the history entry, so that the way back leads to the same search. */
const cameFrom = z.object({ search: z.string() });

function BackToSearch({ zone }: { readonly zone: Zone }): ReactNode {
  const state = cameFrom.safeParse(useLocation().state);
  const search = state.success ? state.data.search : zone === 'utc' ? '?tz=utc' : '';
  return (
    <Link className="button" to={{ pathname: '/traces', search }}>
      All traces
    </Link>
  );
}

function foundIn(trace: Trace, find: string): ReadonlySet<string> | undefined {
  const needle = find.trim().toLowerCase();
  if (needle === '') return undefined;
  return new Set([...trace.spans.values()].filter((span) => mentions(span, needle)).map(({ id }) => id));
}

/** The span with a little room around it. */
function partOf(span: Span, trace: Trace): Part {
  const room = Math.max(1, Math.round(span.duration * 0.1));
  const from = span.start - trace.start;
  return {
    from: micros(Math.max(0, Math.floor(from - room))),
    to: micros(Math.ceil(from + span.duration + room)),
  };
}

const samePart = (a: Part | undefined, b: Part): boolean => a?.from === b.from && a.to === b.to;
