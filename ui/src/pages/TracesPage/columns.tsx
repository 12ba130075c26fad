/** Columns of the list of traces. */
import { Link } from 'react-router';

import { Badge } from '@/components/Badge';
import type { TableColumn } from '@/components/DataTable';
import { countText, plural } from '@/model/quantity';
import { lengthText, shortPointText, type Zone } from '@/model/time';
import type { Summary } from '@/model/trace';

/** `search`: the address of this search, so that the trace's page can lead back to it. */
export function summaryColumns(
  found: readonly Summary[],
  zone: Zone,
  today: Date,
  search: string,
): readonly TableColumn<Summary>[] {
  const longest = found.reduce((most, { duration }) => Math.max(most, duration), 1);
  return [
    {
      id: 'time',
      title: 'Started',
      width: 120,
      cell: ({ start }) => <time dateTime={start.toISOString()}>{shortPointText(start, zone, today)}</time>,
    },
    {
      id: 'root',
      title: 'Trace',
      hint: 'Service and operation of its first span, and the beginning of its id',
      width: 320,
      grows: true,
      // A link, so that it opens in a new tab too; the row's keys reach it, so Tab need not stop at each.
      cell: ({ service, operation, id }) => (
        <Link
          className="trace-link"
          tabIndex={-1}
          to={{ pathname: `/traces/${id}`, search: zone === 'utc' ? '?tz=utc' : '' }}
          state={{ search }}
          onClick={(event) => event.stopPropagation()}
        >
          <strong>{service === '' ? 'Parent not seen yet' : service}</strong> {operation}{' '}
          <span className="mono muted">{id.slice(0, 7)}</span>
        </Link>
      ),
    },
    {
      id: 'duration',
      title: 'Duration',
      width: 240,
      cell: ({ duration }) => (
        <span className="duration">
          <span
            className="duration-bar"
            style={{ width: `${Math.max(1, (duration / longest) * 100)}%` }}
            aria-hidden="true"
          />
          <span className="duration-text">{lengthText(duration)}</span>
        </span>
      ),
    },
    { id: 'spans', title: 'Spans', width: 76, align: 'end', cell: ({ spans }) => countText(spans) },
    {
      id: 'errors',
      title: 'Errors',
      width: 100,
      cell: ({ errors }) =>
        errors === 0 ? (
          <span className="muted">none</span>
        ) : (
          <Badge tone="bad">{plural(errors, 'error')}</Badge>
        ),
    },
    {
      id: 'services',
      title: 'Services',
      hint: 'Each with the number of its spans',
      width: 300,
      grows: true,
      cell: ({ services }) => services.map(({ name, spans }) => `${name} (${spans})`).join(', '),
    },
  ];
}
