/** Filters as chips before a text box that completes columns, operators and values. */
import { useId, useRef, useState, type KeyboardEvent, type ReactNode } from 'react';

import { useShortcuts } from '@/app/keymap';
import { commit, suggest, type Filterable } from '@/model/completion';
import { formatFilter, sameFilter, type Filter } from '@/model/filter';
import './FilterBox.css';

interface FilterBoxProps {
  readonly filters: readonly Filter[];
  readonly words: string;
  readonly columns: readonly Filterable[];
  /** Values of a column among the rows at hand, commonest first. */
  readonly valuesOf: (column: string) => readonly string[];
  readonly onChange: (filters: readonly Filter[], words: string) => void;
}

export function FilterBox({ filters, words, columns, valuesOf, onChange }: FilterBoxProps): ReactNode {
  const [typed, setTyped] = useState('');
  const [problem, setProblem] = useState('');
  const [open, setOpen] = useState(false);
  const [chosen, setChosen] = useState(-1);
  const input = useRef<HTMLInputElement>(null);
  const id = useId();
  useShortcuts({ filter: () => input.current?.focus() });

  const suggestions = open ? suggest(typed, columns, valuesOf) : [];
  const type = (text: string): void => {
    setTyped(text);
    setProblem('');
    setChosen(-1);
    setOpen(true);
  };
  const finish = (text: string): void => {
    const meant = commit(text, columns);
    switch (meant.kind) {
      case 'problem':
        setProblem(meant.message);
        break;
      case 'words':
        onChange(filters, meant.words);
        type('');
        break;
      case 'filter':
        onChange([...filters.filter((filter) => !sameFilter(filter, meant.filter)), meant.filter], words);
        type('');
        break;
    }
    setOpen(false);
  };
  const take = (index: number): void => {
    const suggestion = suggestions[index];
    if (suggestion === undefined) return;
    if (suggestion.finishes) finish(suggestion.text);
    else type(suggestion.text);
    input.current?.focus();
  };
  const edit = (text: string): void => {
    type(text);
    input.current?.focus();
  };

  const onKeyDown = (event: KeyboardEvent<HTMLInputElement>): void => {
    const last = suggestions.length - 1;
    if (event.key === 'ArrowDown') {
      setOpen(true);
      setChosen(chosen >= last ? 0 : chosen + 1);
    } else if (event.key === 'ArrowUp') {
      setChosen(chosen <= 0 ? last : chosen - 1);
    } else if (event.key === 'Tab' && chosen >= 0) {
      take(chosen);
    } else if (event.key === 'Enter') {
      if (chosen >= 0) take(chosen);
      else if (typed.trim() !== '') finish(typed);
    } else if (event.key === 'Escape') {
      if (suggestions.length > 0) setOpen(false);
      else input.current?.blur();
    } else if (event.key === 'Backspace' && typed === '') {
      if (words !== '') onChange(filters, '');
      else onChange(filters.slice(0, -1), words);
      return;
    } else {
      return;
    }
    event.preventDefault();
  };

  return (
    <div className="filter">
      <div className="filter-field">
        <ul className="filter-chips" aria-label="Filters">
          {filters.map((filter) => {
            const written = formatFilter(filter);
            const without = filters.filter((other) => other !== filter);
            return (
              <Chip
                key={written}
                written={written}
                onEdit={() => {
                  onChange(without, words);
                  edit(written);
                }}
                onRemove={() => onChange(without, words)}
              />
            );
          })}
          {words !== '' && (
            <Chip
              written={words}
              onEdit={() => {
                onChange(filters, '');
                edit(words);
              }}
              onRemove={() => onChange(filters, '')}
            />
          )}
        </ul>
        <input
          ref={input}
          className="filter-input"
          role="combobox"
          aria-label="Filter"
          aria-autocomplete="list"
          aria-expanded={suggestions.length > 0}
          aria-controls={`${id}-list`}
          aria-activedescendant={chosen >= 0 && chosen < suggestions.length ? `${id}-${chosen}` : undefined}
          aria-invalid={problem !== ''}
          aria-describedby={problem === '' ? undefined : `${id}-problem`}
          autoComplete="off"
          spellCheck={false}
          placeholder={
            filters.length === 0 && words === ''
              ? 'server_port=443, tls_sni~example, or any words'
              : 'Add a filter'
          }
          value={typed}
          onChange={({ target }) => type(target.value)}
          onFocus={() => setOpen(true)}
          onBlur={() => setOpen(false)}
          onKeyDown={onKeyDown}
        />
      </div>
      <ul
        id={`${id}-list`}
        className="filter-list"
        role="listbox"
        aria-label="Suggestions"
        hidden={suggestions.length === 0}
      >
        {suggestions.map(({ text, note }, index) => (
          <li
            key={text}
            id={`${id}-${index}`}
            role="option"
            aria-selected={index === chosen}
            // Before the box loses its focus, which would close the list.
            onPointerDown={(event) => {
              event.preventDefault();
              take(index);
            }}
          >
            <span className="mono">{text}</span>
            <span className="filter-note">{note}</span>
          </li>
        ))}
      </ul>
      {problem !== '' && (
        <p id={`${id}-problem`} className="filter-problem" role="alert">
          {problem}
        </p>
      )}
    </div>
  );
}

interface ChipProps {
  readonly written: string;
  readonly onEdit: () => void;
  readonly onRemove: () => void;
}

const Chip = ({ written, onEdit, onRemove }: ChipProps): ReactNode => (
  <li className="chip">
    <button type="button" className="chip-text" aria-label={`Edit filter ${written}`} onClick={onEdit}>
      {written}
    </button>
    <button type="button" className="chip-remove" aria-label={`Remove filter ${written}`} onClick={onRemove}>
      ✕
    </button>
  </li>
);
