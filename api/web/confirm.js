// The one question that the page asks before it does what cannot be undone.

// question: { title, text, no, yes }; answers true for yes
export function confirmed({ title, text, no, yes }) {
  const dialog = document.getElementById("ask");
  document.getElementById("ask-title").textContent = title;
  document.getElementById("ask-text").textContent = text;
  dialog.querySelector('[value="no"]').textContent = no;
  dialog.querySelector('[value="yes"]').textContent = yes;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}
