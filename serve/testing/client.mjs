// What users do with npm's `openai`; a line "ok NAME" or "NAME: what went wrong" each.
import assert from "node:assert/strict";

const { default: OpenAI } = await import(process.argv[2]);
const wanted = JSON.parse(process.env.WANTED);
const client = new OpenAI({ maxRetries: 0 });
const ask = { model: "small", prompt: wanted.prompt, max_tokens: 12, temperature: 0 };
const talk = {
  model: "small", max_tokens: 12, temperature: 0,
  messages: [{ role: "system", content: "be short" }, { role: "user", content: "hello" }],
};

async function all(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

async function fails(kind, status, said, call) {
  await assert.rejects(call, (e) => {
    assert.ok(e instanceof kind, String(e));
    assert.equal(e.status, status);
    assert.ok(e.message.includes(said), e.message);
    return true;
  });
}

const tests = {
  async models() {
    const names = [];
    for await (const model of client.models.list()) names.push(model.id);
    assert.deepEqual(names, ["small"]);
    assert.equal((await client.models.retrieve("small")).id, "small");
  },
  async completions() {
    const r = await client.completions.create(ask);
    assert.equal(r.choices[0].text, wanted.text);
    assert.equal(r.choices[0].finish_reason, "length");
    assert.equal(r.usage.completion_tokens, 12);
    assert.equal(r.usage.prompt_tokens, wanted.prompt_tokens);
  },
  async completions_streamed() {
    const chunks = await all(await client.completions.create(
        { ...ask, stream: true, stream_options: { include_usage: true } }));
    const text = chunks.filter((c) => c.choices.length).map((c) => c.choices[0].text).join("");
    assert.equal(text, wanted.text);
    assert.equal(chunks.at(-1).usage.completion_tokens, 12);
  },
  async chat() {
    const r = await client.chat.completions.create(talk);
    assert.equal(r.choices[0].message.role, "assistant");
    const chunks = await all(await client.chat.completions.create({ ...talk, stream: true }));
    assert.equal(chunks[0].choices[0].delta.role, "assistant");
    assert.equal(chunks.map((c) => c.choices[0].delta.content ?? "").join(""), r.choices[0].message.content);
    const helped = await client.chat.completions.stream(talk).finalChatCompletion();
    assert.equal(helped.choices[0].message.content, r.choices[0].message.content);
  },
  async logprobs() {
    const r = await client.chat.completions.create({ ...talk, logprobs: true, top_logprobs: 2 });
    for (const token of r.choices[0].logprobs.content) assert.equal(token.top_logprobs.length, 2);
    const c = await client.completions.create({ ...ask, logprobs: 1 });
    assert.equal(c.choices[0].logprobs.tokens.length, 12);
  },
  async stop() {
    const at = wanted.text.slice(4, 6);
    const r = await client.completions.create({ ...ask, stop: at });
    assert.equal(r.choices[0].text, wanted.text.slice(0, wanted.text.indexOf(at)));
    assert.equal(r.choices[0].finish_reason, "stop");
  },
  async seed() {
    const texts = [];
    for (const seed of [1, 1, 2])
      texts.push((await client.completions.create({ ...ask, temperature: 1, seed })).choices[0].text);
    assert.equal(texts[0], texts[1]);
    assert.notEqual(texts[0], texts[2]);
  },
  async responses() {
    const input = { model: "small", input: "hello", instructions: "be short", max_output_tokens: 12, temperature: 0 };
    const r = await client.responses.create(input);
    assert.equal(r.status, "incomplete");
    assert.equal(r.output_text, (await client.chat.completions.create(talk)).choices[0].message.content);
    const events = await all(await client.responses.create({ ...input, stream: true }));
    const pieces = events.filter((e) => e.type === "response.output_text.delta").map((e) => e.delta);
    assert.equal(pieces.join(""), r.output_text);
    assert.equal(events.at(-1).response.output[0].content[0].text, r.output_text);
    const helped = await client.responses.stream(input).finalResponse();
    assert.equal(helped.output_text, r.output_text);
    const next = { ...input, input: "more", previous_response_id: r.id };
    const second = await client.responses.create(next);
    assert.equal((await client.responses.retrieve(second.id)).output_text, second.output_text);
    const items = [];
    for await (const item of client.responses.inputItems.list(second.id, { order: "asc", limit: 2 })) items.push(item);
    assert.deepEqual(items.map((i) => i.role), ["user", "assistant", "user"]);
    await client.responses.delete(r.id);
    await fails(OpenAI.NotFoundError, 404, "no response", () => client.responses.create(next));
  },
  async errors() {
    await fails(OpenAI.NotFoundError, 404, "other", () => client.completions.create({ ...ask, model: "other" }));
    await fails(OpenAI.BadRequestError, 400, "context",
                () => client.completions.create({ ...ask, prompt: "word ".repeat(wanted.context) }));
    await fails(OpenAI.BadRequestError, 400, "temperature",
                () => client.completions.create({ ...ask, temperature: -1, stream: true }));
  },
  async leaves_in_the_middle() {
    for (let i = 0; i < 3; ++i) {
      const stream = await client.completions.create({ ...ask, max_tokens: 1500, ignore_eos: true, stream: true });
      for await (const chunk of stream) if (chunk) break;
    }
    assert.equal((await client.completions.create(ask)).choices[0].text, wanted.text);
  },
  async together() {
    const answers = await Promise.all(Array.from({ length: 24 }, () => client.completions.create(ask)));
    for (const r of answers) assert.equal(r.choices[0].text, wanted.text);
  },
};

let bad = 0;
for (const [name, test] of Object.entries(tests)) {
  try {
    await test();
    console.log("ok", name);
  } catch (e) {
    ++bad;
    console.log(`${name}: ${e}`.replaceAll("\n", " ").slice(0, 1000));
  }
}
process.exitCode = bad ? 1 : 0;
