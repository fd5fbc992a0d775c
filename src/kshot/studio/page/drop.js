// Files and folders that are dropped on the page.

/** Lets files, and folders of them, be dropped on an element. */
export function dropOn(node, take, takeFolders = null) {
  node.addEventListener("dragover", (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    node.classList.add("over");
  });
  node.addEventListener("dragleave", (event) => { if (!node.contains(event.relatedTarget)) node.classList.remove("over"); });
  node.addEventListener("drop", async (event) => {
    event.preventDefault();
    node.classList.remove("over");
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const plain = [...event.dataTransfer.files];
    const folders = entries.filter((entry) => entry.isDirectory);
    if (folders.length && takeFolders) return takeFolders(folders);
    const inside = (await Promise.all(folders.map(filesOf))).flat();
    return take([...plain.filter((_, at) => !entries[at]?.isDirectory), ...inside]);
  });
}

/** The files of a dropped folder, without hidden ones. */
export async function filesOf(folder) {
  const reader = folder.createReader();
  const found = [];
  for (;;) {
    const part = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!part.length) break;
    found.push(...part);
  }
  const files = found.filter((entry) => entry.isFile && !entry.name.startsWith("."));
  return Promise.all(files.map((entry) => new Promise((done, fail) => entry.file(done, fail))));
}

// A video that misses its target must not take the page's place.
for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());
