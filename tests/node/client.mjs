// An SDK that asks where the test says, and hardly waits between its attempts.

import Anthropic from "@anthropic-ai/sdk";

const { TEST_URL: baseURL, TEST_KEY: key } = process.env;

/** What each answer said before the SDK saw it. */
export const answers = [];

async function impatientFetch(url, init) {
  const answer = await fetch(url, init);
  const { status, headers } = answer;
  const sent = new Headers(init.headers);
  answers.push({
    status,
    retryAfter: headers.get("retry-after"),
    attempt: sent.get("x-stainless-retry-count"),
  });
  if (status < 400) return answer;
  const sooner = new Headers(headers);
  sooner.set("retry-after-ms", "1");
  return new Response(answer.body, { status, headers: sooner });
}

/** Return an SDK; the options are those of `new Anthropic`. */
export function sdk(options = {}) {
  return new Anthropic({ baseURL, apiKey: key, logLevel: "off", fetch: impatientFetch, ...options });
}

/** Return the arguments of a Messages call. */
export function ask(model = "claude-sonnet-5-5", more = {}) {
  const messages = [{ role: "user", content: "hello" }];
  return { model, max_tokens: 100, messages, ...more };
}

/** Return what a promise was rejected with, as far as a test looks at it. */
export async function rejected(promise) {
  try {
    await promise;
  } catch (error) {
    const { status = null, type = null, requestID = null, message } = error;
    const fault = error.headers?.get("x-passgate-error") ?? null;
    return { class: error.constructor.name, status, type, requestID, message, fault };
  }
  return null;
}

export { key };
