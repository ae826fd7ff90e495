// Requests to the controller. The session's cookie goes along by itself.

/** status 0: the controller cannot be reached. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Names of what follows a path: query({state: 'queued', name: ''}) is "?state=queued". */
export function query(parameters) {
  const out = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters))
    if (value !== '' && value !== null && value !== undefined) out.set(name, value);
  const text = out.toString();
  return text ? `?${text}` : '';
}

/** The answer as an object. options: method, body (an object) or content (a text), signal, seconds (30) to wait. */
export async function api(path, options = {}) {
  const {method = 'GET', body, content, signal, seconds = 30} = options;
  const signals = [AbortSignal.timeout(seconds * 1000)];
  if (signal) signals.push(signal);
  let response, text;
  try {
    response = await fetch(`/api/v1${path}`, {
      method, signal: AbortSignal.any(signals), cache: 'no-store', credentials: 'same-origin', redirect: 'error',
      headers: body === undefined ? {} : {'Content-Type': 'application/json'},
      body: body === undefined ? content : JSON.stringify(body)});
    text = await response.text();
  } catch (e) {
    if (signal && signal.aborted) throw e;
    throw new ApiError(0, 'the controller cannot be reached');
  }
  return answered(response.status, text);
}

/** What an answer says; throws ApiError for a failure. */
export function answered(status, text) {
  let json = null;
  try {
    json = JSON.parse(text);
  } catch { /* told below */ }
  if (status >= 200 && status < 300 && json !== null) return json;
  const message = json && json.error && json.error.message;
  if (status === 401) window.dispatchEvent(new CustomEvent('session-over', {detail: message || ''}));
  throw new ApiError(status, message || `the controller answered with status ${status}`);
}

/** The address of a job's log. */
export function logAddress(id, parameters) {
  return `/api/v1/jobs/${encodeURIComponent(id)}/log${query(parameters)}`;
}
