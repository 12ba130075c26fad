/** Which address shows which page. Pages other than Flows are loaded when they are first opened. */
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { useState, type ReactNode } from 'react';
import { createBrowserRouter, Navigate, RouterProvider, type RouteObject } from 'react-router';

import { Broken } from './Broken';
import { Shell } from './Shell';

import { Loading, Notice } from '@/components/Notice';
import { FlowsPage } from '@/pages/FlowsPage';

export const routes: RouteObject[] = [
  {
    path: '/',
    element: <Shell />,
    errorElement: <Broken />,
    HydrateFallback: () => <Loading what="the page" />,
    children: [
      { index: true, element: <Navigate to="/flows" replace /> },
      { path: 'flows', element: <FlowsPage /> },
      { path: 'traces', lazy: async () => ({ Component: (await import('@/pages/TracesPage')).TracesPage }) },
      {
        path: 'traces/:id',
        lazy: async () => ({ Component: (await import('@/pages/TracePage')).TracePage }),
      },
      { path: 'sql', lazy: async () => ({ Component: (await import('@/pages/SqlPage')).SqlPage }) },
      { path: '*', element: <NoPage /> },
    ],
  },
];

export function App(): ReactNode {
  const [client] = useState(
    () => new QueryClient({ defaultOptions: { queries: { refetchOnWindowFocus: false } } }),
  );
  const [router] = useState(() => createBrowserRouter(routes));
  return (
    <QueryClientProvider client={client}>
      <RouterProvider router={router} />
    </QueryClientProvider>
  );
}

function NoPage(): ReactNode {
  return (
    <main className="page">
      <h1 className="visually-hidden">Not found</h1>
      <Notice title="There is no such page">
        <p>Flows, Traces and SQL are in the bar above.</p>
      </Notice>
    </main>
  );
}
