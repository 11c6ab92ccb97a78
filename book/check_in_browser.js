// Run inside a page by check_in_browser.py: each probe returns a list of faults in words.
() => {
  const shown = (element) => element.getClientRects().length > 0;
  const name = (element) =>
    element.tagName.toLowerCase() +
    (typeof element.className === "string" && element.className.trim()
      ? "." + element.className.trim().split(/\s+/).join(".") : "");
  const excerpt = (text) => JSON.stringify(text.trim().slice(0, 40));
  const scrolls = (element) => ["auto", "scroll"].includes(getComputedStyle(element).overflowX);

  function colour(text) {
    const [red, green, blue, alpha = 1] = text.match(/[\d.]+/g).map(Number);
    return [red, green, blue, alpha];
  }

  function over([r, g, b, a], [R, G, B]) {
    return [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a), 1];
  }

  function background(element) {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const layer = colour(getComputedStyle(at).backgroundColor);
      if (layer[3] > 0) layers.push(layer);
      if (layer[3] === 1) break;
    }
    return layers.reduceRight((below, layer) => over(layer, below), [255, 255, 255, 1]);
  }

  function luminance(rgb) {
    const [r, g, b] = rgb.slice(0, 3).map((value) => {
      const c = value / 255;
      return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }

  function contrast(one, other) {
    const [high, low] = [luminance(one), luminance(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  }

  function* texts() {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const element = walker.currentNode.parentElement;
      const hidden = element.closest("script, style, noscript, svg, mjx-assistive-mml");
      if (walker.currentNode.data.trim() && !hidden && shown(element)) {
        yield [walker.currentNode.data, element];
      }
    }
  }

  window.probes = {
    still() {
      const style = document.createElement("style");
      style.textContent = "* { transition: none !important; }";
      document.head.append(style);
    },
    open() {
      document.querySelectorAll("details").forEach((details) => { details.open = true; });
    },
    anchors: () => [...document.querySelectorAll("[id]")].map((element) => element.id),
    links: () => [...document.querySelectorAll("a[href]")].map((link) => link.href),
    formulas: () => document.querySelectorAll("mjx-container").length,
    images: () => [...document.images]
      .filter((image) => shown(image) && !(image.complete && image.naturalWidth))
      .map((image) => `broken image ${image.getAttribute("src")}`),
    undrawn() {
      const faults = [];
      for (const math of document.querySelectorAll(".math")) {
        const drawn = math.querySelector("mjx-container");
        const { width, height } = (drawn || math).getBoundingClientRect();
        const error = math.querySelector("mjx-merror, [data-mml-node=merror]");
        if (shown(math) && (!drawn || error || !width || !height)) {
          faults.push(`formula not drawn: ${excerpt(math.textContent)}`);
        }
      }
      for (const [text, element] of texts()) {
        if (!element.closest("pre, code, mjx-container") && /\\\(|\\\[|\$[^$]+\$/.test(text)) {
          faults.push(`formula left as text: ${excerpt(text)}`);
        }
      }
      return faults;
    },
    sideways() {
      const width = document.documentElement.clientWidth;
      const faults = [];
      if (document.documentElement.scrollWidth > width) faults.push("the page scrolls sideways");
      for (const element of document.querySelectorAll(".bd-article-container *")) {
        const { right, width: own } = element.getBoundingClientRect();
        if (!shown(element) || !own || right <= width + 1) continue;
        let box = element.parentElement;
        while (box && !scrolls(box)) box = box.parentElement;
        if (!box) faults.push(`cut off on the right: ${name(element)}`);
      }
      return [...new Set(faults)].slice(0, 5);
    },
    faint() {
      const faults = new Map();
      for (const [text, element] of texts()) {
        const style = getComputedStyle(element);
        if (style.visibility === "hidden" || Number(style.opacity) === 0) continue;
        const behind = background(element);
        const ratio = contrast(over(colour(style.color), behind), behind);
        const size = parseFloat(style.fontSize);
        const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
        if (ratio < (large ? 3 : 4.5)) {
          faults.set(name(element), `contrast ${ratio.toFixed(1)}: ${name(element)} ${excerpt(text)}`);
        }
      }
      return [...faults.values()];
    },
  };
}
