/** Parts of the program that are loaded when somebody wants to see them. */
import { type ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { t } from "../words";

/** A component that comes with a file of its own. A hub that was updated meanwhile no longer has it: then the page is
 * loaded again. */
export function later<P extends object>(load: () => Promise<ComponentType<P>>): (props: P) => preact.JSX.Element {
  let known: ComponentType<P> | undefined;
  return function Later(props: P): preact.JSX.Element {
    const [Shown, setShown] = useState<ComponentType<P> | undefined>(() => known);
    const [isLost, setLost] = useState(false);
    useEffect(() => {
      if (known === undefined) load().then((found) => setShown(() => (known = found)), () => setLost(true));
    }, []);
    if (Shown !== undefined) return <Shown {...props} />;
    if (!isLost) return <p class="empty" role="status">{t("loading")}…</p>;
    return <p class="empty" role="alert">{t("hubAway")} <button type="button" onClick={() => location.reload()}>{t("tryAgain")}</button></p>;
  };
}
