/** The frame around each page: where one is, how the link is, who is logged in. */
import { useEffect } from "preact/hooks";
import { ageText } from "./format";
import { AlarmsPage } from "./pages/alarms";
import { FleetPage } from "./pages/fleet";
import { LoginPage } from "./pages/login";
import { PipelinePage } from "./pages/pipeline";
import { PlantPage } from "./pages/plant";
import { ShopPage } from "./pages/shop";
import { TrendPage } from "./pages/trend";
import { address, PAGES, route, type Page } from "./router";
import { clockError, leave, linkState, POLL_S, problem, session } from "./state/hub";
import { theme, THEMES, type Theme } from "./theme";
import { language, t, type Language } from "./words";

const VIEWS: Record<Page, () => preact.JSX.Element> = {
  plant: PlantPage, shop: ShopPage, trend: TrendPage, alarms: AlarmsPage, fleet: FleetPage, pipeline: PipelinePage,
};

export function App(): preact.JSX.Element {
  const { page } = route.value;
  const title = session.value === null ? t("logIn") : t(page);
  useEffect(() => {
    document.title = `${title} · Millstream`;
  }, [title]);
  if (session.value === null) return <LoginPage />;
  const View = VIEWS[page];
  return (
    <>
      <a class="skip" href="#main" onClick={toMain}>{t("skip")}</a>
      <header>
        <span class="brand">Millstream</span>
        <nav aria-label={t("pages")}>
          {PAGES.map((one) => (
            <a key={one} href={address(one)} aria-current={one === page ? "page" : undefined}>{t(one)}</a>
          ))}
        </nav>
        <LinkMark />
        <Choices />
      </header>
      <Notices />
      <main id="main" tabIndex={-1} aria-label={t(page)}>
        {session.value === undefined ? <p class="empty">{t("connecting")}…</p> : <View />}
      </main>
    </>
  );
}

function toMain(event: Event): void {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

function LinkMark(): preact.JSX.Element {
  const state = linkState.value;
  const text = state === "polling" ? t("polling", { n: POLL_S }) : state === "connected" ? t("connected") : t("connecting");
  const isLive = state === "connected" || state === "polling";
  return <span class={`link ${isLive ? "" : "act"}`} data-state={state} role="status">{isLive ? "●" : "○"} {text}</span>;
}

/** What everybody has to know before a number is believed. */
function Notices(): preact.JSX.Element {
  const wrong = clockError.value;
  return (
    <div class="notices" role="alert">
      {problem.value && <p><b>!</b> {t("hubAway")}</p>}
      {linkState.value === "reconnecting" && <p><b>!</b> {t("reconnecting")}</p>}
      {wrong !== 0 && <p><b>!</b> {t("clockWrong", { time: ageText(Math.abs(wrong)) })}</p>}
    </div>
  );
}

function Choices(): preact.JSX.Element {
  const who = session.value;
  return (
    <div class="choices">
      <select aria-label={t("language")} value={language.value}
        onChange={(event) => (language.value = event.currentTarget.value as Language)}>
        <option value="de">Deutsch</option>
        <option value="en">English</option>
      </select>
      <select aria-label={t("theme")} value={theme.value}
        onChange={(event) => (theme.value = event.currentTarget.value as Theme)}>
        {THEMES.map((one) => <option key={one} value={one}>{t(one)}</option>)}
      </select>
      {who && <span class="who">{t("asWhom", { user: who.user ?? t("someone"), role: who.role })}</span>}
      {who && <button type="button" onClick={() => void leave()}>{t("logOut")}</button>}
    </div>
  );
}
