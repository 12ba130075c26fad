/** Names and values of one thing, with what each means and buttons to look for others like it. */
import type { ReactNode } from 'react';

import type { Operator } from '@/model/filter';
import './FieldList.css';

export interface Field {
  readonly name: string;
  readonly value: string;
  readonly note?: string;
}

interface FieldListProps {
  readonly label: string;
  readonly fields: readonly Field[];
  /** Shows "filter by this value" buttons. */
  readonly onFilter?: (name: string, op: Operator) => void;
}

export function FieldList({ label, fields, onFilter }: FieldListProps): ReactNode {
  return (
    <dl className="fields" aria-label={label}>
      {fields.map(({ name, value, note }, index) => (
        <div key={`${name}-${index}`} className="field">
          <dt>{name}</dt>
          <dd>
            <span className="field-value">{value}</span>
            {onFilter !== undefined && (
              <span className="field-buttons">
                <button
                  type="button"
                  aria-label={`Filter by ${name} = ${value}`}
                  title="Only rows with this value"
                  onClick={() => onFilter(name, '=')}
                >
                  =
                </button>
                <button
                  type="button"
                  aria-label={`Filter by ${name} other than ${value}`}
                  title="Only rows without this value"
                  onClick={() => onFilter(name, '!=')}
                >
                  ≠
                </button>
              </span>
            )}
            {note !== undefined && note !== '' && <span className="field-note">{note}</span>}
          </dd>
        </div>
      ))}
    </dl>
  );
}
