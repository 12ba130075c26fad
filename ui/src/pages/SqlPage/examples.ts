/** Queries to start from. Each answers a question that people have, and runs on an empty store too. */

export interface Example {
  readonly title: string;
  readonly sql: string;
}

export const EXAMPLES: readonly Example[] = [
  {
    title: 'Who talks to whom, by bytes',
    sql: `SELECT coalesce(client_process, client_ip) AS client,
       coalesce(tls_sni, server_name, server_ip) AS server,
       server_port,
       count(DISTINCT connection_id) AS connections,
       sum(client_bytes + server_bytes) AS bytes
FROM flows
WHERE time BETWEEN $start AND $end
GROUP BY 1, 2, 3
ORDER BY bytes DESC
LIMIT 100`,
  },
  {
    title: 'TLS versions and ciphers in use',
    sql: `SELECT tls_version, tls_cipher, tls_group, count(*) AS handshakes
FROM tls_handshakes
WHERE time BETWEEN $start AND $end
GROUP BY 1, 2, 3
ORDER BY handshakes DESC`,
  },
  {
    title: 'Handshakes that failed',
    sql: `SELECT time, client_process, server_ip, server_port, tls_sni, failure_reason
FROM tls_handshakes
WHERE failure_reason IS NOT NULL AND time BETWEEN $start AND $end
ORDER BY time DESC
LIMIT 100`,
  },
  {
    title: 'Clients by JA4',
    sql: `SELECT tls_ja4, client_process, count(*) AS handshakes, count(DISTINCT tls_sni) AS names
FROM tls_handshakes
WHERE tls_ja4 IS NOT NULL AND time BETWEEN $start AND $end
GROUP BY 1, 2
ORDER BY handshakes DESC`,
  },
  {
    title: 'Plaintext connections',
    sql: `SELECT client_process, server_ip, server_port, count(DISTINCT connection_id) AS connections
FROM flows
WHERE encryption = 'plaintext' AND time BETWEEN $start AND $end
GROUP BY 1, 2, 3
ORDER BY connections DESC`,
  },
  {
    title: 'Where segments are sent again',
    sql: `SELECT client_ip, server_ip, server_port,
       sum(client_retransmits) AS client_retransmits,
       sum(server_retransmits) AS server_retransmits,
       max(rtt_us) AS worst_rtt_us
FROM flows
WHERE time BETWEEN $start AND $end
GROUP BY 1, 2, 3
HAVING sum(client_retransmits) + sum(server_retransmits) > 0
ORDER BY 4 DESC
LIMIT 100`,
  },
  {
    title: 'Slow spans, with what the network did',
    sql: `SELECT s.time, s.service, s.operation, s.duration_ns / 1000 AS duration_us,
       f.rtt_us, f.client_retransmits, f.server_retransmits
FROM spans s
JOIN flows f ON f.connection_id = s.connection_id
WHERE s.time BETWEEN $start AND $end AND s.operation = 'TLS handshake'
ORDER BY s.duration_ns DESC
LIMIT 100`,
  },
  {
    title: 'What was lost, and why',
    sql: `SELECT time, node, component, counter, value, kind, message
FROM probe_health
WHERE kind <> 'gauge' AND value > 0 AND time BETWEEN $start AND $end
ORDER BY time DESC
LIMIT 100`,
  },
];
