#!/usr/bin/env python3
"""Keeps docs/compatibility.md true to the tests.

    python3 .ci/compatibility.py

- Each row that says *yes* of this client names a test that shows it, and no row names a test that does not exist.
- Each test of the suite that is named is run: by a file that `cargo test` runs, and on ZooKeeper 3.9.5 by
  tests/extended.sh. Those on the list for every runtime are run on tokio and on threads.
- Each other test that is named is in a file that `cargo test` or tests/extended.sh runs.

A test of the suite is named as `topic::test`, and one of another file as `file.rs::test`, in backticks in the last column.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "compatibility.md"
TESTS = ROOT / "tests" / "tests"
FOLDERS = [TESTS, TESTS / "differential", ROOT / "zk-server" / "tests"]

# The column of this client, and that of the tests.
OURS, SHOWN_BY = "zk", "tests"

ARM = re.compile(r"^    \(\$run:path(?:, (\w+))?\) =>", re.MULTILINE)
TOPIC = re.compile(r"^            (\w+) \{\n((?:                \w+,\n)+)            \}", re.MULTILINE)
RUN = re.compile(r"suite!\(\s*[\w:$]+(?:,\s*(\w+))?\s*\)")


def suite():
    """The tests on each list of the suite: {list: {"topic::test"}}. The list for every runtime has the name ""."""
    text = (ROOT / "tests" / "src" / "suite" / "mod.rs").read_text()
    parts = ARM.split(text)
    lists = {}
    for name, body in zip(parts[1::2], parts[2::2]):
        lists[name or ""] = {
            f"{topic}::{test}" for topic, tests in TOPIC.findall(body) for test in re.findall(r"\w+", tests)
        }
    return lists


def runs():
    """The lists that each file runs: {file: {list}}."""
    return {path.stem: set(RUN.findall(path.read_text())) for path in TESTS.glob("*.rs")}


def left_out():
    """The files that `cargo test` leaves out, because they need a feature."""
    manifest = (ROOT / "tests" / "Cargo.toml").read_text()
    return set(re.findall(r'\[\[test\]\]\nname = "(\w+)"\nrequired-features', manifest))


def in_second_job():
    script = (ROOT / "tests" / "extended.sh").read_text()
    return set(re.findall(r"--test (\w+)", script))


def rows():
    """(line number, {column: cell}) of each row of the tables that have a column of tests."""
    header = None
    for number, line in enumerate(PAGE.read_text().splitlines(), 1):
        if not line.startswith("|"):
            header = None
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if header is None:
            header = cells
        elif set(line) <= set("|-: "):
            continue
        elif len(cells) != len(header):
            yield number, None
        elif SHOWN_BY in header:
            yield number, dict(zip(header, cells))


def file_problem(name, test, first_job, second_job):
    """What is wrong with the name `name.rs::test`, if anything."""
    for folder in FOLDERS:
        path = folder / f"{name}.rs"
        if path.exists() and re.search(rf"(?:\bfn |\w+!\(\s*){test}\b", path.read_text()):
            break
    else:
        return "there is no such test"
    is_run = folder != TESTS or name in first_job or name in second_job
    return None if is_run else "nobody runs it"


def suite_problem(name, lists, files, first_job, second_job):
    """What is wrong with the name `topic::test`, if anything."""
    on = [which for which, tests in lists.items() if name in tests]
    if not on:
        return "it is on no list of the suite"
    by = {file for file, run in files.items() if run & set(on)}
    if not by & first_job:
        return "cargo test does not run it"
    if not by & second_job:
        return "tests/extended.sh does not run it on ZooKeeper 3.9.5"
    if "" in on and not {"tokio", "thread"} <= by & first_job & second_job:
        return "it does not run on tokio and on threads, on both versions"
    return None


def main():
    lists, files = suite(), runs()
    first_job, second_job = set(files) - left_out(), in_second_job()
    problems, named = [], set()
    for which in lists:
        if not any(which in run for run in files.values()):
            problems.append(f"tests/src/suite/mod.rs: no file runs the list {which!r}")
    for number, row in rows():
        where = f"{PAGE.relative_to(ROOT)}:{number}"
        if row is None:
            problems.append(f"{where}: the row has another number of cells than the header")
            continue
        tests = re.findall(r"`(\w+)(\.rs)?::(\w+)`", row[SHOWN_BY])
        if row[OURS].startswith("yes") and not tests:
            problems.append(f"{where}: no test shows it")
        for topic, is_file, test in tests:
            named.add((topic, is_file, test))
            if is_file:
                problem = file_problem(topic, test, first_job, second_job)
            else:
                problem = suite_problem(f"{topic}::{test}", lists, files, first_job, second_job)
            if problem:
                problems.append(f"{where}: {topic}{is_file}::{test}: {problem}")
    if not named:
        problems.append(f"{PAGE.relative_to(ROOT)}: no test is named")
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        sys.exit(1)
    print(f"docs/compatibility.md names {len(named)} tests, which exist and are run")


main()
