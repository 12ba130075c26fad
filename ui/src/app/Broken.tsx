/** Shown when a page itself fails: says so, and offers a fresh start. */
import type { ReactNode } from 'react';
import { useRouteError } from 'react-router';

import { Notice } from '@/components/Notice';

export function Broken(): ReactNode {
  const error = useRouteError();
  return (
    <main className="page">
      <h1 className="visually-hidden">Weir</h1>
      <Notice title="This page broke" tone="bad">
        <p>{error instanceof Error ? error.message : 'The cause is unknown.'}</p>
        <p>
          Nothing that Weir stores is affected. If it happens again, please report it with the address of this
          page.
        </p>
        <a className="button" href="/flows">
          Start again
        </a>
      </Notice>
    </main>
  );
}
