/** The whole program at an address, as a reader opens it. */
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { render } from '@testing-library/react';
import userEvent, { type UserEvent } from '@testing-library/user-event';
import { createMemoryRouter, RouterProvider } from 'react-router';

import { routes } from '@/app/App';

export interface Opened {
  readonly user: UserEvent;
  /** Where the reader is now: path and query. */
  readonly address: () => URL;
  readonly back: () => Promise<void>;
}

export function open(address: string): Opened {
  const router = createMemoryRouter(routes, { initialEntries: [address] });
  const client = new QueryClient({
    defaultOptions: { queries: { retry: false, refetchOnWindowFocus: false } },
  });
  render(
    <QueryClientProvider client={client}>
      <RouterProvider router={router} />
    </QueryClientProvider>,
  );
  return {
    user: userEvent.setup(),
    address: () => {
      const { pathname, search } = router.state.location;
      return new URL(`${pathname}${search}`, 'http://weir.test');
    },
    back: () => router.navigate(-1),
  };
}
