/** Every shortcut of the program, and the one listener that runs them. Pages say what a shortcut does to them. */
import { useEffect, useRef } from 'react';

export const SHORTCUTS = {
  'go.flows': { keys: 'g f', does: 'Go to Flows' },
  'go.traces': { keys: 'g t', does: 'Go to Traces' },
  'go.sql': { keys: 'g s', does: 'Go to SQL' },
  help: { keys: '?', does: 'Show the shortcuts' },
  filter: { keys: '/', does: 'Focus the filter' },
  'list.next': { keys: 'j', does: 'Next row' },
  'list.previous': { keys: 'k', does: 'Previous row' },
  'list.open': { keys: 'Enter', does: 'Open the row' },
  close: { keys: 'Escape', does: 'Close the panel' },
  'flows.live': { keys: 'Space', does: 'Pause or resume live flows' },
  'trace.zoom': { keys: 'z', does: 'Zoom to the chosen span, or back to the whole trace' },
  'sql.run': { keys: 'Ctrl Enter', does: 'Run the query (in the SQL editor)' },
} as const;

export type Shortcut = keyof typeof SHORTCUTS;

type Actions = Partial<Record<Shortcut, () => void>>;

/** How long a second key may take (`g`, then `f`). */
const SEQUENCE_MS = 1200;

const name = (event: KeyboardEvent): string => (event.key === ' ' ? 'Space' : event.key);

const isTyping = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement &&
  target.closest('input, textarea, select, [contenteditable="true"]') !== null;

/** Keys that a focused control needs for itself. */
const isControl = (target: EventTarget | null, key: string): boolean =>
  (key === 'Enter' || key === 'Space') &&
  target instanceof HTMLElement &&
  target.closest('button, a, summary, [role="option"]') !== null;

interface Binding {
  current: Actions;
}

/** Components that listen, the newest last: the innermost with an action for a key gets it. */
const bindings: Binding[] = [];
let pending: { key: string; at: number } | undefined;

function find(keys: string): (() => void) | undefined {
  for (const binding of [...bindings].reverse()) {
    for (const [id, action] of Object.entries(binding.current)) {
      if (isShortcut(id) && SHORTCUTS[id].keys === keys) return action;
    }
  }
  return undefined;
}

const isShortcut = (id: string): id is Shortcut => id in SHORTCUTS;

export function onKey(event: KeyboardEvent): void {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = name(event);
  if ((isTyping(event.target) && key !== 'Escape') || isControl(event.target, key)) return;
  const started = pending;
  pending = undefined;
  const sequence =
    started !== undefined && event.timeStamp - started.at < SEQUENCE_MS ? `${started.key} ${key}` : key;
  const action = find(sequence) ?? find(key);
  if (action !== undefined) {
    event.preventDefault();
    action();
  } else if (key === 'g') {
    pending = { key, at: event.timeStamp };
  }
}

/** Binds shortcuts while the component is there. */
export function useShortcuts(actions: Actions): void {
  const binding = useRef<Actions>(actions);
  useEffect(() => {
    binding.current = actions;
  });
  useEffect(() => {
    if (bindings.length === 0) window.addEventListener('keydown', onKey);
    bindings.push(binding);
    return () => {
      bindings.splice(bindings.indexOf(binding), 1);
      if (bindings.length === 0) window.removeEventListener('keydown', onKey);
    };
  }, []);
}
