/** What every page has around it: the bar with navigation, health and preferences, and the shortcuts. */
import { useState, type ReactNode } from 'react';
import { NavLink, Outlet, useLocation, useNavigate } from 'react-router';

import { HealthStrip } from './HealthStrip';
import { useShortcuts } from './keymap';
import { ShortcutsDialog } from './ShortcutsDialog';
import './Shell.css';

import { setPreferences, usePreferences, type Theme } from '@/hooks/preferences';

const NEXT_THEME: Readonly<Record<Theme, Theme>> = { system: 'light', light: 'dark', dark: 'system' };
const THEME_SIGN: Readonly<Record<Theme, string>> = { system: '◐', light: '☀', dark: '☾' };

export function Shell(): ReactNode {
  const { search } = useLocation();
  const navigate = useNavigate();
  const [help, setHelp] = useState(false);
  const { theme } = usePreferences();
  const shared = sharedPart(search);
  useShortcuts({
    'go.flows': () => void navigate(`/flows${shared}`),
    'go.traces': () => void navigate(`/traces${shared}`),
    'go.sql': () => void navigate(`/sql${shared}`),
    help: () => setHelp(true),
  });
  return (
    <div className="shell">
      <header className="bar">
        <span className="bar-name">
          <img src="/favicon.svg" alt="" width="22" height="22" />
          Weir
        </span>
        <nav className="bar-nav" aria-label="Pages">
          <NavLink to={`/flows${shared}`}>Flows</NavLink>
          <NavLink to={`/traces${shared}`}>Traces</NavLink>
          <NavLink to={`/sql${shared}`}>SQL</NavLink>
        </nav>
        <div className="bar-end">
          <HealthStrip />
          <button
            type="button"
            className="button quiet"
            aria-label={`Theme: ${theme}. Switch to ${NEXT_THEME[theme]}`}
            title={`Theme: ${theme}`}
            onClick={() => setPreferences({ theme: NEXT_THEME[theme] })}
          >
            {THEME_SIGN[theme]}
          </button>
          <button
            type="button"
            className="button quiet"
            aria-label="Keyboard shortcuts"
            title="Keyboard shortcuts (?)"
            onClick={() => setHelp(true)}
          >
            ?
          </button>
        </div>
      </header>
      <Outlet />
      {help && <ShortcutsDialog onClose={() => setHelp(false)} />}
    </div>
  );
}

/** Range and zone follow the reader from page to page. */
function sharedPart(search: string): string {
  const now = new URLSearchParams(search);
  const kept = new URLSearchParams();
  for (const name of ['t', 'tz']) {
    const value = now.get(name);
    if (value !== null) kept.set(name, value);
  }
  return kept.size === 0 ? '' : `?${kept.toString()}`;
}
