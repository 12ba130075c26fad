/** How complete an answer is: never more certain than what the server says. */
import type { ReactNode } from 'react';

import { countText } from '@/model/quantity';
import type { Completeness } from '@/model/table';

export function CompletenessLine({ completeness }: { readonly completeness: Completeness }): ReactNode {
  const { complete, message, lost, shed, late, silent } = completeness;
  if (complete) return <span className="tone-good">Complete</span>;
  const parts = [
    lost > 0 && `${countText(lost)} lost`,
    shed > 0 && `${countText(shed)} shed`,
    late > 0 && `${countText(late)} late`,
    silent > 0 && `${countText(silent)} probes silent`,
  ].filter((part) => part !== false);
  return (
    <span className="tone-warn">
      Incomplete: {message === '' ? parts.join(', ') || 'the server does not know why' : message}
    </span>
  );
}
