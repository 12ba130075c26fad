/** The SQL editor: highlighting, completion out of the schema, the error underlined where it is. */
import {
  autocompletion,
  closeBrackets,
  closeCompletion,
  completionKeymap,
  type CompletionContext,
  type CompletionResult,
} from '@codemirror/autocomplete';
import { defaultKeymap, history, historyKeymap, indentWithTab } from '@codemirror/commands';
import { PostgreSQL, sql, type SQLNamespace } from '@codemirror/lang-sql';
import { bracketMatching, HighlightStyle, syntaxHighlighting } from '@codemirror/language';
import { lintGutter, setDiagnostics, type Diagnostic } from '@codemirror/lint';
import { Compartment, EditorState, Prec } from '@codemirror/state';
import {
  drawSelection,
  EditorView,
  highlightActiveLine,
  keymap,
  lineNumbers,
  placeholder,
  type Command,
} from '@codemirror/view';
import { tags } from '@lezer/highlight';
import { useEffect, useRef, useState, type ReactNode } from 'react';

import { columnsInReach, wordAt, type Position } from '@/model/sql';
import type { Table } from '@/model/table';

export interface Mistake {
  readonly message: string;
  readonly position: Position;
}

interface EditorProps {
  readonly text: string;
  readonly tables: readonly Table[];
  readonly mistake: Mistake | undefined;
  /** Text to put where the cursor is, once for each new object. */
  readonly insertion: { readonly text: string } | undefined;
  /** Where to put the cursor, once for each new object. */
  readonly jump: { readonly to: Position } | undefined;
  readonly onChange: (text: string) => void;
  readonly onRun: (text: string) => void;
}

export function Editor({ text, tables, mistake, insertion, jump, onChange, onRun }: EditorProps): ReactNode {
  const host = useRef<HTMLDivElement>(null);
  const [view, setView] = useState<EditorView>();
  const [language] = useState(() => new Compartment());
  const latest = useRef({ text, onChange, onRun });
  useEffect(() => {
    latest.current = { text, onChange, onRun };
  });

  useEffect(() => {
    if (host.current === null) return undefined;
    const run: Command = (editor) => {
      closeCompletion(editor);
      latest.current.onRun(editor.state.doc.toString());
      return true;
    };
    const editor = new EditorView({
      parent: host.current,
      state: EditorState.create({
        doc: latest.current.text,
        extensions: [
          Prec.highest(
            keymap.of([
              { key: 'Mod-Enter', run },
              { key: 'Ctrl-Enter', run },
            ]),
          ),
          lineNumbers(),
          lintGutter(),
          history(),
          drawSelection(),
          highlightActiveLine(),
          bracketMatching(),
          closeBrackets(),
          // Its icons are of fonts that not everybody has; the detail says what a name is.
          autocompletion({ icons: false }),
          language.of(sql({ dialect: PostgreSQL })),
          PostgreSQL.language.data.of({ autocomplete: rangeMarks }),
          syntaxHighlighting(colours),
          placeholder('SELECT * FROM flows LIMIT 100'),
          // Tab indents only while the reader is writing: Escape first gives Tab back to the page.
          keymap.of([...completionKeymap, ...historyKeymap, ...defaultKeymap, indentWithTab]),
          EditorView.contentAttributes.of({ 'aria-label': 'SQL query' }),
          EditorView.lineWrapping,
          EditorView.updateListener.of((update) => {
            if (update.docChanged) latest.current.onChange(update.state.doc.toString());
          }),
        ],
      }),
    });
    editor.focus();
    setView(editor);
    return () => editor.destroy();
  }, [language]);

  useEffect(() => {
    const schema: SQLNamespace = Object.fromEntries(
      tables.map((table) => [
        table.name,
        table.columns.map(({ name, type, description }) => ({
          label: name,
          type: 'property',
          detail: type,
          info: description,
        })),
      ]),
    );
    view?.dispatch({
      effects: language.reconfigure([
        sql({ dialect: PostgreSQL, schema, upperCaseKeywords: true }),
        PostgreSQL.language.data.of({ autocomplete: bareColumns(tables) }),
      ]),
    });
  }, [view, tables, language]);

  useEffect(() => {
    if (view === undefined || view.state.doc.toString() === text) return;
    view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text } });
  }, [view, text]);

  useEffect(() => {
    if (view === undefined || insertion === undefined) return;
    view.dispatch(view.state.replaceSelection(insertion.text));
    view.focus();
  }, [view, insertion]);

  useEffect(() => {
    if (view === undefined) return;
    const place = mistake && wordAt(view.state.doc.toString(), mistake.position);
    const marks: Diagnostic[] =
      mistake === undefined || place === undefined
        ? []
        : [{ ...place, severity: 'error', message: mistake.message }];
    view.dispatch(setDiagnostics(view.state, marks));
  }, [view, mistake]);

  useEffect(() => {
    const place = jump && wordAt(view?.state.doc.toString() ?? '', jump.to);
    if (view === undefined || place === undefined) return;
    view.dispatch({ selection: { anchor: place.from, head: place.to }, scrollIntoView: true });
    view.focus();
  }, [view, jump]);

  return <div ref={host} className="sql-editor" />;
}

/** Completes columns that are written without their table. */
const bareColumns =
  (tables: readonly Table[]) =>
  (context: CompletionContext): CompletionResult | null => {
    const word = context.matchBefore(/[A-Za-z_]\w*/);
    if (word === null || /[.\w$'"]/.test(context.state.sliceDoc(word.from - 1, word.from))) return null;
    return {
      from: word.from,
      validFor: /^\w*$/,
      options: columnsInReach(context.state.doc.toString(), tables).map(({ column, tables: having }) => ({
        label: column.name,
        type: 'property',
        detail: having.length > 2 ? column.type : `${column.type}, ${having.join(', ')}`,
        info: column.description,
        boost: 1,
      })),
    };
  };

/** Completes `$start` and `$end`. */
function rangeMarks(context: CompletionContext): CompletionResult | null {
  const before = context.matchBefore(/\$\w*/);
  if (before === null) return null;
  return {
    from: before.from,
    options: [
      { label: '$start', type: 'constant', info: 'Where the chosen time range starts' },
      { label: '$end', type: 'constant', info: 'Where the chosen time range ends' },
    ],
  };
}

const colours = HighlightStyle.define([
  { tag: tags.keyword, color: 'var(--accent)', fontWeight: '600' },
  { tag: [tags.string, tags.special(tags.string)], color: 'var(--good)' },
  { tag: [tags.number, tags.bool, tags.null], color: 'var(--series-3)' },
  { tag: tags.comment, color: 'var(--muted)', fontStyle: 'italic' },
  { tag: [tags.typeName, tags.standard(tags.name)], color: 'var(--series-4)' },
]);
