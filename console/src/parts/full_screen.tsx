/** The page without the frame around it: for a wall. */
import { useEffect, useState } from "preact/hooks";
import { t } from "../words";

export function FullScreen(): preact.JSX.Element {
  const [isFull, setFull] = useState(document.fullscreenElement !== null);
  useEffect(() => {
    const change = (): void => setFull(document.fullscreenElement !== null);
    document.addEventListener("fullscreenchange", change);
    return () => document.removeEventListener("fullscreenchange", change);
  }, []);
  const turn = (): void => void (isFull ? document.exitFullscreen() : document.getElementById("main")?.requestFullscreen());
  return <button type="button" onClick={turn}>{t(isFull ? "leave" : "andon")}</button>;
}
