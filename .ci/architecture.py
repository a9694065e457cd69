#!/usr/bin/env python3
"""Keeps docs/architecture.md true.

    python3 .ci/architecture.py          # check
    python3 .ci/architecture.py --write  # make the pictures again from their text

- docs/pictures/*.svg are made from the *.txt beside them, and nothing else.
- The arrows of crates.txt are those between the crates, according to Cargo; what follows from others may be left out.
- Each file and item that architecture.md and the pictures name exists.

A picture's text has one statement a line; the lines below a box are what it says. Lengths are in units of 10 pixels.

    box NAME ROW LEFT WIDTH [plain]     # a box in a row; with plain, without a frame
    # the text: the first line is a heading, `code` is set in a monospaced font
    arrow FROM[@PERCENT] -> TO[@PERCENT]  # from the edge of one box, so far from its left, to that of another
    arrow FROM ..> TO                     # the same, dotted
"""

import fnmatch
import html
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
PICTURES = ROOT / "docs" / "pictures"

UNIT, LINE, PADDING, GAP, MARGIN = 10, 18, 10, 46, 12
STYLE = """
    text { font: 13px sans-serif; fill: #1f2328 }
    .head { font-weight: bold }
    .code { font-family: monospace; font-size: 12px }
    rect { fill: #f6f8fa; stroke: #57606a; rx: 5 }
    .plain { fill: none; stroke: none }
    line { stroke: #57606a; stroke-width: 1.5; marker-end: url(#tip) }
    .dotted { stroke-dasharray: 4 4 }
    .page { fill: #ffffff; stroke: none }"""


class Box:
    def __init__(self, row, left, width, plain):
        self.row, self.plain = int(row), plain
        self.left, self.width = float(left) * UNIT + MARGIN, float(width) * UNIT
        self.lines = []


def read(file):
    """The boxes by name, and the arrows: (from, its percent, to, its percent, whether it is dotted)."""
    boxes, arrows, box = {}, [], None
    for line in file.read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("box "):
            _, name, row, left, width, *plain = line.split()
            box = boxes[name] = Box(row, left, width, bool(plain))
        elif line.startswith("arrow "):
            _, start, kind, end = line.split()
            (start, _, here), (end, _, there) = start.partition("@"), end.partition("@")
            arrows.append((start, float(here or 50), end, float(there or 50), kind == "..>"))
        else:
            box.lines.append(line.strip())
    return boxes, arrows


def draw(file):
    """The picture as SVG."""
    boxes, arrows = read(file)
    tops, y = {}, MARGIN
    for row in sorted({box.row for box in boxes.values()}):
        tops[row] = y
        height = max(len(box.lines) for box in boxes.values() if box.row == row) * LINE + 2 * PADDING
        for box in boxes.values():
            if box.row == row:
                box.top, box.bottom = y, y + height
        y += height + GAP
    width = max(box.left + box.width for box in boxes.values()) + MARGIN
    height = y - GAP + MARGIN
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}">',
        f"  <!-- Made from {file.name} by .ci/architecture.py. -->",
        f"  <style>{STYLE}\n  </style>",
        '  <marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 10 5 0 10z" fill="#57606a"/></marker>',
        f'  <rect class="page" width="{width:g}" height="{height:g}"/>',
    ]
    for start, here, end, there, dotted in arrows:
        a, b = boxes[start], boxes[end]
        x1, x2 = a.left + a.width * here / 100, b.left + b.width * there / 100
        if a.row == b.row:
            y1 = y2 = (a.top + a.bottom) / 2
            x1, x2 = (a.left + a.width, b.left) if a.left < b.left else (a.left, b.left + b.width)
        else:
            y1, y2 = (a.bottom, b.top) if a.row < b.row else (a.top, b.bottom)
        kind = ' class="dotted"' if dotted else ""
        out.append(f'  <line{kind} x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"/>')
    for box in boxes.values():
        kind = ' class="plain"' if box.plain else ""
        out.append(
            f'  <rect{kind} x="{box.left:g}" y="{box.top:g}" width="{box.width:g}" height="{box.bottom - box.top:g}"/>'
        )
        for number, line in enumerate(box.lines):
            x, y = box.left + box.width / 2, box.top + PADDING + LINE * number + 13
            kind = ' class="head"' if number == 0 else ""
            text = re.sub(r"`([^`]*)`", r'<tspan class="code">\1</tspan>', html.escape(line, quote=False))
            out.append(f'  <text{kind} x="{x:g}" y="{y:g}" text-anchor="middle">{text}</text>')
    return "\n".join([*out, "</svg>", ""])


