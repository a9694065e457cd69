#!/usr/bin/env python3
"""Shows what each file of a crate imports from the others, and fails if there is a circle.

    python3 .ci/imports.py              # check zk-client, zk-server and zk-sim, and the arrows between crates
    python3 .ci/imports.py zk-proto     # check one crate
    python3 .ci/imports.py -v zk-client # print every import, and the item that needs it

What counts as an import of file B by file A:
- a path in A, in a `use` or anywhere else, that leads to an item that is defined in B. `crate::`, `super::`,
  `self::`, names of child modules and names of imported modules are followed;
- a macro of B that A calls by its bare name.

What does not:
- `mod b;` declares a file and imports nothing;
- a re-export (`pub use`, `pub(crate) use`) is not an import of the file that it stands in. A path that leads
  through it counts as an import of the file that defines the item. So a file that imports `crate::Client` imports
  client.rs, not lib.rs;
- code behind `#[cfg(test)]`, and links in documentation;
- calls of methods: they need no import.
"""

import collections
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CRATES = ["zk-client", "zk-server", "zk-sim"]

# The crates in layers, the lowest first. A crate may depend on crates of lower layers only, dev-dependencies
# included.
LAYERS = [
    ["zk-proto", "zk-handler"],
    ["zk-server", "zk-handler-tokio", "zk-handler-smol", "zk-handler-async-std", "zk-handler-thread"],
    ["zk-client"],
    ["zk-sim"],
    ["zk-fuzz", "zk-tests"],
    ["zk-benches"],
]

TOKEN = re.compile(
    r"""
    //[^\n]*
  | /\*.*?\*/
  | b?r(?P<hashes>\#*)".*?"(?P=hashes)
  | b?"(?:\\.|[^"\\])*"
  | b?'(?:\\(?:u\{[^}]*\}|x..|.)|[^'\\])'
    """,
    re.VERBOSE | re.DOTALL,
)
ITEM = re.compile(r"\b(?:fn|struct|enum|union|trait|type|const|static|macro_rules!)\s+(?:mut\s+)?(\w+)")
PATH = re.compile(r"(?<![\w:$.])(?:\$crate|[A-Za-z_]\w*)(?:\s*::\s*\w+)+")
MACRO = re.compile(r"(?<![\w:])(\w+)!\s*[\(\[\{]")


def blank(text):
    """`text` with everything but line ends turned into spaces."""
    return re.sub(r"[^\n]", " ", text)


def without_comments(text):
    return TOKEN.sub(lambda match: blank(match.group()), text)


def closing(text, at, pairs={"{": "}", "(": ")", "[": "]"}):
    """The position behind the bracket that closes the one at `at`."""
    opened, closed, depth = text[at], pairs[text[at]], 0
    for index in range(at, len(text)):
        depth += (text[index] == opened) - (text[index] == closed)
        if depth == 0:
            return index + 1
    return len(text)


def without_tests(text):
    """`text` without the items behind `#[cfg(test)]`."""
    while match := re.search(r"#!?\[cfg\((?:all\()?test\b[^\]]*\]", text):
        end = re.compile(r"[{;]").search(text, match.end())
        stop = len(text)
        if end:
            stop = closing(text, end.start()) if text[end.start()] == "{" else end.end()
            if re.match(r"\s*(?:pub(?:\([^)]*\))?\s+)?use\b", text[match.end() :]):
                stop = text.index(";", match.end()) + 1
        text = text[: match.start()] + blank(text[match.start() : stop]) + text[stop:]
    return text


def use_tree(text):
    """The paths and their names of a `use` declaration: `a::{b, c as d}` gives (a b, b) and (a c, d)."""
    text = text.strip()
    brace = text.find("{")
    if brace < 0:
        path, _, alias = re.sub(r"\s+", " ", text).partition(" as ")
        parts = [part.strip() for part in path.split("::") if part.strip()]
        if parts and parts[-1] == "self":
            parts.pop()
        if parts:
            yield parts, alias.strip() or parts[-1]
        return
    prefix = [part.strip() for part in text[:brace].split("::") if part.strip()]
    depth, start, inside = 0, brace + 1, text[brace + 1 : text.rindex("}")] + ","
    for index, char in enumerate(inside):
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            for parts, name in use_tree(inside[start - brace - 1 : index]):
                yield prefix + parts, name if parts else prefix[-1]
            if inside[start - brace - 1 : index].strip() == "self":
                yield prefix, prefix[-1]
            start = brace + 1 + index + 1


