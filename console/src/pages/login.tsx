/** Who are you: the token of a hub with one plant, or a person of a tenant. */
import { type LoginForm, type Ways } from "@millstream/client";
import { useEffect, useState } from "preact/hooks";
import { client, enter, linkState } from "../state/hub";
import { remember, remembered, t, type Word } from "../words";

export function LoginPage(): preact.JSX.Element {
  const [ways, setWays] = useState<Ways>();
  const [why, setWhy] = useState("");
  useEffect(() => {
    client.ways().then(setWays, (error: Error) => setWhy(error.message));
  }, []);

  async function submit(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    setWhy("");
    try {
      await enter(await client.logIn(formOf(event.currentTarget as HTMLFormElement)));
    } catch (error) {
      setWhy((error as Error).message);
    }
  }

  return (
    <main class="login" id="main">
      <h1>Millstream</h1>
      {linkState.value === "logged out" && <p role="status">{t("loggedOut")}</p>}
      <form onSubmit={(event) => void submit(event as SubmitEvent)}>
        {ways?.token && <Field name="token" type="password" hint={t("tokenHint")} />}
        {ways?.password && (
          <>
            <Field name="tenant" value={remembered("tenant") ?? ""} />
            <Field name="user" autocomplete="username" />
            <Field name="password" type="password" autocomplete="current-password" />
            <Field name="code" autocomplete="one-time-code" hint={t("codeHint")} isOptional />
          </>
        )}
        {why && <p class="refused" role="alert"><b>!</b> {why}</p>}
        {ways && <button type="submit" class="primary">{t("logIn")}</button>}
      </form>
      {ways?.oidc.map((name) => (
        <p key={name}><a href={`api/v1/oidc/${encodeURIComponent(name)}`}>{t("withProvider", { name })}</a></p>
      ))}
    </main>
  );
}

interface FieldProps {
  name: Word;
  type?: "text" | "password";
  value?: string;
  hint?: string;
  autocomplete?: string;
  isOptional?: boolean;
}

function Field({ name, type = "text", value, hint, autocomplete, isOptional }: FieldProps): preact.JSX.Element {
  return (
    <p>
      <label for={name}>{t(name)}</label>
      <input id={name} name={name} type={type as "text"} defaultValue={value} required={!isOptional} autocomplete={autocomplete}
        aria-describedby={hint ? `${name}-hint` : undefined} />
      {hint && <small id={`${name}-hint`}>{hint}</small>}
    </p>
  );
}

function formOf(form: HTMLFormElement): LoginForm {
  const text = (name: string): string => String(new FormData(form).get(name) ?? "").trim();
  if (form.elements.namedItem("token")) return { token: text("token") };
  remember("tenant", text("tenant"));
  return {
    tenant: text("tenant"), user: text("user"), code: text("code"),
    password: String(new FormData(form).get("password") ?? ""),
  };
}
