"""Open every page of the built book in headless Chromium and list what a reader would stumble on.

``python book/check_in_browser.py OUT [--screenshots FOLDER]``

A page fails by a request to another host, an error on the console, a broken link or image, a
formula that is not drawn, anything cut off or scrolling sideways at 390 px, or text with less
contrast than WCAG 2 AA asks for, in the light or the dark theme. Exit status 0 or 1.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple
from urllib.parse import unquote, urldefrag, urlsplit

from playwright.sync_api import Browser, Page, Request, sync_playwright
from tqdm import tqdm

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PROBES = (Path(__file__).parent / "check_in_browser.js").read_text(encoding="utf-8")
NOT_PAGES = ("_static", "_sources", "_downloads", "_modules")
PATIENCE = 120_000  # milliseconds; machines of continuous integration can be slow
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


class Visit(NamedTuple):
    """What one page has shown: what is wrong, where it links, which anchors it has."""

    faults: list[str]
    links: list[str]
    anchors: set[str]


def main() -> int:
    """Check the folder named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of the built book")
    parser.add_argument("--screenshots", type=Path, help="keep four pictures of each page here")
    options = parser.parse_args()
    pages = sorted(
        path
        for path in options.out.rglob("*.html")
        if path.relative_to(options.out).parts[0] not in NOT_PAGES
    )
    if not pages:
        parser.error(f"no pages in {options.out}; build the book first")
    with served(options.out) as host, browser() as chromium:
        visits = {}
        for path in tqdm(pages, unit="page", disable=None):
            name = path.relative_to(options.out).as_posix()
            visits[f"{host}/{name}"] = visit(chromium, host, name, options.screenshots)
    faults = {
        url: [*found.faults, *dead_links(found, visits, options.out, host)]
        for url, found in visits.items()
    }
    for url, found in faults.items():
        for fault in found:
            print(f"{url.removeprefix(host + '/')}: {fault}")
    print(f"{len(visits)} pages opened, {sum(map(len, faults.values()))} faults")
    return int(any(faults.values()))


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine; the address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


@contextmanager
def browser() -> Iterator[Browser]:
    """The Chromium of this machine, headless."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        sys.exit(f"none of {', '.join(BROWSERS)} is installed")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=SWITCHES)
        yield chromium
        chromium.close()


def visit(chromium: Browser, host: str, name: str, screenshots: Path | None) -> Visit:
    """Open a page as a desktop and as a phone, in both themes."""
    page = chromium.new_page(viewport=DESKTOP, color_scheme="light")
    page.set_default_timeout(PATIENCE)
    faults: list[str] = []
    page.on("request", lambda request: faults.extend(foreign(request, host)))
    page.on("requestfailed", lambda request: faults.append(f"request failed: {request.url}"))
    page.on("pageerror", lambda error: faults.append(f"script error: {error}"))
    page.on("console", lambda said: said.type == "error" and faults.append(f"console: {said.text}"))
    page.goto(f"{host}/{name}")
    page.evaluate("async () => { await window.MathJax?.startup?.promise; }")
    page.evaluate(PROBES)
    page.evaluate("probes.still()")
    links, anchors = page.evaluate("[probes.links(), probes.anchors()]")
    if page.locator("article.bd-article").count():
        faults += look(page, name.removesuffix(".html").replace("/", "-"), screenshots)
    if name.startswith("notebooks/"):
        faults += missing_offers(links)
    page.close()
    return Visit(faults, links, set(anchors))


def foreign(request: Request, host: str) -> list[str]:
    """A fault if the request leaves this machine."""
    own = request.url.startswith((host, "data:", "blob:"))
    return [] if own else [f"request to another host: {request.url}"]


def look(page: Page, name: str, screenshots: Path | None) -> list[str]:
    """What can be seen: images, formulas, width, contrast."""
    for width, theme in ((w, t) for t in ("light", "dark") for w in ("desktop", "phone")):
        page.set_viewport_size(DESKTOP if width == "desktop" else PHONE)
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        if screenshots:
            screenshots.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=screenshots / f"{name}-{width}-{theme}.png", full_page=True)
    faults = []
    page.evaluate("probes.open()")
    faults += page.evaluate("[...probes.sideways(), ...probes.images(), ...probes.undrawn()]")
    faults += [f"dark theme, {fault}" for fault in page.evaluate("probes.faint()")]
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    page.set_viewport_size(DESKTOP)
    return faults + [f"light theme, {fault}" for fault in page.evaluate("probes.faint()")]


def missing_offers(links: list[str]) -> list[str]:
    """What every notebook's page offers, if it does not."""
    offers = ("https://colab.research.google.com/", "https://mybinder.org/", "/_downloads/")
    return [f"no link to {o}" for o in offers if not any(o in link for link in links)]


def dead_links(found: Visit, visits: dict[str, Visit], out: Path, host: str) -> list[str]:
    """Links inside the book without a file or an anchor at their end."""
    faults = []
    for link in dict.fromkeys(found.links):
        url, anchor = urldefrag(link)
        if not url.startswith(host):
            continue
        path = unquote(urlsplit(url).path).lstrip("/") or "index.html"
        target = visits.get(f"{host}/{path}")
        if not (out / path).is_file():
            faults.append(f"broken link: {path}")
        elif anchor and target and unquote(anchor) not in target.anchors | {"top"}:
            faults.append(f"no such anchor: {path}#{anchor}")
    return faults


if __name__ == "__main__":
    sys.exit(main())
