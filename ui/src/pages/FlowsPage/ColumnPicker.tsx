/** Chooses the table's columns; the choice is kept in this browser. */
import { useState, type ReactNode } from 'react';

import { DEFAULT_COLUMNS, type FlowColumn } from './columns';

import { Popover } from '@/components/Popover';
import { setPreferences } from '@/hooks/preferences';

interface ColumnPickerProps {
  readonly all: readonly FlowColumn[];
  readonly shown: readonly string[];
}

export function ColumnPicker({ all, shown }: ColumnPickerProps): ReactNode {
  const [typed, setTyped] = useState('');
  const needle = typed.trim().toLowerCase();
  const found = all.filter(({ id, title }) => `${id} ${title}`.toLowerCase().includes(needle));
  const toggle = (id: string): void => {
    const next = shown.includes(id) ? shown.filter((other) => other !== id) : [...shown, id];
    // A table of no columns helps nobody: the last one stays.
    if (next.length > 0) setPreferences({ flowColumns: next });
  };
  return (
    <Popover label="Choose columns" side="end" button="Columns">
      {() => (
        <div className="column-picker">
          <div className="column-picker-head">
            <input
              aria-label="Find a column"
              placeholder="Find a column"
              value={typed}
              onChange={({ target }) => setTyped(target.value)}
            />
            <button
              type="button"
              className="button"
              onClick={() => setPreferences({ flowColumns: undefined })}
              disabled={shown === DEFAULT_COLUMNS}
            >
              Default
            </button>
          </div>
          <ul>
            {found.map(({ id, title, hint }) => (
              <li key={id}>
                <label title={hint}>
                  <input type="checkbox" checked={shown.includes(id)} onChange={() => toggle(id)} />
                  {title}
                  {title !== id && <span className="mono muted"> {id}</span>}
                </label>
              </li>
            ))}
          </ul>
          {found.length === 0 && <p className="muted">No column is called “{typed}”.</p>}
        </div>
      )}
    </Popover>
  );
}
