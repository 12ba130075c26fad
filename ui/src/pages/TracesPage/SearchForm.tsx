/** What to search traces by. Choices apply at once, typed texts on Enter or when the field is left. */
import { useState, type ReactNode } from 'react';
import { useNavigate } from 'react-router';

import { LIMITS, type TracesView } from './url';

import { useShortcuts } from '@/app/keymap';
import { useOperations, useServices } from '@/hooks/questions';
import type { Change } from '@/hooks/view';
import { isDuration, parseTraceId } from '@/model/trace';

interface SearchFormProps {
  readonly view: TracesView;
  readonly change: Change<TracesView>;
  /** Asks the same question again. */
  readonly onAgain: () => void;
}

export function SearchForm({ view, change, onAgain }: SearchFormProps): ReactNode {
  const services = useServices();
  const operations = useOperations(view.service);
  useShortcuts({ filter: () => document.getElementById('traces-tags')?.focus() });
  return (
    <form className="search" aria-label="Search traces" onSubmit={(event) => event.preventDefault()}>
      <Choice
        label="Service"
        all="All services"
        options={services.data ?? []}
        value={view.service}
        onChange={(service) => change({ service, operation: '' })}
      />
      <Choice
        label="Operation"
        all="All operations"
        options={operations.data ?? []}
        value={view.operation}
        disabled={view.service === ''}
        onChange={(operation) => change({ operation })}
      />
      <TypedField
        id="traces-tags"
        label="Tags"
        placeholder='error http.route="/cart"'
        value={view.tags}
        problem={() => undefined}
        onChange={(tags) => change({ tags })}
        onAgain={onAgain}
      />
      <TypedField
        id="traces-min"
        label="Min duration"
        placeholder="1.5ms"
        value={view.minDuration}
        problem={durationProblem}
        onChange={(minDuration) => change({ minDuration })}
        onAgain={onAgain}
      />
      <TypedField
        id="traces-max"
        label="Max duration"
        placeholder="2s"
        value={view.maxDuration}
        problem={durationProblem}
        onChange={(maxDuration) => change({ maxDuration })}
        onAgain={onAgain}
      />
      <label className="search-limit">
        Limit
        <select value={view.limit} onChange={({ target }) => change({ limit: Number(target.value) })}>
          {LIMITS.map((limit) => (
            <option key={limit}>{limit}</option>
          ))}
        </select>
      </label>
      <OpenById />
    </form>
  );
}

const durationProblem = (typed: string): string | undefined =>
  typed === '' || isDuration(typed) ? undefined : 'Write a number and a unit, such as 1.5ms or 2s.';

interface ChoiceProps {
  readonly label: string;
  readonly all: string;
  readonly options: readonly string[];
  readonly value: string;
  readonly disabled?: boolean;
  readonly onChange: (value: string) => void;
}

function Choice({ label, all, options, value, disabled = false, onChange }: ChoiceProps): ReactNode {
  // A link may name a service that has no spans yet: it stays chosen.
  const known = value === '' || options.includes(value) ? options : [value, ...options];
  return (
    <label>
      {label}
      <select value={value} disabled={disabled} onChange={({ target }) => onChange(target.value)}>
        <option value="">{all}</option>
        {known.map((option) => (
          <option key={option}>{option}</option>
        ))}
      </select>
    </label>
  );
}

interface TypedFieldProps {
  readonly id: string;
  readonly label: string;
  readonly placeholder: string;
  readonly value: string;
  readonly problem: (typed: string) => string | undefined;
  readonly onChange: (value: string) => void;
  readonly onAgain: () => void;
}

function TypedField(props: TypedFieldProps): ReactNode {
  const { id, label, placeholder, value, problem, onChange, onAgain } = props;
  const [typed, setTyped] = useState(value);
  const [known, setKnown] = useState(value);
  // Back, or a cleared search, changes what is searched for: the field follows.
  if (known !== value) {
    setKnown(value);
    setTyped(value);
  }
  const wrong = problem(typed.trim());
  const apply = (otherwise: () => void): void => {
    if (wrong !== undefined) return;
    if (typed.trim() === value) otherwise();
    else onChange(typed.trim());
  };
  return (
    <label className={`search-${id}`}>
      {label}
      <input
        id={id}
        placeholder={placeholder}
        spellCheck={false}
        autoComplete="off"
        value={typed}
        aria-invalid={wrong !== undefined}
        aria-describedby={wrong === undefined ? undefined : `${id}-problem`}
        onChange={({ target }) => setTyped(target.value)}
        onBlur={() => apply(() => undefined)}
        onKeyDown={({ key }) => key === 'Enter' && apply(onAgain)}
      />
      {wrong !== undefined && (
        <span id={`${id}-problem`} className="tone-bad">
          {wrong}
        </span>
      )}
    </label>
  );
}

function OpenById(): ReactNode {
  const navigate = useNavigate();
  const [typed, setTyped] = useState('');
  const id = parseTraceId(typed);
  const wrong = typed.trim() !== '' && id === undefined;
  return (
    <label>
      Trace id
      <input
        placeholder="Open by id"
        spellCheck={false}
        autoComplete="off"
        value={typed}
        aria-invalid={wrong}
        onChange={({ target }) => setTyped(target.value)}
        onKeyDown={({ key }) => key === 'Enter' && id !== undefined && void navigate(`/traces/${id}`)}
      />
      {wrong && <span className="tone-bad">A trace id is up to 32 hex digits.</span>}
    </label>
  );
}
