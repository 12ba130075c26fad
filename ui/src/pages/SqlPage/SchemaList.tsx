/** Tables and columns beside the editor; a click puts the name where the cursor is. */
import { useState, type ReactNode } from 'react';

import { Failure, Loading } from '@/components/Notice';
import { useTables } from '@/hooks/questions';
import type { Table } from '@/model/table';

export function SchemaList({ onInsert }: { readonly onInsert: (name: string) => void }): ReactNode {
  const tables = useTables();
  const [typed, setTyped] = useState('');
  const needle = typed.trim().toLowerCase();
  return (
    <nav className="schema" aria-label="Tables and columns">
      <input
        aria-label="Find a column"
        placeholder="Find a column"
        value={typed}
        onChange={({ target }) => setTyped(target.value)}
      />
      {tables.data !== undefined ? (
        tables.data.map((table) => (
          <TableEntry key={table.name} table={table} needle={needle} onInsert={onInsert} />
        ))
      ) : tables.error === null ? (
        <Loading what="the schema" />
      ) : (
        <Failure error={tables.error} retry={() => void tables.refetch()} />
      )}
    </nav>
  );
}

interface TableEntryProps {
  readonly table: Table;
  readonly needle: string;
  readonly onInsert: (name: string) => void;
}

function TableEntry({ table, needle, onInsert }: TableEntryProps): ReactNode {
  const [open, setOpen] = useState(false);
  const columns = table.columns.filter(({ name }) => name.includes(needle));
  if (needle !== '' && columns.length === 0) return null;
  const shown = open || needle !== '';
  return (
    <section>
      <h2 title={table.description}>
        <button
          type="button"
          className="schema-toggle"
          aria-expanded={shown}
          aria-label={`Columns of ${table.name}`}
          onClick={() => setOpen(!open)}
        >
          {shown ? '▾' : '▸'}
        </button>
        <button type="button" className="schema-name mono" onClick={() => onInsert(table.name)}>
          {table.name}
        </button>
      </h2>
      {shown && (
        <ul>
          {columns.map(({ name, type, unit, description }) => (
            <li key={name}>
              <button
                type="button"
                className="schema-name mono"
                title={description}
                onClick={() => onInsert(name)}
              >
                {name}
              </button>
              <span className="muted">{unit === '' ? type : unit}</span>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
