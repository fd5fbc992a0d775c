// The camera of this computer.

/** Its stream; one sentence where it cannot be had. */
export async function openCamera() {
  if (!navigator.mediaDevices?.getUserMedia) throw new Error("this browser gives pages no camera, or only on https and 127.0.0.1");
  try {
    return await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, height: { ideal: 480 } } });
  } catch (error) {
    throw new Error({
      NotFoundError: "no camera was found: connect one, then try again",
      NotAllowedError: "the camera is not allowed: permit it in the address bar, then try again",
      NotReadableError: "the camera is in use by another program: close that one, then try again",
    }[error.name] ?? `the camera does not start (${error.name})`);
  }
}
