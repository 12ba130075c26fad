/** Chooses the range of time and the zone that times are written in. */
import { useState, type ReactNode } from 'react';

import { Popover } from './Popover';
import './RangePicker.css';

import { bounds, inputText, parseInput, pointText, PRESETS, type Range, type Zone } from '@/model/time';

interface RangePickerProps {
  readonly range: Range;
  readonly zone: Zone;
  readonly onRange: (range: Range) => void;
  readonly onZone: (zone: Zone) => void;
}

export function RangePicker({ range, zone, onRange, onZone }: RangePickerProps): ReactNode {
  return (
    <div className="range">
      <Popover
        label={`Time range: ${rangeLabel(range, zone)}`}
        side="end"
        button={<>{rangeLabel(range, zone)} ▾</>}
      >
        {(close) => (
          <div className="range-panel">
            {PRESETS.map(({ preset, label }) => (
              <button
                key={preset}
                type="button"
                className="range-preset"
                aria-pressed={range.kind === 'last' && range.preset === preset}
                onClick={() => {
                  onRange({ kind: 'last', preset });
                  close();
                }}
              >
                {label}
              </button>
            ))}
            <CustomRange
              range={range}
              zone={zone}
              onRange={(chosen) => {
                onRange(chosen);
                close();
              }}
            />
          </div>
        )}
      </Popover>
      <ZonePicker zone={zone} onZone={onZone} />
    </div>
  );
}

/** The zone alone, where a page has no range to choose. */
export const ZonePicker = ({ zone, onZone }: Pick<RangePickerProps, 'zone' | 'onZone'>): ReactNode => (
  <select
    className="button"
    aria-label="Time zone"
    value={zone}
    onChange={({ target }) => onZone(target.value === 'utc' ? 'utc' : 'local')}
  >
    <option value="local">Local time</option>
    <option value="utc">UTC</option>
  </select>
);

function CustomRange({
  range,
  zone,
  onRange,
}: Pick<RangePickerProps, 'range' | 'zone' | 'onRange'>): ReactNode {
  const [initial] = useState(() => bounds(range, new Date()));
  const [from, setFrom] = useState(() => inputText(initial.start, zone));
  const [to, setTo] = useState(() => inputText(initial.end, zone));
  const start = parseInput(from, zone);
  const end = parseInput(to, zone);
  const backwards = start !== undefined && end !== undefined && start.getTime() >= end.getTime();
  return (
    <form
      className="range-custom"
      onSubmit={(event) => {
        event.preventDefault();
        if (start !== undefined && end !== undefined && !backwards) onRange({ kind: 'fixed', start, end });
      }}
    >
      <label>
        From
        <input type="datetime-local" step="1" value={from} onChange={({ target }) => setFrom(target.value)} />
      </label>
      <label>
        To
        <input type="datetime-local" step="1" value={to} onChange={({ target }) => setTo(target.value)} />
      </label>
      {backwards && <p role="alert">The range ends before it starts.</p>}
      <button
        type="submit"
        className="button primary"
        disabled={start === undefined || end === undefined || backwards}
      >
        Use this range
      </button>
    </form>
  );
}

function rangeLabel(range: Range, zone: Zone): string {
  if (range.kind === 'last')
    return PRESETS.find(({ preset }) => preset === range.preset)?.label ?? range.preset;
  return `${pointText(range.start, zone).slice(0, 19)} – ${pointText(range.end, zone).slice(0, 19)}`;
}
