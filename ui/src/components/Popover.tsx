/** A button that opens a small panel below itself; closes on Escape and when the focus or a click goes elsewhere. */
import { useEffect, useId, useRef, useState, type ReactNode } from 'react';
import './Popover.css';

interface PopoverProps {
  readonly label: string;
  readonly button: ReactNode;
  readonly side?: 'start' | 'end';
  readonly children: (close: () => void) => ReactNode;
}

export function Popover({ label, button, side = 'start', children }: PopoverProps): ReactNode {
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const id = useId();
  const close = (): void => {
    setOpen(false);
    document.getElementById(`${id}-button`)?.focus();
  };
  useEffect(() => {
    if (!open) return undefined;
    const outside = (event: PointerEvent): void => {
      if (event.target instanceof Element && root.current?.contains(event.target) === false) setOpen(false);
    };
    document.addEventListener('pointerdown', outside);
    return () => document.removeEventListener('pointerdown', outside);
  }, [open]);
  return (
    <div
      ref={root}
      className="popover"
      onKeyDown={(event) => {
        if (event.key !== 'Escape' || !open) return;
        event.preventDefault();
        close();
      }}
      onBlur={(event) => {
        if (event.relatedTarget !== null && !event.currentTarget.contains(event.relatedTarget))
          setOpen(false);
      }}
    >
      <button
        id={`${id}-button`}
        type="button"
        className="button"
        aria-label={label}
        title={label}
        aria-haspopup="dialog"
        aria-expanded={open}
        aria-controls={open ? id : undefined}
        onClick={() => setOpen(!open)}
      >
        {button}
      </button>
      {open && (
        // Focusable, since it scrolls where there is much to say, and may have nothing else to hold the focus.
        <div id={id} className="popover-panel" data-side={side} role="dialog" aria-label={label} tabIndex={0}>
          {children(close)}
        </div>
      )}
    </div>
  );
}