class Module:
    def __init__(self, path, file):
        self.path, self.file = path, file
        self.items, self.children, self.uses, self.globs = set(), set(), {}, []


class Crate:
    def __init__(self, name):
        self.source = ROOT / name / "src"
        self.modules, self.texts, self.macros = {}, {}, {}
        self.load((), self.source / "lib.rs", self.source)
        for module, text, _ in self.parts():
            self.declare(module, text)

    def load(self, path, file, folder):
        """Reads the file of a module, and those of its children."""
        self.modules[path] = Module(path, file)
        self.texts[file] = text = without_tests(without_comments(file.read_text()))
        for match in re.finditer(r"\bmod\s+(\w+)\s*;", text):
            name = match.group(1)
            flat, nested = folder / f"{name}.rs", folder / name / "mod.rs"
            child = flat if flat.exists() else nested
            self.modules[path].children.add(name)
            self.load((*path, name), child, folder / name)
        for match in re.finditer(r"\bmacro_rules!\s+(\w+)", text):
            self.macros[match.group(1)] = file

    def parts(self):
        """Each module with its text: a file without the modules that stand inside of it, and each of those."""
        for path, module in list(self.modules.items()):
            if module.path == path and module.file in self.texts:
                yield from self.split(module, self.texts[module.file])

    def split(self, module, text):
        inner = re.compile(r"\bmod\s+(\w+)\s*\{")
        at = 0
        while match := inner.search(text, at):
            stop = closing(text, match.end() - 1)
            path = (*module.path, match.group(1))
            child = self.modules.get(path) or Module(path, module.file)
            self.modules[path] = child
            module.children.add(match.group(1))
            body = blank(text[: match.end()]) + text[match.end() : stop - 1]
            yield from self.split(child, body)
            text = text[: match.start()] + blank(text[match.start() : stop]) + text[stop:]
            at = stop
        yield module, text, module.file

    def declare(self, module, text):
        module.items.update(ITEM.findall(text))
        for _, _, paths in self.use_declarations(text):
            for parts, name in paths:
                if name == "*":
                    module.globs.append(parts[:-1])
                else:
                    module.uses[name] = parts

    @staticmethod
    def use_declarations(text):
        """(whether it is a re-export, where, the paths) of each."""
        for match in re.finditer(r"(\bpub(?:\s*\([^)]*\))?\s+)?\buse\s+([^;]+);", text):
            yield bool(match.group(1)), match.span(), list(use_tree(match.group(2)))

    def resolve(self, module, parts, seen=()):
        """(the module that defines what the path leads to, the item's name), or None outside of the crate."""
        here = module
        if parts[0] in ("crate", "$crate"):
            here, parts = self.modules[()], parts[1:]
        elif parts[0] in ("self", "super"):
            while parts and parts[0] in ("self", "super"):
                if parts[0] == "super":
                    here = self.modules[here.path[:-1]]
                parts = parts[1:]
        elif parts[0] not in here.children and parts[0] not in here.uses:
            return None
        while parts:
            name = parts[0]
            if name in here.children:
                here, parts = self.modules[(*here.path, name)], parts[1:]
            elif name in here.items or name == "*":
                return here, name
            elif name in here.uses and (here.path, name) not in seen:
                return self.resolve(here, here.uses[name] + parts[1:], (*seen, (here.path, name)))
            else:
                for glob in here.globs:
                    if (here.path, tuple(glob), name) not in seen:
                        key = (here.path, tuple(glob), name)
                        found = self.resolve(here, [*glob, name], (*seen, key))
                        if found and name in found[0].items:
                            return found
                return here, name
        return here, None

    def imports(self):
        """{file: {file: {(item, line)}}}"""
        graph = {file: collections.defaultdict(set) for file in self.texts}
        for module, text, file in self.parts():
            def add(parts, at):
                found = self.resolve(module, parts)
                # The name of a module alone is no import: what is used of it is.
                if found and found[1] and found[0].file != file:
                    graph[file][found[0].file].add((found[1], text.count("\n", 0, at) + 1))

            body = text
            for reexport, (start, stop), paths in self.use_declarations(text):
                body = body[:start] + blank(body[start:stop]) + body[stop:]
                for parts, _ in paths if not reexport else ():
                    add(parts, start)
            for match in PATH.finditer(body):
                add([part.strip() for part in match.group().split("::")], match.start())
            for match in MACRO.finditer(body):
                owner = self.macros.get(match.group(1))
                if owner and owner != file:
                    graph[file][owner].add((match.group(1) + "!", body.count("\n", 0, match.start()) + 1))
        return graph


