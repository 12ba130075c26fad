import { describe, expect, it } from 'vitest';

import {
  addressOf,
  bothWays,
  encryptionOf,
  endedBadly,
  flowOf,
  nameOf,
  observerText,
  partsOfKey,
  type Flow,
} from './flow';
import type { Cell } from './quantity';

function flow(cells: Record<string, Cell>): Flow {
  const made = flowOf({
    time: '2026-11-24T21:03:05.120456789Z',
    connection_id: '5e1f',
    observer: 'client',
    ...cells,
  });
  if (made === undefined) throw new Error('a row with a time is a flow');
  return made;
}

describe('a flow', () => {
  it('has a key that leads back to its connection and time', () => {
    expect(partsOfKey(flow({}).key)).toEqual({
      connectionId: '5e1f',
      time: new Date('2026-11-24T21:03:05.120Z'),
    });
    expect(partsOfKey('nonsense')).toBeUndefined();
  });

  it('without a time is none', () => {
    expect(flowOf({ connection_id: '5e1f' })).toBeUndefined();
  });

  it('writes addresses so that the port can be told from the address', () => {
    expect(addressOf(flow({ client_ip: '10.0.0.7', client_port: 443 }), 'client')).toBe('10.0.0.7:443');
    expect(addressOf(flow({ server_ip: 'fd00::7', server_port: 443 }), 'server')).toBe('[fd00::7]:443');
    expect(addressOf(flow({ server_ip: 'fd00::7' }), 'server')).toBe('fd00::7');
  });

  it('calls an end by the best name known', () => {
    expect(nameOf(flow({ client_pod: 'a', client_namespace: 'shop', client_process: 'p' }), 'client')).toBe(
      'shop/a',
    );
    expect(nameOf(flow({ client_process: 'curl' }), 'client')).toBe('curl');
    expect(nameOf(flow({ tls_sni: 'example.com' }), 'server')).toBe('example.com');
    expect(nameOf(flow({ tls_sni: 'example.com' }), 'client')).toBeUndefined();
  });

  it('is of unknown encryption unless something proves it', () => {
    expect([encryptionOf(flow({})), encryptionOf(flow({ encryption: 'mtls' }))]).toEqual(['unknown', 'mtls']);
    expect(encryptionOf(flow({ encryption: 'rot13' }))).toBe('unknown');
  });

  it('ended badly unless it ended by FIN, by idling, or goes on', () => {
    const ends = [null, 'fin', 'idle', 'reset_by_server', 'refused'];
    expect(ends.map((close_reason) => endedBadly(flow({ close_reason })))).toEqual([
      false,
      false,
      false,
      true,
      true,
    ]);
  });

  it('names its observer for people', () => {
    expect(['client', 'both', 'path', undefined].map(observerText)).toEqual([
      'the client',
      'both ends',
      'a node on the path',
      'an unknown observer',
    ]);
  });

  it('adds up what is known of both directions', () => {
    expect(bothWays(flow({ client_packets: 3, server_packets: 4 }), 'packets')).toBe(7);
    expect(bothWays(flow({ client_retransmits: 1 }), 'retransmits')).toBe(1);
    expect(bothWays(flow({}), 'retransmits')).toBeUndefined();
  });
});
