/** One span's row of the waterfall: its place in the tree, and its bar in time. */
import type { CSSProperties, ReactNode } from 'react';

import type { Part } from './url';

import { lengthText, micros } from '@/model/time';
import { isError, type Node, type Span, type Trace } from '@/model/trace';

interface SpanRowProps {
  readonly id: string;
  readonly node: Node;
  readonly trace: Trace;
  readonly part: Part;
  readonly top: number;
  readonly index: number;
  readonly isOpen: boolean;
  readonly isSelected: boolean;
  readonly isDimmed: boolean;
  readonly onToggle: () => void;
  readonly onSelect: () => void;
}

const SERIES = 8;
/** Deeper spans are not moved further in, so that their names stay in sight. */
const DEEPEST = 20;

export function SpanRow(props: SpanRowProps): ReactNode {
  const { id, node, trace, part, top, index, isOpen, isSelected, isDimmed, onToggle, onSelect } = props;
  const { span, depth, children, below } = node;
  const style: CSSProperties & Record<'--series', string> = {
    transform: `translateY(${top}px)`,
    '--series': `var(--series-${(Math.max(0, trace.services.indexOf(span.service)) % SERIES) + 1})`,
  };
  const isParent = children.length > 0;
  return (
    <div
      id={id}
      role="row"
      aria-level={depth + 1}
      aria-rowindex={index + 2}
      aria-selected={isSelected}
      aria-expanded={isParent ? isOpen : undefined}
      className="waterfall-row"
      data-selected={isSelected}
      data-dimmed={isDimmed}
      style={style}
      onClick={onSelect}
    >
      <div
        role="gridcell"
        className="waterfall-name"
        style={{ paddingLeft: 10 + Math.min(depth, DEEPEST) * 16 }}
      >
        {isParent ? (
          <button
            type="button"
            className="waterfall-toggle"
            aria-label={`${isOpen ? 'Collapse' : 'Expand'} ${span.operation}`}
            onClick={(event) => {
              event.stopPropagation();
              onToggle();
            }}
          >
            {isOpen ? '▾' : '▸'}
          </button>
        ) : (
          <span className="waterfall-toggle" />
        )}
        <span className="waterfall-service">{span.service}</span> <span>{span.operation}</span>
        {!isOpen && <span className="muted"> +{below}</span>}
        {isError(span) && <span className="tone-bad"> ● error</span>}
      </div>
      <div role="gridcell" className="waterfall-time">
        <Bar span={span} trace={trace} part={part} />
      </div>
    </div>
  );
}

function Bar({
  span,
  trace,
  part,
}: Pick<SpanRowProps, 'trace' | 'part'> & { readonly span: Span }): ReactNode {
  const whole = Math.max(1, part.to - part.from);
  const offset = span.start - trace.start;
  const from = ((offset - part.from) / whole) * 100;
  const to = from + (span.duration / whole) * 100;
  const length = lengthText(span.duration);
  if (to < 0) return <span className="waterfall-length">◂ {length}, earlier</span>;
  if (from > 100) {
    return (
      <span className="waterfall-length" style={{ right: 0 }}>
        {length}, later ▸
      </span>
    );
  }
  const left = Math.max(from, 0);
  const right = Math.min(to, 100);
  return (
    <>
      <span
        className="waterfall-bar"
        data-error={isError(span)}
        style={{ left: `min(${left}%, 100% - 3px)`, width: `max(3px, ${right - left}%)` }}
        title={`${span.operation}: ${length}, ${lengthText(micros(offset))} after the trace began`}
      />
      <span className="waterfall-length" data-place={placeOf(left, right)} style={styleOf(left, right)}>
        {length}
      </span>
    </>
  );
}

/** Where the length is written: after the bar, else before it, else upon it. */
const placeOf = (left: number, right: number): 'after' | 'before' | 'upon' =>
  right <= 80 ? 'after' : left >= 20 ? 'before' : 'upon';

function styleOf(left: number, right: number): CSSProperties {
  switch (placeOf(left, right)) {
    case 'after':
      return { left: `calc(${right}% + 3px)` };
    case 'before':
      return { right: `${100 - left}%` };
    case 'upon':
      return { right: `${100 - right}%` };
  }
}
