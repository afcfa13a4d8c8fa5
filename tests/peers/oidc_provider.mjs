// An identity provider: npm oidc-provider on a free port of this machine, which it prints. Argument: the redirect
// address of its one client, "hub" with the secret "hub-secret". Whoever comes is logged in at once as the person of the
// last {"person": {sub, ..claims}} on standard input. {"rotate": 1} gives it new keys, {"forge": how} spoils the tokens
// that it gives from then on ("" again none).
import { createServer } from "node:http";
import readline from "node:readline";
import { CompactSign, UnsecuredJWT, exportJWK, generateKeyPair } from "jose";
import Provider from "oidc-provider";

let person = { sub: "ann" };
let forge = "";
let handler;
let issuer;
let key;
let rounds = 0;
const print = (line) => console.log(JSON.stringify(line));

async function spoiled(token) {
  const [head, body] = token.split(".").slice(0, 2).map((part) => JSON.parse(Buffer.from(part, "base64url")));
  const signed = (claims, by = key.private, header = head) =>
    new CompactSign(Buffer.from(JSON.stringify(claims))).setProtectedHeader(header).sign(by);
  const hour = 3600;
  switch (forge) {
    case "none":
      return new UnsecuredJWT(body).encode();
    case "secret": // the public key taken for a shared secret
      return signed(body, Buffer.from(JSON.stringify(key.public)), { alg: "HS256", kid: head.kid });
    case "stranger":
      return signed(body, (await generateKeyPair("RS256")).privateKey);
    case "audience":
      return signed({ ...body, aud: "another" });
    case "audiences":
      return signed({ ...body, aud: ["hub", "another"] });
    case "issuer":
      return signed({ ...body, iss: "http://127.0.0.1:1" });
    case "expired":
      return signed({ ...body, iat: body.iat - 2 * hour, exp: body.exp - 2 * hour });
    case "old":
      return signed({ ...body, iat: body.iat - 2 * hour });
    case "nonce":
      return signed({ ...body, nonce: "another" });
    case "changed":
      return token.slice(0, -6) + "AAAAAA";
    case "garbage":
      return "not a token";
    default:
      return token;
  }
}

async function build() {
  const pair = await generateKeyPair("RS256", { extractable: true });
  const kid = `key-${(rounds += 1)}`;
  key = { private: pair.privateKey, public: await exportJWK(pair.publicKey) };
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: "hub",
        client_secret: "hub-secret",
        redirect_uris: [process.argv[2]],
        grant_types: ["authorization_code"],
        response_types: ["code"],
      },
    ],
    jwks: { keys: [{ ...(await exportJWK(pair.privateKey)), kid, use: "sig", alg: "RS256" }] },
    cookies: { keys: ["for this test only"] },
    pkce: { required: () => true },
    conformIdTokenClaims: false,
    claims: { openid: ["sub"], profile: ["preferred_username", "groups"] },
    features: { devInteractions: { enabled: false } },
    findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ ...person, sub: id }) }),
    async loadExistingGrant(ctx) {
      const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
      grant.addOIDCScope("openid profile");
      await grant.save();
      return grant;
    },
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  });
  provider.use(async (ctx, next) => {
    if (ctx.path.startsWith("/interaction/")) {
      await provider.interactionFinished(ctx.req, ctx.res, { login: { accountId: person.sub } });
      ctx.respond = false;
      return;
    }
    await next();
    if (ctx.path === "/token" && ctx.body?.id_token) ctx.body.id_token = await spoiled(ctx.body.id_token);
  });
  handler = provider.callback();
}

const server = createServer((request, response) => handler(request, response));
server.listen(0, "127.0.0.1", async () => {
  issuer = `http://127.0.0.1:${server.address().port}`;
  await build();
  print({ issuer });
});
readline
  .createInterface({ input: process.stdin })
  .on("line", async (text) => {
    const line = JSON.parse(text);
    if (line.person) person = line.person;
    if (line.forge !== undefined) forge = line.forge;
    if (line.rotate) await build();
    print({ done: text });
  })
  .on("close", () => process.exit(0));
