/** What was done last can be taken back once, by the same request however often it is tried; and only the last. */
import { beforeEach, expect, test } from "vitest";
import { question, sure } from "../src/state/sure";
import { acted, offer, undo, withdraw } from "../src/state/undo";
import { whyText } from "../src/words/codes";

const asked: string[][] = [];
let looked = 0;
const back = async (why: string, id: string): Promise<void> => void asked.push([why, id]);

beforeEach(() => { withdraw(); asked.length = 0; looked = 0; });

test("an act is taken back by one that names it", async () => {
  acted("shelve", "a1", back, () => looked++);
  await undo();
  expect(asked).toEqual([["undo a1", offer.value?.id]]);
  expect([offer.value?.state, looked]).toEqual(["done", 1]);
  await undo();
  expect(asked).toHaveLength(1);
  expect(whyText("undo a1")).toBe("takes back a1");
  expect(whyText("undone by hand")).toBe("undone by hand");
});

test("what cannot be taken back leaves nothing older to be taken back in its place", async () => {
  acted("shelve", "a1", back, () => looked++);
  acted("drop", "b2", undefined, () => looked++);
  await undo();
  expect([asked.length, offer.value]).toEqual([0, undefined]);
});

test("what was refused or is not known is asked for again as the same thing", async () => {
  acted("split", "c3", async (why, id) => { asked.push([why, id]); throw new Error("away"); }, () => looked++);
  await undo();
  expect([offer.value?.state, offer.value?.why?.message]).toEqual(["refused", "away"]);
  await undo();
  expect(asked[0]).toEqual(asked[1]);
});

test("what came meanwhile stays on offer, and a double click asks once", async () => {
  let let_go = (): void => undefined;
  acted("slow", "d4", (why, id) => { asked.push([why, id]); return new Promise<void>((done) => (let_go = done)); }, () => looked++);
  const both = [undo(), undo()];
  acted("newer", "e5", back, () => looked++);
  let_go();
  await Promise.all(both);
  expect([asked.length, offer.value?.what, offer.value?.state]).toEqual([1, "newer", "offered"]);
});

test("one question at a time: an open one is answered with no", async () => {
  const first = sure("drop", "for good", "yes");
  const second = sure("end", "the session", "yes");
  expect(await first).toBe(false);
  question.value?.answer(true);
  expect([await second, question.value]).toEqual([true, undefined]);
});
