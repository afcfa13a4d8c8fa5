/** The frame around each page: where one is, how the link is, who is logged in. */
import { type Session } from "@millstream/client";
import { signal } from "@preact/signals";
import { type ComponentType } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { ageText, plain } from "./format";
import { PlantPage } from "./pages/plant";
import { AlarmCount } from "./parts/alarm_count";
import { later } from "./parts/later";
import { Pins } from "./parts/pins";
import { SureDialog, UndoBar } from "./parts/undo";
import { address, page as shownPage, PAGES, type Page } from "./router";
import { clockError, connections, isProvider, leave, linkState, person, POLL_S, problem, PROVIDER_POLL_S, session } from "./state/hub";
import { withdraw } from "./state/undo";
import { theme, THEMES, type Theme } from "./theme";
import { times, TIMES, type Times } from "./times";
import { language, roleText, t, type Language } from "./words";

const LoginPage = later(() => import("./pages/login").then((found) => found.LoginPage));
const VIEWS: Record<Page, ComponentType> = {
  plant: PlantPage,
  shop: later(() => import("./pages/shop").then((found) => found.ShopPage)),
  trend: later(() => import("./pages/trend").then((found) => found.TrendPage)),
  alarms: later(() => import("./pages/alarms").then((found) => found.AlarmsPage)),
  fleet: later(() => import("./pages/fleet").then((found) => found.FleetPage)),
  pipeline: later(() => import("./pages/pipeline").then((found) => found.PipelinePage)),
  admin: later(() => import("./pages/admin").then((found) => found.AdminPage)),
};
/** Of who runs the hub: how its tenants are, and no more. */
const OF_PROVIDER: Partial<Record<Page, ComponentType>> = {
  fleet: later(() => import("./pages/provider").then((found) => found.ProviderFleet)),
  admin: later(() => import("./pages/provider").then((found) => found.ProviderAdmin)),
};
/** What is chosen once does not take a phone's first screen. */
const narrow = matchMedia("(max-width: 60rem)");
const isNarrow = signal(narrow.matches);
narrow.addEventListener("change", () => (isNarrow.value = narrow.matches));
/** An edge serves the other pages for its own site. */
const OF_A_HUB: ReadonlySet<Page> = new Set(["fleet", "admin"]);
/** These ask nodes over NATS as soon as they are shown. */
const NEEDS_LINK: ReadonlySet<Page> = new Set(["alarms", "fleet", "pipeline"]);

/** A log-in that ends hides what is there: who logs in again goes on where they were; somebody else begins anew. */
export function App(): preact.JSX.Element {
  const page = shownPage.value;
  const title = session.value === null ? t("logIn") : t(page);
  useEffect(() => {
    document.title = `${title} · Millstream`;
  }, [title]);
  const who = person.value;
  const whose = who && [who.tenant, who.user, who.role, who.site].join(" ");
  const shown = useRef({ whose, count: 0 });
  if (whose !== undefined && shown.current.whose !== whose) shown.current = { whose, count: shown.current.count + (shown.current.whose === undefined ? 0 : 1) };
  useEffect(withdraw, [shown.current.count]);
  if (session.value === null && who === undefined) return <LoginPage />;
  const isOut = session.value === null;
  const View = isProvider.value ? OF_PROVIDER[page] ?? NotOfProvider : VIEWS[page];
  const isReady = session.value !== undefined && (connections.value > 0 || !NEEDS_LINK.has(page));
  return (
    <>
      {isOut && <LoginPage />}
      <div key={shown.current.count} class="frame" hidden={isOut}>
        <a class="skip" href="#main" onClick={toMain}>{t("skip")}</a>
        <header>
          <span class="brand">Millstream{session.value?.site ? ` · ${plain(session.value.site, 60)}` : ""}</span>
          <nav aria-label={t("pages")}>
            {PAGES.filter(isOffered).map((one) => (
              <span key={one}>
                <a href={address(one)} aria-current={one === page ? "page" : undefined}>{t(one)}</a>
                {one === "alarms" && session.value && connections.value > 0 && <AlarmCount />}
              </span>
            ))}
          </nav>
          <LinkMark />
          {isNarrow.value ? <details class="menu"><summary>{t("menu")}</summary><Choices /></details> : <Choices />}
        </header>
        <Notices />
        {session.value && !isProvider.value && <Pins />}
        <main id="main" tabIndex={-1} aria-label={t(page)}>
          <h1 class="said">{t(page)}</h1>
          {isReady ? <View key={page} /> : <p class="empty">{t("connecting")}…</p>}
        </main>
        <UndoBar />
        <SureDialog />
      </div>
    </>
  );
}

function isOffered(page: Page): boolean {
  return isProvider.value ? page in OF_PROVIDER : !session.value?.site || !OF_A_HUB.has(page);
}

function NotOfProvider(): preact.JSX.Element {
  return <p class="empty">{t("notOfProvider")} <a href={address("fleet")}>{t("fleet")}</a> · <a href={address("admin")}>{t("admin")}</a></p>;
}

function toMain(event: Event): void {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

function LinkMark(): preact.JSX.Element {
  const state = linkState.value;
  const text = state === "polling" ? t("polling", { n: isProvider.value ? PROVIDER_POLL_S : POLL_S }) : state === "connected" ? t("connected") : t("connecting");
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

const whom = (who: Session): string => plain(t("asWhom", { user: who.user ?? t("someone"), role: isProvider.value ? t("provider") : roleText(who.role) }), 120);

function Choices(): preact.JSX.Element {
  const who = session.value;
  return (
    <div class="choices">
      <a href="docs/">{t("help")}</a>
      <select aria-label={t("language")} value={language.value}
        onChange={(event) => (language.value = event.currentTarget.value as Language)}>
        <option value="de">Deutsch</option>
        <option value="en">English</option>
      </select>
      <select aria-label={t("theme")} value={theme.value}
        onChange={(event) => (theme.value = event.currentTarget.value as Theme)}>
        {THEMES.map((one) => <option key={one} value={one}>{t(one)}</option>)}
      </select>
      <select aria-label={t("times")} value={times.value}
        onChange={(event) => (times.value = event.currentTarget.value as Times)}>
        {TIMES.map((one) => <option key={one} value={one}>{t(one)}</option>)}
      </select>
      {who && <span class="who" title={whom(who)}>{whom(who)}</span>}
      {who && <button type="button" onClick={() => void leave()}>{t("logOut")}</button>}
    </div>
  );
}
