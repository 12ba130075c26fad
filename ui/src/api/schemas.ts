/** Shapes of `/api/v1`, as zod schemas that give the model's types. */
import { z } from 'zod';

import type { Answer, Completeness, Status, Table } from '@/model/table';
import type { Cell } from '@/model/quantity';

/** JSON is made of cells already; walking each of a thousand rows again would only cost time. */
export const cell = z.custom<Cell>((value) => value !== undefined);
export const cells = z.record(z.string(), cell);

const count = z
  .number()
  .nullish()
  .transform((value) => value ?? 0);
const words = z
  .string()
  .nullish()
  .transform((value) => value ?? '');

export const completeness: z.ZodType<Completeness> = z
  .object({
    complete: z.boolean(),
    lost: count,
    shed: count,
    late: count,
    probes_silent: count,
    message: words,
  })
  .transform(({ probes_silent: silent, ...rest }) => ({ ...rest, silent }));

export const flowsAnswer = z.object({
  rows: z.array(cells),
  truncated: z.boolean().default(false),
  completeness,
  now: z.string().optional(),
});

export const tablesAnswer = z.object({
  tables: z.array(
    z.object({
      name: z.string(),
      description: words,
      columns: z.array(
        z.object({
          name: z.string(),
          type: z.string(),
          unit: words,
          description: words,
          otel: words,
          ipfix: words,
          zeek: words,
        }),
      ),
    }),
  ),
}) satisfies z.ZodType<{ tables: Table[] }>;

export const sqlAnswer: z.ZodType<Answer> = z
  .object({
    columns: z.array(z.object({ name: z.string(), type: z.string() })),
    rows: z.array(z.array(cell)),
    truncated: z.boolean().default(false),
    elapsed_ms: z.number(),
    completeness,
  })
  .transform(({ elapsed_ms: elapsedMs, ...rest }) => ({ ...rest, elapsedMs }));

const listener = z
  .object({ name: z.string(), address: z.string() })
  .transform(({ name, address }) => `${name} ${address}`);

export const statusAnswer: z.ZodType<Status> = z
  .object({
    version: z.string(),
    node: words,
    probe: z.object({ state: z.string(), detail: words }),
    listeners: z.array(listener).default([]),
    tables: z
      .array(
        z.object({ name: z.string(), rows_memory: count, rows_sealed: count, files: count, bytes: count }),
      )
      .default([]),
    health: z
      .array(z.object({ node: words, counter: z.string(), value: count, kind: words, message: words }))
      .default([]),
  })
  .transform(({ tables, ...rest }) => ({
    ...rest,
    tables: tables.map(({ name, rows_memory, rows_sealed, files, bytes }) => ({
      name,
      rows: rows_memory + rows_sealed,
      files,
      bytes,
    })),
  }));
