/** Spans as a tree beside their place in time. Only the rows in sight are drawn. */
import { useVirtualizer } from '@tanstack/react-virtual';
import { useEffect, useId, useRef, type ReactNode } from 'react';

import { SpanRow } from './SpanRow';
import type { Part } from './url';

import { useShortcuts } from '@/app/keymap';
import { lengthText } from '@/model/time';
import { visibleNodes, type Trace } from '@/model/trace';

interface WaterfallProps {
  readonly trace: Trace;
  readonly part: Part;
  readonly collapsed: ReadonlySet<string>;
  readonly onToggle: (span: string) => void;
  readonly selected: string | undefined;
  readonly onSelect: (span: string) => void;
  /** Spans that the search found; undefined while nothing is searched for. */
  readonly found: ReadonlySet<string> | undefined;
}

const ROW_PX = 30;
const HEAD_PX = 32;
const TICKS = [0, 0.25, 0.5, 0.75, 1] as const;

export function Waterfall(props: WaterfallProps): ReactNode {
  const { trace, part, collapsed, onToggle, selected, onSelect, found } = props;
  const nodes = visibleNodes(trace, collapsed);
  const scroller = useRef<HTMLDivElement>(null);
  const id = useId();
  const virtual = useVirtualizer({
    count: nodes.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_PX,
    overscan: 12,
    scrollPaddingStart: HEAD_PX,
  });
  const at = nodes.findIndex(({ span }) => span.id === selected);
  const first = useRef(at);
  // A link to a span far down opens there.
  useEffect(() => {
    if (first.current > 0) virtual.scrollToIndex(first.current, { align: 'center' });
  }, [virtual]);

  const move = (step: number): void => {
    const to = at === -1 ? 0 : Math.min(Math.max(at + step, 0), nodes.length - 1);
    const node = nodes[to];
    if (node === undefined) return;
    virtual.scrollToIndex(to);
    onSelect(node.span.id);
  };
  const toggle = (): void => {
    const node = nodes[at];
    if (node !== undefined && node.children.length > 0) onToggle(node.span.id);
  };
  useShortcuts({ 'list.next': () => move(1), 'list.previous': () => move(-1), 'list.open': toggle });

  const items = virtual.getVirtualItems();
  return (
    <div
      ref={scroller}
      className="waterfall"
      role="treegrid"
      aria-label="Spans"
      aria-rowcount={nodes.length + 1}
      aria-activedescendant={items.some(({ index }) => index === at) ? `${id}-${at}` : undefined}
      tabIndex={0}
      onKeyDown={(event) => {
        const node = nodes[at];
        if (event.key === 'ArrowDown' || event.key === 'ArrowUp') move(event.key === 'ArrowDown' ? 1 : -1);
        else if (event.key === 'ArrowLeft' && node !== undefined && !collapsed.has(node.span.id)) toggle();
        else if (event.key === 'ArrowRight' && node !== undefined && collapsed.has(node.span.id)) toggle();
        else return;
        event.preventDefault();
      }}
    >
      <div role="rowgroup" className="waterfall-head">
        <div role="row" aria-rowindex={1} className="waterfall-row">
          <div role="columnheader" className="waterfall-name">
            Service and operation
          </div>
          <div role="columnheader" className="waterfall-ruler">
            <span className="visually-hidden">Time</span>
            {TICKS.map((tick) => (
              <span
                key={tick}
                className="waterfall-tick"
                style={{ left: `${tick * 100}%` }}
                data-edge={tick === 1 ? 'end' : undefined}
              >
                {lengthText(Math.round(part.from + (part.to - part.from) * tick))}
              </span>
            ))}
          </div>
        </div>
      </div>
      <div role="rowgroup" className="waterfall-body" style={{ height: virtual.getTotalSize() }}>
        {items.map(({ index, start }) => {
          const node = nodes[index];
          if (node === undefined) return null;
          const { span } = node;
          return (
            <SpanRow
              key={span.id}
              id={`${id}-${index}`}
              node={node}
              trace={trace}
              part={part}
              top={start}
              index={index}
              isOpen={!collapsed.has(span.id)}
              isSelected={span.id === selected}
              isDimmed={found !== undefined && !found.has(span.id)}
              onToggle={() => onToggle(span.id)}
              onSelect={() => onSelect(span.id)}
            />
          );
        })}
      </div>
    </div>
  );
}
