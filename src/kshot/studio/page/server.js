// Requests to the server.

/** Makes a request to the server; its one-sentence errors become errors here. */
export async function request(method, path, body, raw = false) {
  const options = { method };
  if (body !== undefined) {
    options.body = raw ? body : JSON.stringify(body);
    if (!raw) options.headers = { "content-type": "application/json" };
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("the studio does not answer: start it again with `kshot serve`");
  }
  const text = await answer.text();
  const value = text ? JSON.parse(text) : null;
  if (!answer.ok) throw new Error(value?.error ?? `the studio answered ${answer.status}`);
  return value;
}
