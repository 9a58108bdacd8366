// Text that everything behind the page can take: Streamlit drops a whole message over half a character, without a word.

/** Half a character becomes U+FFFD, as in everything else that comes in. Before whoever owns the field reads it. */
function mendText({ target: field }) {
  if (!(field instanceof HTMLTextAreaElement || field instanceof HTMLInputElement) || field.value.isWellFormed()) return;
  const { set } = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(field), "value"); // the page's framework has its own
  set.call(field, field.value.toWellFormed());
}
