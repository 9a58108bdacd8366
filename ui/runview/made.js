// What tools made: pictures shown below the answer, other files as links that save them.

const PICTURES = ["image/png", "image/jpeg", "image/gif", "image/webp"];

function sizeOf(bytes) {
  return bytes >= 1e6 ? `${(bytes / 1e6).toFixed(1)} MB` : `${Math.max(1, Math.round(bytes / 1e3))} kB`;
}

/** The things of `artefacts`, each under `api`; a picture that is no longer kept leaves its name and says so. */
function drawMade(root, artefacts, api) {
  show(root, artefacts.length > 0);
  keyed(root, artefacts, (made) => made.id, (made) => makeMade(made, `${api}/artefacts/${encodeURIComponent(made.id)}`), () => {});
}

function makeMade(made, address) {
  const words = el("span", { class: "muted" }, sizeOf(made.size));
  const link = el("a", { href: address, target: "_blank", rel: "noopener", download: PICTURES.includes(made.media_type) ? null : made.name },
    el("bdi", {}, made.name));
  const caption = el("figcaption", {}, link, " ", words);
  if (!PICTURES.includes(made.media_type)) return el("figure", { class: "made" }, caption);
  const picture = el("img", { src: address, alt: made.name, loading: "lazy", decoding: "async" });
  picture.addEventListener("error", () => {
    picture.remove();
    setText(words, "It cannot be shown: it is no longer kept, or cannot be reached.");
  });
  return el("figure", { class: "made" }, picture, caption);
}
