/** Answers in the forms that the server gives them, small enough to read. */

const COMPLETE = { complete: true, lost: 0, shed: 0, late: 0, probes_silent: 0, message: 'complete' };

export const INCOMPLETE = {
  ...COMPLETE,
  complete: false,
  lost: 3,
  message: 'records missing in this range: 3 lost; the table probe_health says which',
};

const column = (name: string, type: string, unit: string, description: string): object => ({
  name,
  type,
  nullable: true,
  unit,
  description,
  otel: '',
  ipfix: '',
  zeek: '',
});

export const TABLES = {
  schema_version: 1,
  tables: [
    {
      name: 'flows',
      description: 'What a connection did in one interval.',
      columns: [
        column('time', 'TIMESTAMP', 'ns', 'Start of the interval.'),
        column('connection_id', 'VARCHAR', '', 'The connection.'),
        column('client_ip', 'VARCHAR', '', 'Who opened the connection.'),
        column('server_ip', 'VARCHAR', '', 'Whom it reached.'),
        column('server_port', 'INTEGER', '', 'The port it reached.'),
        column('client_bytes', 'BIGINT', 'bytes', 'Sent by the client.'),
        column('server_bytes', 'BIGINT', 'bytes', 'Sent by the server.'),
        column('rtt_us', 'BIGINT', 'us', 'Smoothed round-trip time.'),
        column('tls_sni', 'VARCHAR', '', 'Name that the client asked for.'),
        column('trace_id', 'VARCHAR', '', 'The trace.'),
      ],
    },
    {
      name: 'tls_handshakes',
      description: 'One a handshake.',
      columns: [
        column('tls_cipher', 'VARCHAR', '', 'The cipher that was chosen.'),
        column('tls_ja4', 'VARCHAR', '', "The client's JA4."),
      ],
    },
  ],
};

export const STATUS = {
  version: '0.1.0',
  node: 'node-a',
  started: '2026-11-24T20:00:00Z',
  probe: { state: 'running', detail: 'sees TCP, UDP and TLS' },
  listeners: [{ address: '127.0.0.1:8480', name: 'http' }],
  tables: [{ name: 'flows', rows_memory: 2, rows_sealed: 10, files: 1, bytes: 4096 }],
  health: [{ node: 'node-a', counter: 'ring_full', kind: 'lost', value: 0, message: null }],
};

export const CONNECTION = '9f3c5a7be1d20486';
export const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
export const JA4 = 't13d1516h2_8daaf6152771_b186095e22b6';

export const TLS_FLOW = {
  time: '2026-11-24T21:03:05.120456789Z',
  end_time: '2026-11-24T21:03:06.120456789Z',
  connection_id: CONNECTION,
  observer: 'client',
  state: 'only',
  close_reason: 'fin',
  protocol: 'tcp',
  client_ip: '10.77.0.2',
  client_port: 40_000,
  server_ip: '10.77.0.3',
  server_port: 8443,
  client_process: 'front',
  client_bytes: 1530,
  server_bytes: 12_000,
  client_packets: 9,
  server_packets: 12,
  client_retransmits: 0,
  server_retransmits: 2,
  rtt_us: 312,
  connect_us: 280,
  encryption: 'tls',
  tls_version: '1.3',
  tls_sni: 'api.demo.internal',
  tls_alpn: 'http/1.1',
  tls_ja4: JA4,
  trace_id: TRACE,
};

export const PLAIN_FLOW = {
  ...TLS_FLOW,
  time: '2026-11-24T21:03:07.000000000Z',
  connection_id: '00000000000000aa',
  close_reason: 'reset_by_server',
  client_process: 'client',
  server_port: 8080,
  client_bytes: 800_000,
  encryption: 'plaintext',
  tls_version: null,
  tls_sni: null,
  tls_alpn: null,
  tls_ja4: null,
};

export const flows = (...rows: readonly object[]): object => ({
  rows,
  truncated: false,
  completeness: COMPLETE,
  now: '2026-11-24T21:03:10Z',
});

export const sql = (
  columns: Readonly<Record<string, string>>,
  ...rows: readonly (readonly unknown[])[]
): object => ({
  columns: Object.entries(columns).map(([name, type]) => ({ name, type })),
  row_count: rows.length,
  rows,
  truncated: false,
  elapsed_ms: 4.25,
  completeness: COMPLETE,
});

export const SUMMARIES = {
  summaries: [
    {
      traceId: TRACE,
      rootServiceName: 'front',
      rootOperationName: 'TCP connection',
      minStartTimeUnixNano: '1795554185120456789',
      maxEndTimeUnixNano: '1795554186120456789',
      spanCount: 4,
      errorSpanCount: 1,
      services: [
        { name: 'api', spanCount: 1 },
        { name: 'front', spanCount: 3, errorSpanCount: 1 },
      ],
    },
    {
      // Zero counts and empty texts are left out.
      traceId: '00000000000000000000000000000abc',
      minStartTimeUnixNano: '1795554190000000000',
      maxEndTimeUnixNano: '1795554190000250000',
      spanCount: 1,
    },
  ],
};

const START_US = 1_795_554_185_120_456;

interface SpanParts {
  readonly id: string;
  readonly parent?: string;
  readonly operation: string;
  readonly process?: string;
  readonly start: number;
  readonly duration: number;
  readonly tags?: readonly { readonly key: string; readonly type: string; readonly value: unknown }[];
}

const span = ({ id, parent, operation, process = 'p1', start, duration, tags = [] }: SpanParts): object => ({
  traceID: TRACE,
  spanID: id,
  operationName: operation,
  references: parent === undefined ? [] : [{ refType: 'CHILD_OF', traceID: TRACE, spanID: parent }],
  startTime: START_US + start,
  duration,
  tags,
  logs: [],
  processID: process,
  warnings: null,
});

const text = (key: string, value: string): { key: string; type: string; value: string } => ({
  key,
  type: 'string',
  value,
});

export const trace = (...spans: readonly object[]): object => ({
  data: [
    {
      traceID: TRACE,
      spans,
      processes: {
        p1: { serviceName: 'front', tags: [text('host.name', 'node-a')] },
        p2: { serviceName: 'api', tags: [] },
      },
      warnings: null,
    },
  ],
  total: 0,
  limit: 0,
  offset: 0,
  errors: null,
});

export const CONNECTION_SPANS = [
  span({
    id: '00000000000000b1',
    operation: 'TCP connection',
    start: 0,
    duration: 1_000_000,
    tags: [text('weir.connection.id', CONNECTION), { key: 'error', type: 'bool', value: true }],
  }),
  span({
    id: '00000000000000b2',
    parent: '00000000000000b1',
    operation: 'TCP connect',
    start: 0,
    duration: 280,
  }),
  span({
    id: '00000000000000b3',
    parent: '00000000000000b1',
    operation: 'TLS handshake',
    start: 300,
    duration: 2100,
    tags: [text('tls.cipher', 'TLS_AES_128_GCM_SHA256'), text('weir.tls.client.ja4', JA4)],
  }),
  span({
    id: '00000000000000b4',
    parent: '00000000000000b1',
    operation: 'GET /catalog',
    process: 'p2',
    start: 900_000,
    duration: 50_000,
  }),
];

/** A handshake whose connection is still open: its parent's span is not there yet. */
export const ORPHAN = span({
  id: '00000000000000b3',
  parent: '00000000000000b1',
  operation: 'TLS handshake',
  start: 300,
  duration: 2100,
});
