// What goes wrong, and what an SDK makes of it; prints one JSON object.

import { answers, ask, key, rejected, sdk } from "./client.mjs";

const once = sdk({ maxRetries: 0 });

async function error(status) {
  return rejected(once.messages.create(ask(`claude-error-${status}`)));
}

async function retried(model, client = sdk()) {
  answers.length = 0;
  const fault = await rejected(client.messages.create(ask(model)));
  return { fault, answers: [...answers] };
}

async function broken(scene) {
  return rejected(once.messages.stream(ask(`claude-${scene}`)).finalMessage());
}

async function told(number) {
  const stream = sdk().messages.stream(ask(`claude-slow-200-${10 + number}`));
  return (await stream.finalMessage()).content[0].text.split(" ").length - 1;
}

async function cancelled() {
  const stream = await once.messages.create(ask("claude-slow-50-100000", { stream: true }));
  const texts = [];
  for await (const { delta } of stream) {
    if (delta?.text) texts.push(delta.text);
    if (texts.length === 3) break;
  }
  stream.controller.abort();
  return texts;
}

async function opens(options) {
  return (await sdk(options).messages.create(ask())).type;
}

const errors = {};
for (const status of [400, 401, 402, 403, 404, 409, 413, 422, 429, 500, 503, 504, 529]) {
  errors[status] = await error(status);
}
const results = {
  errors,
  cdn: await error("html-502"),
  retried: {
    429: await retried("claude-error-429"),
    500: await retried("claude-error-500"),
    529: await retried("claude-error-529"),
  },
  unknownKey: await retried("claude-haiku-4-5", sdk({ apiKey: "pg_of-nobody-at-all" })),
  elsewhere: await rejected(once.get("/v2/messages")),
  closed: await rejected(once.get("/v1/organizations/me")),
  malformed: await retried("claude-two-lengths"),
  cut: await broken("cut-3"),
  reset: await broken("reset-3"),
  midError: await broken("mid-error-3"),
  timeout: await rejected(sdk({ maxRetries: 0, timeout: 100 }).messages.create(ask("claude-hang"))),
  cancelled: await cancelled(),
  streams: await Promise.all([...Array(20).keys()].map(told)),
  keys: {
    apiKey: await opens({}),
    authToken: await opens({ apiKey: null, authToken: key }),
    xApiKey: await opens({ apiKey: null, defaultHeaders: { "x-api-key": key } }),
    both: await opens({ defaultHeaders: { "x-api-key": key } }),
  },
};
process.stdout.write(JSON.stringify(results));
