/** What nodes, flows and records call a thing, in the words of people: English, German. A code that stands here never reaches
 * an eye alone; a test holds these against what the code of the nodes says (tests/unit/test_console_words.py). */
import { plain } from "../format";
import { language, stateText, t } from "./index";

type Said = [en: string, de: string];
export type Group = keyof typeof CODES;

const CODES = {
  /** States of a command (`millstream.protocols.command`). */
  command: {
    pending: ["waits at the hub", "wartet am Hub"], sent: ["sent", "gesendet"], accepted: ["taken by the site", "vom Standort übernommen"],
    running: ["under way", "läuft"], done: ["done", "erledigt"], failed: ["failed", "misslungen"], refused: ["refused", "abgelehnt"],
    unknown: ["not known whether it was done", "unbekannt, ob es geschah"], cancelled: ["called back", "zurückgerufen"],
    expired: ["expired", "verfallen"], skipped: ["not meant for this site", "nicht für diesen Standort"], busy: ["busy", "beschäftigt"],
  },
  /** Of a roll-out, and of each site in it (`millstream.protocols.rollout`). */
  rollout: { running: ["under way", "läuft"], stopped: ["stopped", "angehalten"], done: ["done", "fertig"], cancelled: ["ended", "beendet"] },
  stage: {
    waiting: ["waits", "wartet"], released: ["has it", "hat sie"], healthy: ["healthy", "gesund"], failed: ["failed", "misslungen"],
    passed: ["left out", "ausgelassen"],
  },
  /** Kinds of revision (`millstream.protocols.site_config`), and how far a site is with one. */
  revision: { put: ["written", "geschrieben"], apply: ["applied", "angewendet"], rollback: ["back to", "zurück zu"] },
  phase: {
    settled: ["settled", "in Ruhe"], stored: ["stored", "gespeichert"], applying: ["takes it", "übernimmt"], watching: ["on trial", "auf Probe"],
    rolling_back: ["goes back", "geht zurück"],
  },
  /** What a machine's time is (`millstream.shop.Category`), and losses of it. */
  category: {
    production: ["producing", "produziert"], setup: ["setting up", "rüstet"], delay: ["held", "hält"], idle: ["idle", "frei"],
    down: ["down", "gestört"], planned: ["planned stop", "geplanter Halt"], unknown: ["unknown", "unbekannt"],
    failures: ["failures", "Ausfälle"], idling: ["idling", "Leerlauf"], small_stops: ["small stops", "kurze Stillstände"],
    speed: ["lower speed", "geringere Geschwindigkeit"], rejects: ["rejects", "Ausschuss"], startup_rejects: ["rejects after a start", "Ausschuss nach dem Anfahren"],
    startup: ["rejects after a start", "Ausschuss nach dem Anfahren"],
  },
  /** Of what stretch of time a figure is. */
  window: {
    live: ["what runs now", "was jetzt läuft"], shift: ["shift", "Schicht"], hour: ["hour", "Stunde"], day: ["day", "Tag"], week: ["week", "Woche"],
    order: ["order", "Auftrag"],
  },
  /** What people ask of an alarm or of a stop, and what kind of parts they say. */
  action: {
    acknowledge: ["acknowledge", "quittieren"], reset: ["reset", "zurücksetzen"], shelve: ["shelve", "zurückstellen"], unshelve: ["unshelve", "wieder aufnehmen"],
    remove: ["take out of service", "außer Betrieb nehmen"], restore: ["put into service", "in Betrieb nehmen"], comment: ["comment", "bemerken"],
    reason: ["give a reason", "begründen"], clear: ["take the reason back", "Grund zurücknehmen"], split: ["split", "teilen"], merge: ["join", "verbinden"],
  },
  kind: { scrap: ["scrap", "Ausschuss"], rework: ["rework", "Nacharbeit"], good: ["good", "gut"] },
  by: { rule: ["a rule", "eine Regel"], person: ["a person", "ein Mensch"], flow: ["a flow", "ein Flow"] },
  /** States of machines after PackML (ANSI/ISA-TR88.00.02) and MTConnect. */
  machine: {
    Execute: ["executes", "fertigt"], Completing: ["completes", "schließt ab"], Complete: ["complete", "fertig"], Production: ["production", "Produktion"],
    ACTIVE: ["active", "aktiv"], Setup: ["set-up", "Rüsten"], Starting: ["starts", "startet"], Resetting: ["resets", "setzt zurück"], Clearing: ["clears", "räumt"],
    Delay: ["delay", "Verzögerung"], Holding: ["goes on hold", "geht in Halt"], Held: ["on hold", "im Halt"], Unholding: ["leaves hold", "verlässt Halt"],
    FEED_HOLD: ["feed on hold", "Vorschub angehalten"], INTERRUPTED: ["interrupted", "unterbrochen"], OPTIONAL_STOP: ["optional stop", "wahlweiser Halt"],
    PROGRAM_STOPPED: ["programme stopped", "Programm angehalten"], WAIT: ["waits", "wartet"], Starved: ["starved", "ohne Material"], Blocked: ["blocked", "blockiert"],
    Idle: ["idle", "in Ruhe"], Suspending: ["is suspended", "wird ausgesetzt"], Suspended: ["suspended", "ausgesetzt"], Unsuspending: ["goes on", "nimmt wieder auf"],
    READY: ["ready", "bereit"], PROGRAM_COMPLETED: ["programme completed", "Programm beendet"], Down: ["down", "gestört"], Stopping: ["stops", "hält an"],
    Stopped: ["stopped", "angehalten"], Aborting: ["aborts", "bricht ab"], Aborted: ["aborted", "abgebrochen"], STOPPED: ["stopped", "angehalten"],
    ALARM: ["alarm", "Alarm"], Planned: ["planned", "geplant"], Maintenance: ["maintenance", "Wartung"], Unknown: ["unknown", "unbekannt"],
    UNAVAILABLE: ["unavailable", "nicht erreichbar"], Disputed: ["disputed", "strittig"],
  },
  /** What flows do (docs/reference/flows.md). */
  flow: {
    part_counter: ["counts parts", "zählt Teile"], rate: ["how fast a counter counts", "wie schnell gezählt wird"], machine_state: ["the machine's state", "Zustand der Maschine"],
    oee: ["OEE of machines", "OEE der Maschinen"], oee_total: ["OEE of lines and places", "OEE von Linien und Orten"], energy: ["energy per part", "Energie je Teil"],
    change_of_state: ["tells changes", "meldet Wechsel"], runs: ["how often and how long", "wie oft und wie lange"], derived_tag: ["works out a tag", "rechnet eine Messstelle"],
    unit_conversion: ["changes units", "rechnet Einheiten um"], deadband: ["leaves out small changes", "lässt kleine Änderungen weg"],
    swinging_door: ["leaves out what lies on a line", "lässt weg, was auf einer Geraden liegt"], dedup: ["leaves out repeats", "lässt Wiederholungen weg"],
    alarm: ["alarms", "Alarme"], alarm_flood: ["floods of alarms", "Alarmfluten"], spc: ["control charts", "Regelkarten"], downtime: ["stops and their reasons", "Stillstände und ihre Gründe"],
    quality: ["scrap and rework", "Ausschuss und Nacharbeit"], notify: ["tells people", "benachrichtigt Menschen"], waveform: ["puts waveforms together", "setzt Wellenformen zusammen"],
    anomaly: ["what is unusual", "Ungewöhnliches"], order_made: ["parts of an order", "Teile eines Auftrags"], tool: ["wear of tools", "Verschleiß der Werkzeuge"],
    state_model: ["the machine's state from its signals", "Zustand der Maschine aus ihren Signalen"], state_check: ["compares two states", "vergleicht zwei Zustände"],
    line: ["what a line waits for", "worauf eine Linie wartet"], remaining_life: ["remaining life", "Restlebensdauer"], orders: ["orders in turn", "Aufträge der Reihe nach"],
    twin: ["twins", "Zwillinge"], python: ["own code", "eigener Code"], wasm: ["own code", "eigener Code"], model: ["a trained model", "ein gelerntes Modell"],
  },
  /** Events by their types, without `millstream.`; those of more parts are made of `subject` and `outcome`. */
  event: {
    "stop": ["stop", "Stillstand"], "stop.asked": ["said of a stop", "zu einem Stillstand gesagt"], "reject": ["scrap or rework", "Ausschuss oder Nacharbeit"],
    "reject.asked": ["said of parts", "zu Teilen gesagt"], "oee": ["OEE of a machine", "OEE einer Maschine"], "oee.total": ["OEE of a place", "OEE eines Ortes"],
    "order_made": ["total of an order", "Summe eines Auftrags"], "energy": ["energy of a machine", "Energie einer Maschine"], "state": ["state of a machine", "Zustand einer Maschine"],
    "state.changed": ["change of state", "Zustandswechsel"], "context": ["what is known of a place", "was von einem Ort bekannt ist"], "twin": ["twin", "Zwilling"],
    "flow.late": ["came too late for its window", "kam zu spät für sein Fenster"], "flow.asked": ["asked of a flow", "von einem Flow verlangt"],
    "flow.answered": ["a flow's answer", "Antwort eines Flows"], "notify": ["people to be told", "Menschen zu benachrichtigen"], "duplicate": ["left out as a repeat", "als Wiederholung weggelassen"],
    "orders.unknown": ["order not known", "Auftrag unbekannt"], "model.unknown": ["model has no answer", "Modell weiß keine Antwort"], "model.drift": ["model no longer fits", "Modell passt nicht mehr"],
    "spc.limits": ["control limits", "Eingriffsgrenzen"], "spc.capability": ["process capability", "Prozessfähigkeit"], "tool.cut": ["cut of a tool", "Schnitt eines Werkzeugs"],
    "tool.learnt": ["tool is learnt", "Werkzeug ist gelernt"], "tool.forgotten": ["tool is forgotten", "Werkzeug ist vergessen"],
    "waveform.interrupted": ["waveform interrupted", "Wellenform unterbrochen"], "anomaly.learnt": ["normal is learnt", "Übliches ist gelernt"], "anomaly.drift": ["normal has moved", "Übliches hat sich verschoben"],
    "counter.restart": ["counter begun anew", "Zähler begann neu"], "counter.jump": ["counter has jumped", "Zähler ist gesprungen"], "alarm.asked": ["asked of an alarm", "zu einem Alarm verlangt"],
    "retention.changed": ["retention changed", "Aufbewahrung geändert"],
    "server.quorum_lost": ["majority of servers lost", "Mehrheit der Server verloren"], "server.quorum_back": ["majority of servers back", "Mehrheit der Server zurück"],
    "server.leader_elected": ["leader chosen", "Führung gewählt"], "server.max_deliveries": ["given up after many tries", "nach vielen Versuchen aufgegeben"],
    "server.leaf_connected": ["site connected", "Standort verbunden"], "server.leaf_lost": ["site's link lost", "Verbindung des Standorts verloren"],
    "server.slow_consumer": ["reader too slow", "Leser zu langsam"], "server.limit_reached": ["limit reached", "Grenze erreicht"], "server.limit_near": ["limit is near", "Grenze ist nah"],
    "server.limit_far": ["room again", "wieder Platz"], "server.storage_full": ["storage full", "Speicher voll"], "server.api_limit": ["too many questions", "zu viele Anfragen"],
    "server.batch_abandoned": ["batch abandoned", "Bündel verworfen"], "server.stream_deleted": ["stream deleted", "Stream gelöscht"], "server.backup_taken": ["copy taken", "Kopie gezogen"],
    "server.restored": ["made from a copy", "aus einer Kopie hergestellt"], "server.server_removed": ["server removed", "Server entfernt"], "server.server_stopped": ["server stopped", "Server angehalten"],
    "server.alarm_raised": ["server's alarm", "Alarm des Servers"], "server.alarm_over": ["server's alarm over", "Alarm des Servers vorbei"],
    "history.copied": ["history copied", "Historie kopiert"], "history.import.begun": ["import begun", "Einlesen begonnen"], "history.import.done": ["import done", "Einlesen fertig"],
    "history.rollups.begun": ["windows worked out anew: begun", "Fenster neu gerechnet: begonnen"], "history.rollups.done": ["windows worked out anew: done", "Fenster neu gerechnet: fertig"],
  },
  subject: {
    command: ["command", "Befehl"], write: ["write", "Schreiben"], config: ["configuration", "Konfiguration"], history: ["history", "Historie"], alarm: ["alarm", "Alarm"],
    session: ["session", "Sitzung"], login_user: ["person", "Person"], dead_letter: ["dead letter", "Unlesbares"], rollout: ["roll-out", "Verteilung"], module: ["module", "Modul"],
    flow: ["flow", "Flow"], operator: ["operator", "Betreiber"], trust: ["operator's keys", "Schlüssel des Betreibers"], join: ["joining", "Beitritt"], contract: ["contract", "Vertrag"],
    context: ["what is known of places", "Wissen über Orte"], downtime: ["stop", "Stillstand"], quality: ["parts", "Teile"], update: ["update", "Aktualisierung"],
    people: ["person", "Person"], stop: ["stop", "Stillstand"], uplink: ["uplink", "Uplink"], fleet: ["question to all sites", "Frage an alle Standorte"], undo: ["undone", "zurückgenommen"],
  },
  outcome: {
    asked: ["asked", "verlangt"], requested: ["asked", "verlangt"], accepted: ["taken", "übernommen"], progress: ["under way", "unterwegs"], running: ["under way", "läuft"],
    done: ["done", "erledigt"], failed: ["failed", "misslungen"], refused: ["refused", "abgelehnt"], unknown: ["not known whether done", "unbekannt, ob geschehen"],
    cancelled: ["called back", "zurückgerufen"], cancel_requested: ["to be called back", "soll zurückgerufen werden"], expired: ["expired", "verfallen"],
    skipped: ["not meant for this site", "nicht für diesen Standort"], repeated: ["asked again", "noch einmal verlangt"],
    put: ["written", "geschrieben"], received: ["received", "erhalten"], applied: ["applied", "angewendet"], healthy: ["healthy", "gesund"], rolled_back: ["went back", "ging zurück"],
    started: ["begun", "begonnen"], begun: ["begun", "begonnen"], stopped: ["stopped", "angehalten"], resumed: ["goes on", "geht weiter"], opened: ["begun", "begonnen"], ended: ["ended", "beendet"],
    locked: ["locked", "gesperrt"], added: ["added", "hinzugefügt"], changed: ["changed", "geändert"], removed: ["removed", "entfernt"], pushed: ["brought", "gebracht"],
    replayed: ["replayed", "nachgespielt"], dropped: ["dropped", "verworfen"], paused: ["paused", "angehalten"], reset: ["set back", "zurückgesetzt"], violation: ["breach", "Verstoß"],
  },
  /** Sentences of doubt about a figure. */
  doubt: {
    "it was producing, and no part was counted": ["it was producing, and no part was counted", "sie produzierte, und kein Teil wurde gezählt"],
    "parts were counted, and it was never producing": ["parts were counted, and it was never producing", "Teile wurden gezählt, und sie produzierte nie"],
    "it was faster than its ideal cycle": ["it was faster than its ideal cycle", "sie war schneller als ihre Solltaktzeit"],
    "more parts were rejected than made": ["more parts were rejected than made", "mehr Teile waren schlecht als gefertigt"],
    "more parts were rejected than inspected": ["more parts were rejected than inspected", "mehr Teile waren schlecht als geprüft"],
    "it told nothing of this time": ["it told nothing of this time", "sie hat von dieser Zeit nichts gesagt"],
  },
  /** Where a message was on its way, and what happened there. */
  station: {
    source: ["source", "Quelle"], edge: ["edge", "Edge"], hub: ["hub", "Hub"], stored: ["stored", "gespeichert"], "stored, forwarded": ["stored, forwarded", "gespeichert, weitergegeben"],
    "in the history": ["in the history", "in der Historie"], "has it": ["has it", "hat sie"], "taken by the edge": ["taken by the edge", "vom Edge übernommen"],
  },
  /** Names of facts in events, and of what a figure is made of; `_s`, `_ns` and the like are their unit. */
  fact: {
    window: ["window", "Zeitfenster"], shift: ["shift", "Schicht"], start: ["from", "von"], end: ["until", "bis"], until: ["until", "bis"], since: ["since", "seit"], revision: ["revision", "Fassung"],
    oee: ["OEE", "OEE"], teep: ["OEE of all time (TEEP)", "OEE der gesamten Zeit (TEEP)"], availability: ["availability", "Verfügbarkeit"], performance: ["performance", "Leistung"],
    quality: ["quality rate", "Qualitätsrate"], known: ["known of the time", "bekannter Anteil der Zeit"], covered: ["told of the time", "gemeldeter Anteil der Zeit"], is_sure: ["sure", "sicher"],
    planned_s: ["planned time", "geplante Zeit"], busy_s: ["planned busy time", "geplante Belegungszeit"], spent_s: ["time by category", "Zeit nach Art"], states_s: ["time by state", "Zeit nach Zustand"],
    ideal_s: ["ideal time of the parts", "Sollzeit der Teile"], losses_s: ["losses", "Verluste"], produced: ["parts made", "gefertigte Teile"], rejected: ["bad parts", "schlechte Teile"],
    inspected: ["inspected parts", "geprüfte Teile"], scrap: ["scrap", "Ausschuss"], rework: ["rework", "Nacharbeit"], scrap_ratio: ["scrap rate", "Ausschussquote"],
    rework_ratio: ["rework rate", "Nacharbeitsquote"], first_pass_yield: ["good at once", "auf Anhieb gut"], startup_rejected: ["bad parts after a start", "schlechte Teile nach dem Anfahren"],
    small_stops: ["small stops", "kurze Stillstände"], failures: ["failures", "Ausfälle"], mttr_s: ["mean time to repair (MTTR)", "mittlere Reparaturzeit (MTTR)"],
    mtbf_s: ["mean time between failures (MTBF)", "mittlere Zeit zwischen Ausfällen (MTBF)"], doubts: ["doubts", "Zweifel"], doubt: ["doubt", "Zweifel"], doubts_count: ["doubts in all", "Zweifel insgesamt"],
    machines: ["machines", "Maschinen"], windows: ["windows", "Fenster"], missing: ["missing", "fehlt"], parts: ["parts", "Teile"], orders: ["orders", "Aufträge"], order: ["order", "Auftrag"],
    product: ["product", "Produkt"], quantity: ["wanted", "Soll"], ideal_cycle_s: ["ideal cycle", "Solltaktzeit"], good: ["good parts", "gute Teile"], is_over: ["over", "vorbei"],
    energy_wh: ["energy", "Energie"], mean_w: ["mean power", "mittlere Leistung"], spread_wh: ["spread over unmeasured time", "auf ungemessene Zeit verteilt"], per_part_wh: ["energy per part", "Energie je Teil"],
    producing_wh: ["while producing", "beim Produzieren"], idle_wh: ["while idle", "im Leerlauf"], state_unknown_wh: ["in an unknown state", "in unbekanntem Zustand"], mixed_wh: ["over a change of state", "über einen Zustandswechsel"],
    duration_s: ["lasted", "Dauer"], state: ["state", "Zustand"], category: ["counts as", "zählt als"], reason: ["reason", "Grund"], by: ["by", "von"], who: ["who", "wer"], why: ["why", "warum"],
    from: ["from", "von"], to: ["to", "nach"], before: ["before", "vorher"], after: ["afterwards", "nachher"], count: ["count", "Anzahl"], code: ["code", "Code"], text: ["text", "Text"],
    change: ["change", "Änderung"], priority: ["priority", "Dringlichkeit"], is_active: ["holds", "steht an"], limit: ["limit", "Grenze"], value: ["value", "Wert"], unit: ["unit", "Einheit"],
    response: ["what to do", "was zu tun ist"], action: ["act", "Handlung"], id: ["id", "Kennung"], name: ["name", "Name"], path: ["path", "Pfad"], edge: ["site", "Standort"], node: ["node", "Knoten"],
    hub: ["hub", "Hub"], stream: ["stream", "Stream"], bytes: ["bytes", "Bytes"], sha256: ["SHA-256", "SHA-256"], comment: ["comment", "Bemerkung"], rollout: ["roll-out", "Verteilung"], role: ["role", "Rolle"],
    paths: ["paths", "Pfade"], type: ["type", "Typ"], kind: ["kind", "Art"], lot: ["lot", "Los"], at: ["at", "um"], level: ["level", "Ebene"], template: ["template", "Vorlage"], description: ["description", "Beschreibung"],
    manufacturer: ["manufacturer", "Hersteller"], model: ["model", "Modell"], serial_number: ["serial number", "Seriennummer"], location: ["location", "Standort"], undoes: ["takes back", "nimmt zurück"],
    runs: ["runs", "läuft mit"], author: ["author", "von"], digest: ["digest", "Prüfsumme"], tenant: ["tenant", "Mandant"], user: ["person", "Person"], subject: ["of whom", "wen es betrifft"], serial: ["number of the act", "Nummer der Handlung"],
    time: ["time", "Zeit"], expires: ["expires", "verfällt"], args: ["arguments", "Argumente"], result: ["result", "Ergebnis"], version: ["version", "Version"], is_paused: ["paused", "angehalten"],
    asset: ["place", "Ort"], counted: ["counted", "gezählt"], severity: ["severity", "Schwere"], message: ["message", "Meldung"], host: ["machine", "Rechner"], last: ["last", "zuletzt"],
    connector: ["connector", "Konnektor"], address: ["address", "Adresse"], identity: ["identity", "Kennung"], interval_s: ["interval", "Abstand"], server: ["server", "Server"], dead_letter: ["dead letter", "Unlesbares"],
    mean: ["mean", "Mittel"], sigma: ["standard deviation", "Standardabweichung"], streams: ["streams", "Streams"], consumers: ["readers", "Leser"], way: ["way in", "Zugang"], place: ["place", "Ort"], cancel_who: ["called back by", "zurückgerufen von"],
    changes_count: ["changes", "Änderungen"], is_kept: ["kept", "aufgehoben"], read_back: ["read back", "zurückgelesen"], sites_count: ["sites", "Standorte"], stages: ["stages", "Stufen"],
    stored: ["stored", "gespeichert"], progress: ["progress", "Fortschritt"], document: ["document", "Dokument"], connectors: ["connectors", "Konnektoren"], sites: ["sites", "Standorte"],
    stage: ["stage", "Stufe"], size: ["size", "Größe"], contract: ["contract", "Vertrag"], content_type: ["type of the content", "Art des Inhalts"], source: ["source", "Quelle"],
    next_step: ["next step", "nächster Schritt"], second_factor: ["second factor", "zweiter Faktor"], password: ["password", "Passwort"], hours: ["hours", "Stunden"], shelf: ["how long", "wie lange"],
    instead_of: ["instead of", "statt"], occurrence: ["occurrence", "Auftreten"], cleared: ["cleared", "gegangen"], raised: ["raised", "gekommen"], via: ["way in", "Zugang"],
  },
} satisfies Record<string, Record<string, Said>>;

