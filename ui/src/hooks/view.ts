/** A page's state in the URL: read through its `parse`, changed through its `format`. */
import { useCallback, useMemo } from 'react';
import { useLocation, useSearchParams } from 'react-router';

export interface UrlForm<View> {
  readonly parse: (params: URLSearchParams) => View;
  readonly format: (view: View) => URLSearchParams;
}

/** `step`: whether Back should undo the change (it replaces the current address otherwise). */
export type Change<View> = (change: Partial<View>, how?: 'step' | 'replace') => void;

export function useView<View>(form: UrlForm<View>): readonly [View, Change<View>] {
  const [params, setParams] = useSearchParams();
  const state: unknown = useLocation().state;
  const view = useMemo(() => form.parse(params), [form, params]);
  const change = useCallback<Change<View>>(
    (part, how = 'step') =>
      setParams((now) => form.format({ ...form.parse(now), ...part }), { replace: how === 'replace', state }),
    [form, setParams, state],
  );
  return [view, change];
}
