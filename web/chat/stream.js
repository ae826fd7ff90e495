// The API: models, and an answer as it is made.

/** What the server refused: `status` and its message. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const headers = (key) => (key ? {Authorization: `Bearer ${key}`} : {});

async function refusal(response) {
  let message = `status ${response.status}`;
  try {
    message = (await response.json()).error.message;
  } catch { /* not ours: the status has to do */ }
  return new Refused(response.status, message);
}

export async function models(key) {
  const response = await fetch('/v1/models', {headers: headers(key)});
  if (!response.ok) throw await refusal(response);
  return (await response.json()).data.map((m) => m.id);
}

/**
 * Asks for an answer to `request` (the body of a chat completion) and calls piece(text) for what comes. Returns the
 * reason of the end and, when the server says it, how many tokens were made.
 */
export async function answer(request, key, signal, piece) {
  const response = await fetch('/v1/chat/completions', {
    method: 'POST', signal, headers: {...headers(key), 'Content-Type': 'application/json'},
    body: JSON.stringify({...request, stream: true, stream_options: {include_usage: true}}),
  });
  if (!response.ok) throw await refusal(response);
  const end = {reason: '', tokens: 0};
  let whole = false;
  for await (const data of events(response.body)) {
    if (data === '[DONE]') whole = true;
    else take(JSON.parse(data), end, piece);
  }
  if (!whole) throw new Refused(0, 'the connection broke before the answer was complete');
  return end;
}

function take(event, end, piece) {
  if (event.error) throw new Refused(0, event.error.message);
  if (event.usage) end.tokens = event.usage.completion_tokens;
  const choice = event.choices[0];
  if (!choice) return;
  if (choice.finish_reason) end.reason = choice.finish_reason;
  if (choice.delta.content) piece(choice.delta.content);
}

// The data of server-sent events, each on one line.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const {value, done} = await reader.read();
    if (done) return;
    rest += value;
    const lines = rest.split('\n');
    rest = lines.pop();
    for (const line of lines)
      if (line.startsWith('data: ')) yield line.slice(6);
  }
}