/** In words; undefined where there are none. */
export function known(group: Group, code: string): string | undefined {
  const all: Record<string, Said> = CODES[group];
  return Object.hasOwn(all, code) ? all[code][language.value === "de" ? 1 : 0] : undefined;
}

/** In words; a code of somebody's own stays what it is. */
export const codeText = (group: Group, code: string): string => known(group, code) ?? plain(code, 100);

/** An event's type: as a whole, else by what it is about and how that ended. */
export function eventText(type: string): string | undefined {
  if (!type.startsWith(PREFIX)) return undefined;
  const parts = type.slice(PREFIX.length).split(".");
  const whole = known("event", parts.join("."));
  if (whole !== undefined) return whole;
  const [about, outcome] = parts.slice(parts[0] === "audit" ? 1 : 0);
  if (about === "alarm" && outcome !== undefined && stateText(outcome) !== outcome) return `${codeText("subject", about)}: ${stateText(outcome)}`;
  const [subject, ended] = [known("subject", about ?? ""), known("outcome", outcome ?? "")];
  return subject !== undefined && ended !== undefined ? `${subject}: ${ended}` : undefined;
}
const PREFIX = "millstream.";

/** Values that are codes, by the name of the fact that they stand for. */
const OF_FACT: Record<string, (code: string) => string> = {
  window: (code) => codeText("window", code), category: (code) => codeText("category", code), by: (code) => codeText("by", code),
  doubts: (code) => codeText("doubt", code), doubt: (code) => codeText("doubt", code), change: (code) => plain(stateText(code), 100),
  state: (code) => known("machine", code) ?? known("command", code) ?? known("stage", code) ?? plain(stateText(code), 100),
  role: (code) => (code === "viewer" || code === "engineer" || code === "commander" ? t(code) : plain(code, 40)),
  via: (code) => (code === "password" ? t("password") : plain(code, 100)),
  action: (code) => codeText("action", code), kind: (code) => codeText("kind", code), priority: severityText, severity: severityText,
  why: (text) => plain(whyText(text), 1000), comment: (text) => plain(whyText(text), 1000),
};

/** A reason that somebody gave; of what takes something back, what it takes back. */
export function whyText(text: string): string {
  const of = /^undo (\S.*)$/.exec(text)?.[1];
  return of === undefined ? text : t("undoes", { what: of });
}

function severityText(code: string): string {
  return code === "critical" || code === "high" || code === "medium" || code === "low" || code === "info" ? t(code) : plain(code, 40);
}

/** `name` may be a path; its last part counts. */
export function valueOfFact(name: string, code: string, max = 300): string {
  const last = name.slice(name.lastIndexOf(".") + 1);
  return Object.hasOwn(OF_FACT, last) ? OF_FACT[last](code) : plain(code, max);
}

/** The name of a fact; of one whose name bears its unit, also where it stands without it. */
export const factText = (name: string): string => known("fact", name) ?? known("fact", name.replace(/_(n?s|ms)$/, "")) ?? plain(name, 60);
