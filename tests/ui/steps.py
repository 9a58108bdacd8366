"""Steps that the browser tests share."""

import re
from collections.abc import Callable
from typing import Any

RAW = "document.querySelector('[data-testid=stBidiComponentIsolated]').shadowRoot.querySelector('.answer').rawText"
"""The answer's text as it was received."""
RESEARCH, CHAT = 0, 1
INPUT = "[data-testid=stChatInputTextArea]"
RUN_ENDED = ".turn.over"

Open = Callable[..., Any]


def ask(page: Any, question: str, until: str = ".question") -> None:
    page.fill(INPUT, question)
    page.press(INPUT, "Enter")
    page.wait_for_selector(until)


def run_example(page: Any, which: int = RESEARCH) -> None:
    page.locator(".card").nth(which).click()
    page.wait_for_selector(".turn")


def texts(page: Any, selector: str) -> list[str]:
    return [text.strip() for text in page.locator(selector).all_inner_texts()]


def address(page: Any, site: Any) -> str:
    page.wait_for_url(re.compile(r"thread="))
    return str(page.url).removeprefix(site.url)


CONTRAST = """node => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const over = (top, under) => under.map((v, i) => (i < 3 ? top[i] * top[3] + v * (1 - top[3]) : 1));
  let ground = [255, 255, 255, 1];
  const layers = [];
  for (let at = node; at; at = at.parentElement || (at.getRootNode() && at.getRootNode().host)) {
    layers.unshift(rgba(getComputedStyle(at).backgroundColor));
    if (layers[0][3] === 1) break;
  }
  for (const layer of layers) ground = over(layer, ground);
  const [a, b] = [light(rgba(getComputedStyle(node).color)), light(ground)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}"""

"""Ratio between the colour of an element and what is behind it."""
