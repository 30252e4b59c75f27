// The official SDK, told what to do: `node sdk.mjs '[{"call": NAME, "client": {...}, ...}]'`.
//
// Each job makes one call with a client of its own and prints one line of JSON: what the call
// returned, or the error that it raised, and the pauses between attempts, which are not waited for.
// The process then stays until its stdin ends, so that a hang-up is never merely its own end.

import Anthropic from "@anthropic-ai/sdk";
import { betaTool } from "@anthropic-ai/sdk/helpers/beta/json-schema";

class Sdk extends Anthropic {
  pausesMs = [];

  retryRequest(...given) {
    const real = globalThis.setTimeout;
    // The SDK sets its timer before it first waits, so no other timer is met here.
    globalThis.setTimeout = (fire, ms) => {
      this.pausesMs.push(ms);
      return real(fire, 0);
    };
    try {
      return super.retryRequest(...given);
    } finally {
      globalThis.setTimeout = real;
    }
  }
}

async function all(items) {
  const seen = [];
  for await (const item of items) seen.push(item);
  return seen;
}

async function events(client, asked) {
  const stream = client.messages.stream(asked);
  return [...(await all(stream)), await stream.finalMessage()];
}

async function batchOf(client, asked) {
  return client.messages.batches.create({ requests: [{ custom_id: "one", params: asked }] });
}

function text(size, name = "a.txt") {
  return new File(["0".repeat(size)], name, { type: "text/plain" });
}

async function bytesOf(response) {
  return Buffer.from(await response.arrayBuffer()).toString("base64");
}

async function toolLoop(client, asked, streams) {
  const cities = [];
  const tool = betaTool({
    name: "get_weather",
    description: "Say the weather.",
    inputSchema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    run: ({ city }) => (cities.push(city), "rain"),
  });
  const turns = [];
  const runner = client.beta.messages.toolRunner({ ...asked, tools: [tool], stream: streams });
  for await (const turn of runner) turns.push(streams ? await turn.finalMessage() : turn);
  return { cities, turns };
}

// Two turns: what the first one thought is shown again in the second one.
async function thinkTwice(client, asked) {
  const first = await client.messages.stream(asked).finalMessage();
  const result = { type: "tool_result", tool_use_id: first.content.at(-1).id, content: "rain" };
  const messages = [
    ...asked.messages,
    { role: "assistant", content: first.content },
    { role: "user", content: [result] },
  ];
  return [first, await client.messages.stream({ ...asked, messages }).finalMessage()];
}

async function files(client, namespace) {
  const mine = await namespace.upload({ file: text(5000) });
  const metadata = namespace.retrieveMetadata ?? namespace.retrieve;
  const told = await metadata.call(namespace, mine.id);
  const listed = (await all(namespace.list())).map((file) => file.id);
  const content = await bytesOf(await namespace.download(mine.id));
  const deleted = await namespace.delete(mine.id);
  const left = (await all(namespace.list())).map((file) => file.id);
  const gone = await metadata.call(namespace, mine.id).catch((error) => error.constructor.name);
  return { mine, told, listed, content, deleted, left, gone };
}

// Words until the third, and how the reading then ends.
async function threeWords(client, asked, leave) {
  const stream = client.messages.stream(asked);
  const words = [];
  try {
    for await (const event of stream) {
      if (event.delta?.type === "text_delta") words.push(event.delta.text);
      if (words.length === 3) {
        if (leave === "break") break;
        if (leave === "abort") stream.abort();
        else stream.controller.abort();
      }
    }
  } catch (error) {
    return { words, error: error.constructor.name };
  }
  return { words, error: null };
}

