"""Lines over what is remembered, as SVG without a style of its own: the style sheet knows light from dark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import orjson

from runtime.manager.statuspage.markup import Html, element, join
from runtime.manager.statuspage.sampling import PERIOD
from runtime.manager.statuspage.words import duration

__all__ = ["Line", "plot"]

_WIDTH: Final = 300
_HEIGHT: Final = 60
_TOP: Final = 4  # above the highest value
_SHORTEST: Final = 120.0  # seconds that are shown at least: the first minute shall not look like a quarter of an hour
_GAP: Final = 3 * PERIOD  # seconds between samples that a line does not cross


@dataclass(frozen=True, slots=True)
class Line:
    """:ivar values: as many as there are ages; None: there is nothing to show.
    :ivar style: of the class names in page.css; the one without is filled. One with a style is not drawn while it is 0.
    """

    name: str
    values: Sequence[float | None]
    style: str = ""


def plot(
    title: str, ago: Sequence[float], lines: Sequence[Line], words: Callable[[float], str], *, at_least: float
) -> Html:
    """A figure: what it is now, large, and the line that led there.

    :param lines: the last value of the first one is the large one.
    :param at_least: how high the scale is if nothing is higher.
    """
    top = max([at_least, *(value for line in lines for value in line.values if value is not None)])
    now = [(line, _last(line.values)) for line in lines]
    described = "; ".join(f"{line.name} {'none' if value is None else words(value)}" for line, value in now)
    window = max([_SHORTEST, *ago])
    return element(
        "figure",
        element(
            "figcaption",
            element("span", title, class_="plot-title"),
            element("span", "-" if now[0][1] is None else words(now[0][1]), class_="plot-now"),
            element("span", _aside(now[1:], words), class_="plot-aside"),
        ),
        element(
            "svg",
            [_drawn(line, ago, window, top) for line in reversed(lines)],
            element(
                "line", class_="cursor", x1=0, x2=0, y1=0, y2=_HEIGHT, vector_effect="non-scaling-stroke", data_own=True
            ),
            class_="plot",
            viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
            preserveAspectRatio="none",
            role="img",
            tabindex=0,
            aria_label=f"{title}, the last {duration(round(window))}: now {described}; highest {words(top)}",
            data_plot=_data(ago, window, lines, words),
        ),
        element(
            "div",
            element("span", f"{duration(round(window))} ago"),
            element("output", class_="plot-read", data_own=True),
            element("span", f"top {words(top)}"),
            class_="plot-axis",
            aria_hidden="true",
        ),
    )


def _aside(others: Sequence[tuple[Line, float | None]], words: Callable[[float], str]) -> str:
    return ", ".join(f"{line.name} {words(value)}" for line, value in others if value is not None)


def _last(values: Sequence[float | None]) -> float | None:
    return next((value for value in reversed(values) if value is not None), None)


def _drawn(line: Line, ago: Sequence[float], window: float, top: float) -> Html:
    if line.style and not any(line.values):
        return join()
    paths: list[Html] = []
    for part in _unbroken(ago, line.values):
        points = [(_WIDTH * (1 - age / window), _HEIGHT - (_HEIGHT - _TOP) * value / top) for age, value in part]
        if len(points) == 1:  # a line of no length is not drawn
            points.append((min(points[0][0] + 1.5, float(_WIDTH)), points[0][1]))
        drawn = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        if not line.style:
            area = f"M{points[0][0]:.1f} {_HEIGHT}L{drawn}L{points[-1][0]:.1f} {_HEIGHT}Z"
            paths.append(element("path", d=area, class_="area"))
        paths.append(
            element("path", d=f"M{drawn}", class_=f"stroke {line.style}".strip(), vector_effect="non-scaling-stroke")
        )
    return join(paths)


def _unbroken(ago: Sequence[float], values: Sequence[float | None]) -> list[list[tuple[float, float]]]:
    """The parts of a line between which there was nothing, or nobody looked."""
    known = [(age, value) for age, value in zip(ago, values, strict=True) if value is not None]
    parts: list[list[tuple[float, float]]] = [known[:1]] if known else []
    for before, point in pairwise(known):
        if before[0] - point[0] > _GAP:
            parts.append([])
        parts[-1].append(point)
    return parts


def _data(ago: Sequence[float], window: float, lines: Sequence[Line], words: Callable[[float], str]) -> str:
    """What the script shows under the pointer: for each sample where it is, from 0 to 1, and what to say of it."""
    said = [
        f"{duration(round(age))} ago: "
        + ", ".join(f"{line.name} {words(value)}" for line in lines if (value := line.values[number]) is not None)
        for number, age in enumerate(ago)
    ]
    return orjson.dumps({"x": [round(1 - age / window, 4) for age in ago], "said": said}).decode()