def components(graph):
    """The sets of files that import each other in a circle, and all others alone; what is imported comes first."""
    index, low, stack, on_stack, order = {}, {}, [], set(), []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        on_stack.add(node)
        for other in sorted(graph[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in on_stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = []
            while not component or component[-1] != node:
                component.append(stack.pop())
                on_stack.discard(component[-1])
            order.append(sorted(component))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return order


def shortest_circle(graph, component):
    """The shortest circle of a component, its first file repeated at the end."""
    best = None
    for start in component:
        paths = collections.deque([[start]])
        seen = set()
        while paths:
            path = paths.popleft()
            if start in graph[path[-1]]:
                if best is None or len(path) < len(best):
                    best = path
                break
            for other in sorted(graph[path[-1]]):
                if other in component and other not in seen:
                    seen.add(other)
                    paths.append([*path, other])
    return [*best, best[0]]


def check_crate(name, verbose):
    crate = Crate(name)
    graph = crate.imports()

    def short(file):
        return str(file.relative_to(crate.source))

    if verbose:
        for file in sorted(graph):
            for other, items in sorted(graph[file].items()):
                print(f"{short(file)} -> {short(other)}: {', '.join(f'{item} ({line})' for item, line in sorted(items))}")
    level = {}
    circles = []
    for component in components(graph):
        if len(component) > 1:
            circles.append(component)
        below = [level[other] for file in component for other in graph[file] if other not in component]
        for file in component:
            level[file] = max(below, default=-1) + 1
    print(f"{name}: imports go down only" if not circles else f"{name}: files import each other in a circle")
    layers = collections.defaultdict(list)
    for file, height in level.items():
        layers[height].append(short(file))
    for height in sorted(layers, reverse=True):
        print(f"  {height:2} {' '.join(sorted(layers[height]))}")
    for component in circles:
        print(f"CIRCLE in {name}, of {len(component)} files: {' '.join(map(short, component))}")
        circle = shortest_circle(graph, component)
        for file, other in zip(circle, circle[1:]):
            items = ", ".join(f"{item} (line {line})" for item, line in sorted(graph[file][other]))
            print(f"    {short(file)} imports {short(other)}: {items}")
    return not circles


def check_arrows():
    """The arrows between crates point down only, according to Cargo."""
    answer = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--format-version", "1", "--offline"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )
    layer = {name: height for height, names in enumerate(LAYERS) for name in names}
    good = True
    for package in json.loads(answer.stdout)["packages"]:
        name = package["name"]
        if name not in layer:
            print(f"{name} is in no layer: add it to LAYERS")
            good = False
            continue
        for dependency in package["dependencies"]:
            other = dependency["name"]
            if other in layer and layer[other] >= layer[name]:
                print(f"the arrow from {name} to {other} does not point down")
                good = False
    print("crates: arrows point down only" if good else "crates: an arrow does not point down")
    return good


def main(arguments):
    verbose = "-v" in arguments
    names = [argument for argument in arguments if argument != "-v"]
    good = [check_crate(name, verbose) for name in names or CRATES]
    if not names:
        good.append(check_arrows())
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
