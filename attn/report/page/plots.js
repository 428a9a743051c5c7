
// ---- plots: a click shows one as large as it is, to be scrolled on a phone ----
for (const plot of document.querySelectorAll("button.plot")) {
  plot.addEventListener("click", () => {
    const image = [...plot.querySelectorAll("img")].find((one) => one.offsetParent !== null);
    const large = $("large");
    large.querySelector("img").src = image.src;
    large.querySelector("img").alt = image.alt;
    large.showModal();
  });
}
$("large").addEventListener("click", () => $("large").close());
