/** What this reader likes, kept in this browser. The one place that touches localStorage. */
import { useSyncExternalStore } from 'react';
import { z } from 'zod';

import type { Zone } from '@/model/time';

export type Theme = 'system' | 'light' | 'dark';

export interface Preferences {
  readonly theme: Theme;
  readonly zone: Zone;
  /** Columns of the Flows page, in order; undefined for the page's own choice. */
  readonly flowColumns: readonly string[] | undefined;
}

const KEY = 'weir.preferences.v1';

/** Anything unreadable falls back to the default, so an old or foreign value never stops the page. */
const stored = z.object({
  theme: z.enum(['system', 'light', 'dark']).catch('system'),
  zone: z.enum(['local', 'utc']).catch('local'),
  flowColumns: z.array(z.string()).optional().catch(undefined),
});

function read(): Preferences {
  let json: unknown = {};
  try {
    json = JSON.parse(localStorage.getItem(KEY) ?? '{}');
  } catch {
    // Storage that is forbidden or damaged: defaults.
  }
  const { theme, zone, flowColumns } = stored.catch({ theme: 'system', zone: 'local' }).parse(json);
  return { theme, zone, flowColumns };
}

let current = read();
const listeners = new Set<() => void>();

export function setPreferences(change: Partial<Preferences>): void {
  current = { ...current, ...change };
  try {
    localStorage.setItem(KEY, JSON.stringify(current));
  } catch {
    // The choice then lasts for this visit.
  }
  applyTheme(current.theme);
  listeners.forEach((listener) => listener());
}

export const preferences = (): Preferences => current;

export const usePreferences = (): Preferences =>
  useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, preferences);

/** Sets the root's theme; called before the first paint and after each change. */
export function applyTheme(theme: Theme): void {
  if (theme === 'system') delete document.documentElement.dataset['theme'];
  else document.documentElement.dataset['theme'] = theme;
}
