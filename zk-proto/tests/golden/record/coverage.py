#!/usr/bin/env python3
"""Tells what the recorded frames cover, and checks that they hang together.

    coverage.py [--update README.md] [DIRECTORY]

Decodes headers only. Replies are matched to requests by xid, in order; a reply
without its request, or out of order, is an error. Prints tables in Markdown;
--update puts them into a file, between the two `coverage` marks.
"""

import collections
import pathlib
import re
import struct
import sys

OPCODES = {
    1: "create", 2: "delete", 3: "exists", 4: "getData", 5: "setData", 6: "getACL",
    7: "setACL", 8: "getChildren", 9: "sync", 11: "ping", 12: "getChildren2",
    13: "check", 14: "multi", 15: "create2", 16: "reconfig", 17: "checkWatches",
    18: "removeWatches", 19: "createContainer", 21: "createTTL", 22: "multiRead",
    100: "auth", 101: "setWatches", 102: "sasl", 103: "getEphemerals",
    104: "getAllChildrenNumber", 105: "setWatches2", 106: "addWatch", 107: "whoAmI",
    -11: "closeSession",
}  # fmt: skip
EVENTS = {
    -1: "None", 1: "NodeCreated", 2: "NodeDeleted", 3: "NodeDataChanged",
    4: "NodeChildrenChanged", 5: "DataWatchRemoved", 6: "ChildWatchRemoved",
    7: "PersistentWatchRemoved",
}  # fmt: skip
ERRORS = {
    -1: "SystemError", -5: "MarshallingError", -6: "Unimplemented", -8: "BadArguments",
    -13: "NewConfigNoQuorum", -101: "NoNode", -102: "NoAuth", -103: "BadVersion",
    -108: "NoChildrenForEphemerals", -110: "NodeExists", -111: "NotEmpty",
    -112: "SessionExpired", -114: "InvalidACL", -115: "AuthFailed", -118: "SessionMoved",
    -119: "NotReadOnly", -120: "EphemeralOnLocalSession", -121: "NoWatcher",
    -123: "ReconfigDisabled",
    -124: "SessionClosedRequireSaslAuth", -125: "QuotaExceeded",
}  # fmt: skip
UNANSWERED = {13}  # a good `check` outside a multi gets no reply of this server
XIDS = {-1: "notification", -2: "ping", -4: "auth", -8: "setWatches"}


class Table(collections.defaultdict):
    """key -> file -> count"""

    def __init__(self):
        super().__init__(collections.Counter)

    def total(self, key):
        return sum(self[key].values()) if key in self else 0

    def text(self, title, names, show_missing=True, replies=None):
        keys = set(self) | (set(names) if show_missing else set())
        heads = ["frames"] if replies is None else ["requests", "replies"]
        lines = ["| " + " | ".join([title, *heads, "files"]) + " |", "|---" * (2 + len(heads)) + "|"]
        for key in sorted(keys, key=lambda k: (k < 0, abs(k))):
            files = ", ".join(f"{file} {n}" for file, n in sorted(self[key].items()))
            counts = [str(table.total(key)) for table in (self, replies) if table is not None]
            lines.append("| " + " | ".join([f"{key} {names.get(key, '?')}", *counts, files or "-"]) + " |")
        return "\n".join(lines)


requests, replies, unanswered, events, errors, xids, handshakes = (Table() for _ in range(7))


def connection(file, frames):
    """The frames of one connection: (sign, payload)."""
    waiting = []  # (xid, opcode), oldest first
    started = {">": False, "<": False}
    for sign, payload in frames:
        if not started[sign]:  # ConnectRequest, ConnectResponse
            started[sign] = True
            if sign == "<":
                timeout = struct.unpack_from(">i", payload, 4)[0]
                handshakes[len(payload) if timeout > 0 else -len(payload)][file] += 1
        elif sign == ">":
            xid, opcode = struct.unpack_from(">ii", payload)
            waiting.append((xid, opcode))
            requests[opcode][file] += 1
            if xid < 0:
                xids[xid][file] += 1
        else:
            xid, _zxid, err = struct.unpack_from(">iqi", payload)
            if xid == -1:
                events[struct.unpack_from(">i", payload, 16)[0]][file] += 1
                xids[xid][file] += 1
                continue
            # Ordinary replies come in order. Pings and auth answer at once, so
            # they can overtake others.
            found = [i for i, request in enumerate(waiting) if request[0] == xid]
            before = [op for x, op in waiting[: found[0]] if x >= 0] if found else [None]
            if not found or (xid >= 0 and not UNANSWERED.issuperset(before)):
                raise SystemExit(f"{file}: reply {xid} without its request, or out of order")
            opcode = waiting.pop(found[0])[1]
            replies[opcode][file] += 1
            if err:
                errors[err][file] += 1
    for _xid, opcode in waiting:
        unanswered[opcode][file] += 1


def read(path):
    frames = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line == "= connection":
            connection(path.stem, frames)
            frames = []
        elif match := re.fullmatch(r"([<>]) ((?:[0-9a-f]{2})+)", line):
            frames.append((match[1], bytes.fromhex(match[2])))
        elif line and not line.startswith("#"):
            raise SystemExit(f"{path.name}:{number}: not understood")
    connection(path.stem, frames)


def text_of(path):
    return path.read_text(encoding="utf-8") if path.exists() else ""


def main():
    args = sys.argv[1:]
    target = None
    if args[:1] == ["--update"]:
        target = pathlib.Path(args[1])
        args = args[2:]
    directory = pathlib.Path(args[0]) if args else pathlib.Path(__file__).resolve().parent.parent
    for path in sorted(directory.glob("*.frames")):
        read(path)

    lengths = {36: "without readOnly", 37: "with readOnly", -37: "expired", 16: "a ReplyHeader in its place"}
    text = "\n\n".join([
        "Requests by opcode, and the replies to them:\n\n" + requests.text("opcode", OPCODES, replies=replies),
        "Requests without a reply:\n\n" + unanswered.text("opcode", OPCODES, False),
        "Events by type:\n\n" + events.text("type", EVENTS),
        "Errors in reply headers (those inside a multi are not counted):\n\n" + errors.text("code", ERRORS, False),
        "Special xids, both directions for -1, requests for the others:\n\n" + xids.text("xid", XIDS),
        "ConnectResponses by length (negative: with timeout 0):\n\n" + handshakes.text("bytes", lengths, False),
    ])  # fmt: skip
    if target is None:
        print(text)
    else:
        begin, end = "<!-- coverage -->", "<!-- /coverage -->"
        head, _, rest = text_of(target).partition(begin)
        tail = rest.partition(end)[2]
        target.write_text(f"{head}{begin}\n\n{text}\n\n{end}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
