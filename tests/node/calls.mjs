// Every kind of call; prints what each has returned, as one JSON object.

import { toFile } from "@anthropic-ai/sdk";
import { betaTool } from "@anthropic-ai/sdk/helpers/beta/json-schema";
import { ask, sdk } from "./client.mjs";

const client = sdk();
const weather = {
  name: "get_weather",
  description: "Say the weather.",
  input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};
const forWeather = {
  messages: [{ role: "user", content: "What is the weather?" }],
  tools: [weather],
};

async function all(iterable) {
  const found = [];
  for await (const each of iterable) found.push(each);
  return found;
}

async function streamed(asked) {
  const stream = client.messages.stream(asked);
  const events = await all(stream);
  return { events, message: await stream.finalMessage() };
}

async function batch() {
  const requests = [{ custom_id: "one", params: ask() }];
  const { id } = await client.messages.batches.create({ requests });
  return id;
}

const content = new Uint8Array(5000).fill(48);
let file;

const calls = {
  create: () => client.messages.create(ask()),
  thinking: () => client.messages.create(ask(undefined, { thinking: { type: "adaptive" } })),
  tools: () => client.messages.create(ask(undefined, forWeather)),
  refusal: () => client.messages.create(ask("claude-refusal")),
  gzip: () => client.messages.create(ask("claude-gzip")),
  deflate: () => client.messages.create(ask("claude-deflate")),
  big: async () => (await client.messages.create(ask("claude-big-3000000"))).content[0].text.length,
  raw: async () => all(await client.messages.create(ask(undefined, { stream: true }))),
  streamText: () => streamed(ask("claude-text-200")),
  streamThinking: () => streamed(ask("claude-thinking")),
  streamTool: () => streamed(ask(undefined, forWeather)),
  streamGzip: () => streamed(ask("claude-gzip")),
  streamPings: () => streamed(ask("claude-pings")),
  streamSlow: () => streamed(ask("claude-slow-500-20")),
  toolRunner: async () => {
    const asked = [];
    const run = ({ city }) => {
      asked.push(city);
      return "rain";
    };
    const { input_schema: inputSchema, ...rest } = weather;
    const tools = [betaTool({ ...rest, inputSchema, run })];
    const message = await client.beta.messages.toolRunner(ask(undefined, { ...forWeather, tools }));
    return { asked, text: message.content[0].text };
  },
  count: () => {
    const { max_tokens: _, ...counted } = ask();
    return client.messages.countTokens(counted);
  },
  batchCreate: batch,
  batchRetrieve: async () => client.messages.batches.retrieve(await batch()),
  batchResults: async () => {
    const { id } = await client.messages.batches.retrieve(await batch());
    return all(await client.messages.batches.results(id));
  },
  batchCancel: async () => client.messages.batches.cancel(await batch()),
  batchList: async () => (await all(client.messages.batches.list())).length,
  fileUpload: async () => {
    file = await client.beta.files.upload({ file: await toFile(content, "a.txt") });
    return { ...file, id: null };
  },
  fileMetadata: async () => (await client.beta.files.retrieveMetadata(file.id)).size_bytes,
  fileDownload: async () => (await (await client.beta.files.download(file.id)).text()).length,
  fileList: async () => (await all(client.beta.files.list())).some(({ id }) => id === file.id),
  fileDelete: async () => (await client.beta.files.delete(file.id)).type,
  models: async () => all(client.models.list()),
  modelsPaged: async () => (await all(client.models.list({ limit: 2 }))).map(({ id }) => id),
  model: () => client.models.retrieve("claude-opus-5-5"),
  rawResponse: async () => {
    const { response } = await client.messages.create(ask()).withResponse();
    const changes = new Set(["date", "request-id", "keep-alive", "connection"]);
    const fields = [...response.headers].filter(([name]) => !changes.has(name));
    return fields.map(([name, value]) => [name, name.endsWith("-reset") ? "" : value]);
  },
};

const results = {};
for (const [name, call] of Object.entries(calls)) results[name] = await call();
process.stdout.write(JSON.stringify(results));
