import { describe, expect, it } from 'vitest';

import { traceUrl, type TraceView } from './url';

import { micros } from '@/model/time';

const again = (view: TraceView): TraceView =>
  traceUrl.parse(new URLSearchParams(traceUrl.format(view).toString()));

describe('the Trace page’s address', () => {
  it('carries the whole view', () => {
    const view: TraceView = {
      zone: 'utc',
      span: '00000000000000b3',
      find: 'tls & more',
      part: { from: micros(300), to: micros(2400) },
    };
    expect(again(view)).toEqual(view);
  });

  it.each(['', 'part=5~5', 'part=9~1', 'part=a~b', 'tz=mars'])('%j shows the whole trace', (query) => {
    expect(traceUrl.parse(new URLSearchParams(query))).toEqual({
      zone: 'local',
      span: undefined,
      find: '',
      part: undefined,
    });
  });
});