def closure(edges):
    """All pairs of crates of which the first is built from the second."""
    pairs = set(edges)
    while more := {(a, d) for a, b in pairs for c, d in pairs if b == c} - pairs:
        pairs |= more
    return pairs


def check_crates():
    answer = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--format-version", "1", "--offline"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )
    packages = {package["name"]: package for package in json.loads(answer.stdout)["packages"]}
    boxes, arrows = read(PICTURES / "crates.txt")

    def crates(name):
        return fnmatch.filter(packages, name)

    shown = {crate for name in boxes for crate in crates(name)}
    drawn = {(a, b) for start, _, end, _, _ in arrows for a in crates(start) for b in crates(end)}
    real = {
        (name, dependency["name"])
        for name in shown for dependency in packages[name]["dependencies"]
        if dependency["kind"] is None and dependency["name"] in shown
    }
    for name, package in packages.items():
        if package["publish"] != [] and name not in shown:
            yield f"crates.txt does not show {name}"
    for a, b in sorted(closure(real) - closure(drawn)):
        yield f"crates.txt has no arrow from {a} to {b}"
    for a, b in sorted(closure(drawn) - closure(real)):
        yield f"crates.txt has an arrow from {a} to {b}, but {a} is not built from {b}"


def check_item(file, item):
    """What is wrong with the mention of `Type::function` or of `function` in a file."""
    text = (ROOT / file).read_text()
    *owner, name = item.removesuffix("()").split("::")
    if not re.search(rf"\b(?:fn|struct|enum|trait|const|type|macro_rules!)\s+{name}\b", text):
        return f"{file} has no {name}"
    if owner and not re.search(rf"\b(?:impl|struct|enum|trait)\b[^{{;]*\b{owner[-1]}\b", text):
        return f"{file} has nothing of {owner[-1]}"
    return None


def check_names():
    """The page's tables have lines `| text | [file](../file) | `item`, `item` |`."""
    page = PAGE.read_text()
    for target in re.findall(r"\]\(([^)#]+)", page):
        if not target.startswith("http") and not (PAGE.parent / target).exists():
            yield f"architecture.md links to {target}, which does not exist"
    for file, items in re.findall(r"\|[^|]*\]\(\.\./([\w/.-]+\.rs)\)[^|]*\|([^|]*)\|", page):
        for item in re.findall(r"`([^`]+)`", items):
            if problem := check_item(file, item):
                yield f"architecture.md: {problem}"
    for source in sorted(PICTURES.glob("*.txt")):
        for file, item in re.findall(r"`([\w/-]+\.rs)`(?: `([\w:]+\(?\)?)`)?", source.read_text()):
            if not (ROOT / file).exists():
                yield f"{source.name} names {file}, which does not exist"
            elif item and (problem := check_item(file, item)):
                yield f"{source.name}: {problem}"


def check_pictures():
    for source in sorted(PICTURES.glob("*.txt")):
        picture = source.with_suffix(".svg")
        if not picture.exists() or picture.read_text() != draw(source):
            yield f"{picture.name} is not what is made from {source.name}: run python3 .ci/architecture.py --write"


def main(arguments):
    if arguments == ["--write"]:
        for source in sorted(PICTURES.glob("*.txt")):
            source.with_suffix(".svg").write_text(draw(source))
        return 0
    problems = [*check_crates(), *check_names(), *check_pictures()]
    print("\n".join(problems) or "architecture: ok")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
