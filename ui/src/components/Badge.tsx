/** A word on a coloured ground; the word says it all, the colour only helps to find it. */
import type { ReactNode } from 'react';

import type { Encryption } from '@/model/flow';

export type Tone = 'good' | 'best' | 'warn' | 'bad' | 'plain';

interface BadgeProps {
  readonly tone: Tone;
  readonly title?: string;
  readonly children: ReactNode;
}

export const Badge = ({ tone, title, children }: BadgeProps): ReactNode => (
  <span className="badge" data-tone={tone} title={title}>
    {children}
  </span>
);

const ENCRYPTION: Readonly<Record<Encryption, { tone: Tone; word: string; title: string }>> = {
  mtls: { tone: 'best', word: 'mTLS', title: 'Encrypted, both ends proved who they are' },
  tls: { tone: 'good', word: 'TLS', title: 'Encrypted' },
  plaintext: { tone: 'warn', word: 'plaintext', title: 'Readable on the wire' },
  unknown: { tone: 'plain', word: 'unknown', title: 'Nothing seen that proves either' },
};

interface EncryptionBadgeProps {
  readonly encryption: Encryption;
  /** Of TLS, where it is known: `1.3`. */
  readonly version?: string | undefined;
}

export function EncryptionBadge({ encryption, version }: EncryptionBadgeProps): ReactNode {
  const { tone, word, title } = ENCRYPTION[encryption];
  return (
    <Badge tone={tone} title={title}>
      {word}
      {version !== undefined && (encryption === 'tls' || encryption === 'mtls') && ` ${version}`}
    </Badge>
  );
}
