/** Starts the pages. */
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';

import { App } from '@/app/App';
import { applyTheme, preferences } from '@/hooks/preferences';
import '@/theme/base.css';

applyTheme(preferences().theme);
const root = document.getElementById('root');
if (root !== null) {
  createRoot(root).render(
    <StrictMode>
      <App />
    </StrictMode>,
  );
}
