/** What cannot be taken back asks before: one question at a time, answered by a person. */
import { signal } from "@preact/signals";

export interface Question {
  title: string;
  text: string;
  yes: string;
  answer: (isSure: boolean) => void;
}

export const question = signal<Question | undefined>(undefined);

/** Whether somebody is. A question that is open is answered with no. */
export function sure(title: string, text: string, yes: string): Promise<boolean> {
  question.peek()?.answer(false);
  return new Promise((done) => {
    question.value = { title, text, yes, answer: (isSure) => { question.value = undefined; done(isSure); } };
  });
}
