// Clips recorded with the camera.

import { openCamera } from "./camera.js";
import { $, setText } from "./dom.js";
import { nameOf } from "./labels.js";
import { toast } from "./messages.js";
import { faults, uploadClips } from "./upload.js";
import { sentence, plural, wait } from "./words.js";

const recorder = { label: "", stream: null, run: 0 };

export async function openRecorder(label) {
  let stream;
  try {
    stream = await openCamera();
  } catch (error) {
    toast(sentence(error.message));
    return;
  }
  Object.assign(recorder, { label, stream });
  setText($("recorder-title"), `Record “${nameOf(label)}”`);
  setText($("recorder-said"), "Three, two, one: then do it until the red dot goes out.");
  const video = $("recorder").querySelector("video");
  video.srcObject = stream;
  video.play();
  $("recorder-go").disabled = false;
  $("recorder").showModal();
  $("recorder-go").focus();
}

$("recorder").addEventListener("close", () => {
  recorder.run += 1;
  recorder.stream?.getTracks().forEach((track) => track.stop());
  recorder.stream = null;
  $("recorder").querySelector("video").srcObject = null;
  setText($("recorder-count"), "");
  $("recorder").querySelector(".stage").classList.remove("rec");
});

$("recorder-go").addEventListener("click", async () => {
  const run = ++recorder.run;
  const { label, stream } = recorder;
  const takes = Number($("recorder-takes").value);
  const seconds = Number($("recorder-seconds").value);
  $("recorder-go").disabled = true;
  faults.delete(label);
  for (let take = 1; take <= takes; take += 1) {
    setText($("recorder-said"), takes > 1 ? `Take ${take} of ${takes}` : "");
    for (const count of take === 1 ? ["3", "2", "1"] : ["2", "1"]) {
      setText($("recorder-count"), count);
      await wait(700);
      if (run !== recorder.run) return;
    }
    setText($("recorder-count"), "");
    const stage = $("recorder").querySelector(".stage");
    stage.classList.add("rec");
    const file = await record(stream, seconds, take);
    stage.classList.remove("rec");
    if (run !== recorder.run) return;
    uploadClips([file], label, "camera", seconds);
  }
  setText($("recorder-said"), `${plural(takes, "take")} recorded. Once more, or close.`);
  $("recorder-go").disabled = false;
  $("recorder-go").focus();
});

async function record(stream, seconds, take) {
  const kind = ["video/webm;codecs=vp8", "video/webm;codecs=vp9", "video/webm", "video/mp4"].find((one) => MediaRecorder.isTypeSupported(one));
  const made = new MediaRecorder(stream, { mimeType: kind, videoBitsPerSecond: 2_500_000 });
  const parts = [];
  made.ondataavailable = (event) => parts.push(event.data);
  const ended = new Promise((done) => { made.onstop = done; });
  made.start();
  await wait(seconds * 1000);
  made.stop();
  await ended;
  const now = new Date().toTimeString().slice(0, 8);
  return new File(parts, `take ${take}, ${now}${kind.startsWith("video/mp4") ? ".mp4" : ".webm"}`, { type: kind });
}
