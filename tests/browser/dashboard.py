"""The Qdrant dashboard in a browser: runs the code of a tab, and waits until what that draws is complete."""

import re
import time
from pathlib import Path

from playwright.sync_api import Page

SECONDS = 60
STILL = 3
"""Equal looks in a row, half a second apart, after which a drawing is taken to be complete."""
DOCS = Path(__file__).parents[2] / "docs" / "dashboard.md"


def read_snippet(tab: str) -> str:
    """The code that docs/dashboard.md says to run in a tab."""
    text = DOCS.read_text("utf-8")
    found = re.search(rf"Paste this into \*\*{tab}\*\*.*?```json\n(.*?)```", text, re.DOTALL)
    assert found, tab
    return found[1]


def run_tab(page: Page, collection: str, tab: str) -> None:
    """Open a tab, `Visualize` or `Graph`, replace the code there by that of the docs, run it, and wait for the drawing.

    collection: its URL in the dashboard
    """
    page.goto(f"{collection}/{tab.lower()}")
    page.locator(".monaco-editor .view-lines").click()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.insert_text(read_snippet(tab))
    page.get_by_text("RUN", exact=True).click()
    wait_for_drawing(page)


def wait_for_drawing(page: Page) -> None:
    """Wait until the tab's canvas shows something that moves no more."""
    end, before, still = time.monotonic() + SECONDS, "", 0
    while still < STILL:
        assert time.monotonic() < end, "no drawing in time, or one that does not come to rest"
        page.wait_for_timeout(500)
        drawn = str(page.evaluate(DRAWN))
        still = still + 1 if drawn and drawn == before else 0
        before = drawn


DRAWN = """() => {
  const canvas = document.querySelector('#myChart, #graph canvas');
  if (!canvas?.width) return '';
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  return pixels.some((each) => each) ? canvas.toDataURL() : '';
}"""


def hover_over_a_point(page: Page) -> None:
    """Point at the point of Visualize that is nearest to the centre, so that its image shows."""
    x, y = page.evaluate(NEAREST)
    page.mouse.move(x - 5, y)
    page.mouse.move(x, y, steps=3)


NEAREST = """() => {
  const canvas = document.querySelector('#myChart');
  const box = canvas.getBoundingClientRect();
  const { width, height } = canvas;
  const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
  let best = [Infinity, 0, 0];
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const far = (x - width / 2) ** 2 + (y - height / 2) ** 2;
      if (data[4 * (y * width + x) + 3] > 200 && far < best[0]) best = [far, x, y];
    }
  }
  return [box.x + (best[1] * box.width) / width, box.y + (best[2] * box.height) / height];
}"""
