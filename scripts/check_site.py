"""Check a built site: every link leads to a file and an anchor in it, and no page loads anything from another host."""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"link": "href", "object": "data"}
"""What a page fetches by itself, by the tags that do so in another attribute than `src`."""
IN_STYLE = re.compile(r"(?:@import\s+|url\(\s*)[\"']?([^\"')\s;]+)")


class Page(HTMLParser):
    """The anchors of a page, what it links to, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors, self.links, self.loads = {"", "top"}, list[str](), IN_STYLE.findall(text)
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        loaded = given.get(LOADED.get(tag, "src"))
        self.loads += [loaded] if loaded else []


def check_site(folder: Path) -> list[str]:
    """What is wrong, one line each."""
    pages = {file.resolve(): Page(file.read_text("utf-8")) for file in sorted(folder.rglob("*.html"))}
    styles = {file.resolve(): IN_STYLE.findall(file.read_text("utf-8")) for file in sorted(folder.rglob("*.css"))}
    loads = {**styles, **{file: page.loads for file, page in pages.items()}}
    found = [line for file, page in pages.items() for url in page.links for line in check_link(file, url, pages)]
    for file, urls in loads.items():
        found += [f"{file}: loads {url} from another host" for url in urls if urlsplit(url).netloc]
        found += [line for url in urls for line in check_link(file, url, pages)]
    return found if pages else [f"{folder}: no page"]


def check_link(file: Path, url: str, pages: dict[Path, Page]) -> Iterator[str]:
    parts = urlsplit(url)
    if parts.scheme or parts.netloc:
        return
    target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
    if not target.is_file():
        yield f"{file}: {url} leads to no file"
    elif target in pages and unquote(parts.fragment) not in pages[target].anchors:
        yield f"{file}: {url} leads to no anchor"


if __name__ == "__main__":
    wrong = check_site(Path(sys.argv[1]))
    sys.exit("\n".join(wrong) or None)
