import { expect, test } from "vitest";
import { assetSubject, escapeToken, fromSubject, toSubject, unescapeToken } from "../src/subject";

test("names become tokens and come back", () => {
  for (const name of ["speed", "Größe 1", "a.b", "*", ">", "_hidden", "x_y", "=41", "‮exe", "𝄞"]) {
    const token = escapeToken(name);
    expect(token).toMatch(/^[A-Za-z0-9-][A-Za-z0-9_=-]*$|^=/);
    expect(token).not.toMatch(/[.*> ]/);
    expect(unescapeToken(token)).toBe(name);
  }
});

test("paths become the subjects that docs/adr/0002 says, and come back", () => {
  expect(toSubject("acme/plant1/press:speed")).toBe("uns.v1.acme.plant1.press._tag.speed");
  expect(toSubject("acme/a%2Fb:g/x%3Ay", "state")).toBe("uns.v1.acme.a=2Fb._state.g.x=3Ay");
  expect(assetSubject("acme/p 1")).toBe("uns.v1.acme.p=201");
  expect(fromSubject("live.uns.v1.acme.a=2Fb._state.g.x=3Ay")).toEqual({
    path: "acme/a%2Fb:g/x%3Ay", asset: "acme/a%2Fb", name: "g/x%3Ay", kind: "state",
  });
});

test("what is no subject of the namespace is none, and bad escapes do not throw", () => {
  for (const text of ["", "uns.v1.acme", "uns.v1._tag.x", "uns.v1.acme._tag", "xlive.uns.v1.a._tag.b", "uns.v1.a._tag.=FF"]) {
    expect(fromSubject(text)).toBeUndefined();
  }
});
