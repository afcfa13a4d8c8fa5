/** Something that a page asks the hub for, again and again while it is shown. */
import { type MillstreamError } from "@millstream/client";
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { connections, session } from "./hub";

export interface Loaded<T> {
  data: T | undefined;
  /** Why it is not there, or not new; empty when it is. */
  why: string;
  /** The hub's answer was that this person may not, or that there is no such thing here. */
  status: number;
  reload: () => void;
}

/** `keys` say what is asked for; another question forgets the answer to the one before. */
export function useLoaded<T>(load: () => Promise<T>, keys: unknown[], everyMs = 0): Loaded<T> {
  const [data, setData] = useState<T>();
  const [{ why, status }, setWhy] = useState({ why: "", status: 200 });
  const question = useRef(0);
  /** The question that is under way, if one is: a slow hub is not asked faster than it answers. */
  const pending = useRef(-1);
  const again = useRef(false);
  const reload = useCallback((): void => {
    const asked = question.current;
    if (pending.current === asked) {
      again.current = true;
      return;
    }
    pending.current = asked;
    again.current = false;
    load().then(
      (found) => { if (asked === question.current) { setData(found); setWhy({ why: "", status: 200 }); } },
      (error: MillstreamError) => {
        if (asked === question.current) setWhy({ why: error.message, status: error.status ?? 0 });
      },
    ).finally(() => {
      if (asked !== question.current) return;
      pending.current = -1;
      if (again.current) reload();
    });
  }, keys);
  const tick = (): void => { if (session.peek() && pending.current !== question.current) reload(); };
  useEffect(() => {
    question.current++;
    setData(undefined);
    const end = connections.subscribe(reload);
    const timer = everyMs > 0 ? setInterval(tick, everyMs) : undefined;
    return () => { end(); clearInterval(timer); question.current++; };
  }, [...keys, everyMs]);
  return { data, why, status, reload };
}
