// Numbers, times and texts as the page writes them; and waiting.

/** A text with a capital, but for one that begins with the name of a file. */
export const sentence = (text) => (/^\S*[./_]\w/.test(text) ? text : text.charAt(0).toUpperCase() + text.slice(1));
export const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
export const percent = (share) => `${Math.round(share * 100)}\u00a0%`;
export const clock = (s) => (s < 60 ? `${s.toFixed(1)} s` : `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`);
/** A moment of a film: 0:12.48, 1:02:03.00. */
export const stamp = (s) => {
  const whole = Math.floor((s + 0.005) / 60);
  const rest = Math.max(0, s - whole * 60).toFixed(2).padStart(5, "0");
  return whole < 60 ? `${whole}:${rest}` : `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}:${rest}`;
};
export const size = (bytes) => `${Math.round(bytes / 1e6).toLocaleString("en")} MB`;
export const wait = (ms) => new Promise((done) => setTimeout(done, ms));