const CALLS = {
  create: (client, asked, options) => client.messages.create(asked, options),
  "create-beta": (client, asked) => client.beta.messages.create(asked),
  "raw-stream": async (client, asked) =>
    all(await client.messages.create({ ...asked, stream: true })),
  stream: events,
  "stream-text": (client, asked) => client.messages.stream(asked).finalText(),
  "first-event": async (client, asked) => {
    const stream = await client.messages.create({ ...asked, stream: true });
    return (await stream[Symbol.asyncIterator]().next()).value;
  },
  "twenty-streams": async (client, asked) =>
    Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        client.messages.stream({ ...asked, model: `${asked.model}-${10 + n}` }).finalText(),
      ),
    ),
  "ten-in-turn": async (client, asked) => {
    for (let n = 0; n < 10; n += 1) await client.messages.create(asked);
    return "done";
  },
  "tool-loop": (client, asked) => toolLoop(client, asked, false),
  "tool-loop-streamed": (client, asked) => toolLoop(client, asked, true),
  "think-twice": thinkTwice,
  response: async (client, asked) => {
    const { data, response, request_id } = await client.messages.create(asked).withResponse();
    return { id: data._request_id, request_id, headers: [...response.headers] };
  },
  lines: async (client, asked) => {
    const response = await client.messages.create({ ...asked, stream: true }).asResponse();
    return { headers: [...response.headers], text: await response.text() };
  },
  count: (client, { model, messages }) => client.messages.countTokens({ model, messages }),
  "batch-create": batchOf,
  "batch-list": async (client, asked) => {
    await batchOf(client, asked);
    return all(client.messages.batches.list());
  },
  "batch-retrieve": async (client, asked) =>
    client.messages.batches.retrieve((await batchOf(client, asked)).id),
  "batch-cancel": async (client, asked) =>
    client.messages.batches.cancel((await batchOf(client, asked)).id),
  "batch-delete": async (client, asked) =>
    client.messages.batches.delete((await batchOf(client, asked)).id),
  "batch-results": async (client, asked) =>
    all(await client.messages.batches.results((await batchOf(client, asked)).id)),
  "batch-results-path": async (client, asked) => {
    const { id } = await batchOf(client, asked);
    return client.get(`/v1/messages/batches/${id}/results`).then((lines) => String(lines));
  },
  files: (client) => files(client, client.files),
  "files-beta": (client) => files(client, client.beta.files),
  "file-upload": async (client) => ({ ...(await client.files.upload({ file: text(5000) })), id: "" }),
  "file-big": (client) => client.beta.files.upload({ file: text(40 << 20, "big.txt") }),
  "file-download": async (client) => bytesOf(await client.beta.files.download("file_size_3000000")),
  models: (client) => all(client.models.list()),
  "models-paged": (client) => all(client.models.list({ limit: 2 })),
  model: (client) => client.models.retrieve("claude-opus-5-5"),
  path: (client, { path }) => client.get(path),
  "big-ask": (client, asked) =>
    client.messages.create({ ...asked, messages: [{ role: "user", content: "x".repeat(32 << 20) }] }),
  "leave-by-abort": (client, asked) => threeWords(client, asked, "abort"),
  "leave-by-controller": (client, asked) => threeWords(client, asked, "controller"),
  "leave-by-break": (client, asked) => threeWords(client, asked, "break"),
  "leave-by-signal": (client, asked) => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 40);
    return client.messages.create(asked, { signal: controller.signal });
  },
};

function told(error) {
  const name = error.constructor.name;
  return {
    name,
    // As a user's `instanceof` would find it.
    known: Anthropic[name] !== undefined && error instanceof Anthropic[name],
    message: error.message,
    cause: error.cause === undefined ? null : String(error.cause),
    status: error.status ?? null,
    type: error.type ?? null,
    apiMessage: error.apiMessage ?? null,
    requestID: error.requestID ?? null,
    body: error.error ?? null,
    headers: Object.fromEntries(error.headers ?? []),
  };
}

for (const { call, client: settings, functionKey, asked, options } of JSON.parse(process.argv[2])) {
  const key = functionKey === undefined ? {} : { apiKey: async () => functionKey };
  const client = new Sdk({ ...settings, ...key });
  let line;
  try {
    line = { value: (await CALLS[call](client, asked, options)) ?? null };
  } catch (error) {
    line = { error: told(error) };
  }
  console.log(JSON.stringify({ ...line, pausesMs: client.pausesMs }));
}
for await (const _ of process.stdin);
process.exit(0); // a stream that is still open would keep it running
