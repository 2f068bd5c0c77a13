# SPDX-License-Identifier: Apache-2.0
"""Draw learning curves of training runs as an SVG picture for the docs.

    python tools/draw_curves.py docs/images/curves.svg reprojection ours=out/a/curve.jsonl selfocc=out/b/curve.jsonl

Each run is the curve of one term over steps, as `selfocc train` writes it (`curve.jsonl`), smoothed over `--window`
rows. Axes are linear; the vertical one begins at zero.
"""

from __future__ import annotations

import argparse
import html
import json
import sys
from pathlib import Path

WIDTH, HEIGHT = 720, 320
LEFT, RIGHT, TOP, BOTTOM = 60, 150, 20, 40
COLOURS = ("#1f6fb2", "#d1632a", "#3a8f4d", "#8e4a9e", "#8a6d1d", "#4a4a4a")

Curve = list[tuple[float, float]]


def read_curve(path: Path, term: str, window: int) -> Curve:
    """(step, mean of the last ``window`` rows) of ``term``; rows without it are left out."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    known = [(float(row["step"]), float(row[term])) for row in rows if term in row]
    out = []
    for end in range(len(known)):
        values = [value for _, value in known[max(0, end + 1 - window) : end + 1]]
        out.append((known[end][0], sum(values) / len(values)))
    return out


def round_up(value: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    size = 1e-9
    while True:
        for step in (1.0, 2.0, 5.0):
            if step * size >= value:
                return step * size
        size *= 10.0


def svg(curves: dict[str, Curve], term: str) -> str:
    """The picture as text."""
    steps = max(step for curve in curves.values() for step, _ in curve)
    top = round_up(max(sorted(value for _, value in curve)[int(0.97 * (len(curve) - 1))] for curve in curves.values()))
    plot = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM)

    def place(step: float, value: float) -> tuple[float, float]:
        return LEFT + plot[0] * step / steps, TOP + plot[1] * (1.0 - min(value, top) / top)

    box = f'viewBox="0 0 {WIDTH} {HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for k in range(5):
        value = top * k / 4
        _, y = place(0, value)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
        step = steps * k / 4
        x, _ = place(step, 0)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{step:.0f}</text>')
    parts.append(f'<text x="{LEFT + plot[0] / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">step</text>')
    parts.append(f'<text x="{LEFT}" y="{TOP - 6}">{html.escape(term)}</text>')
    for number, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join("{:.1f},{:.1f}".format(*place(*point)) for point in curve)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{points}"/>')
        y = TOP + 14 + 18 * number
        parts.append(f'<text x="{WIDTH - RIGHT + 12}" y="{y}" fill="{colour}">{html.escape(name)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def main() -> int:
    """Draw what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path, help="the .svg file to write")
    parser.add_argument("term", help="column of the curves: loss, reprojection, ...")
    parser.add_argument("runs", nargs="+", metavar="NAME=FILE", help="curve.jsonl of a run, and its name")
    parser.add_argument("--window", type=int, default=10, help="rows to average over (default: %(default)s)")
    args = parser.parse_args()
    curves = {}
    for run in args.runs:
        name, _, path = run.partition("=")
        curves[name] = read_curve(Path(path), args.term, args.window)
    if empty := [name for name, curve in curves.items() if not curve]:
        sys.stderr.write(f"no row of {', '.join(empty)} has {args.term}\n")
        return 2
    args.picture.write_text(svg(curves, args.term), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
