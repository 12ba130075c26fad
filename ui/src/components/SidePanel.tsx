/** A panel beside a list, for the whole story of one of its rows. Over the list on narrow screens. */
import type { ReactNode } from 'react';

import { useShortcuts } from '@/app/keymap';
import './SidePanel.css';

interface SidePanelProps {
  readonly label: string;
  readonly title: ReactNode;
  readonly onClose: () => void;
  readonly children: ReactNode;
}

export function SidePanel({ label, title, onClose, children }: SidePanelProps): ReactNode {
  useShortcuts({ close: onClose });
  return (
    <aside className="side-panel" aria-label={label}>
      <header className="side-panel-head">
        <div className="side-panel-title">{title}</div>
        <button
          type="button"
          className="button quiet"
          aria-label="Close the panel"
          title="Close (Escape)"
          onClick={onClose}
        >
          ✕
        </button>
      </header>
      <div className="side-panel-body" tabIndex={0} role="region" aria-label={`${label}, details`}>
        {children}
      </div>
    </aside>
  );
}
