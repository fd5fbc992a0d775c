// Files on their way to the server.

import { announce } from "./messages.js";
import { request } from "./server.js";
import { state, render } from "./state.js";
import { plural, size, wait } from "./words.js";

export const faults = new Map(); // action id -> [{key, text}] of files that were refused
export const sending = new Map(); // action id -> [{key, name}] of files on their way
let numbered = 0; // keys given out so far

/** Sends one file; the server answers with the video's id and the version of the state that has it. */
export async function upload(file, about = {}) {
  try {
    if (file.size > state.limits.bytes)
      throw new Error(`expected a file of at most ${size(state.limits.bytes)}: cut the video into shorter ones, or start kshot serve with a larger --limit`);
    return await request("POST", `/api/videos?${new URLSearchParams({ name: file.name, ...about })}`, file, true);
  } catch (error) {
    throw error.message.includes(file.name) ? error : new Error(`${file.name}: ${error.message}`);
  }
}

/** Sends files, one after the other, as clips of an action; a recording was to last some seconds. */
export async function uploadClips(files, label, source = "file", seconds = 0) {
  const waiting = files.map((file) => ({ key: `coming-${++numbered}`, name: file.name }));
  if (!seconds) faults.delete(label); // takes come one by one
  sending.set(label, [...(sending.get(label) ?? []), ...waiting]);
  render();
  let added = 0;
  for (const [at, file] of files.entries()) {
    let made = null;
    try {
      made = await upload(file, { source, label });
    } catch (error) {
      addFault(label, error.message);
    }
    sending.set(label, sending.get(label).filter((one) => one !== waiting[at]));
    await reached(made?.version); // its row takes the place in one go
    const clip = state.clips.find((one) => one.id === made?.id);
    added += Boolean(clip);
    const length = clip?.seconds ?? Infinity;
    if (length < 0.7 * seconds) {
      addFault(label, `${file.name} came out ${length.toFixed(1)} s long, not ${seconds} s: the camera or this computer was too slow. Remove it and record once more.`);
    }
    render();
  }
  if (added) announce(`${plural(added, "clip")} added.`);
}

function addFault(label, text) {
  faults.set(label, [...(faults.get(label) ?? []), { key: `fault-${++numbered}`, text }]);
}

/** Waits for the state to be of a version, at least. */
async function reached(version = 0) {
  for (let waits = 0; state.version < version && waits < 40; waits += 1) await wait(25);
}
