// Small tools for the page's elements.

export const $ = (id) => document.getElementById(id);
export const SVG = "http://www.w3.org/2000/svg";

/** A new element; `on...` properties are listeners, the others attributes. */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** Brings the children of `parent` in line with `items`, keeping the element of each key and so its focus. */
export function keyed(parent, items, key, make, update = () => {}) {
  const have = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    let child = have.get(String(key(item)));
    if (child) have.delete(String(key(item)));
    else {
      child = make(item);
      child.dataset.key = key(item);
    }
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
    update(child, item);
  }
  for (const child of have.values()) child.remove();
}

/** Changes a text only where it differs, so that screen readers keep quiet. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
