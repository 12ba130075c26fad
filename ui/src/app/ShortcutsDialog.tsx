/** The list of shortcuts, straight from the keymap. */
import { useEffect, useRef, type ReactNode } from 'react';

import { SHORTCUTS } from './keymap';

export function ShortcutsDialog({ onClose }: { readonly onClose: () => void }): ReactNode {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog
      ref={dialog}
      className="shortcuts"
      aria-label="Keyboard shortcuts"
      onClose={onClose}
      // No shortcut works on the page behind it.
      onKeyDown={(event) => event.stopPropagation()}
      onClick={({ target, currentTarget }) => target === currentTarget && onClose()}
    >
      <div>
        <h2>Keyboard shortcuts</h2>
        <dl>
          {Object.entries(SHORTCUTS).map(([id, { keys, does }]) => (
            <div key={id}>
              <dt>
                {keys.split(' ').map((key) => (
                  <kbd key={key}>{key}</kbd>
                ))}
              </dt>
              <dd>{does}</dd>
            </div>
          ))}
        </dl>
        <button type="button" className="button" onClick={() => dialog.current?.close()}>
          Close
        </button>
      </div>
    </dialog>
  );
}
