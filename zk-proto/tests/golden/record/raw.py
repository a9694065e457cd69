#!/usr/bin/env python3
"""Sends by hand, through the recording proxy, what neither client sends.

    raw.py PROXY

Works under the node "/socket".
"""

import socket
import struct
import sys

host, port = sys.argv[1].split(":")
OPEN = struct.pack(">ii", 1, 31) + b"\0\0\0\5world" + b"\0\0\0\6anyone"


def text(value):
    return struct.pack(">i", len(value)) + value


def vector(*values):
    return struct.pack(">i", len(values)) + b"".join(map(text, values))


def note(value):
    with socket.create_connection((host, int(port))) as control:
        control.sendall(b"note" + value.encode())
        control.shutdown(socket.SHUT_WR)
        control.recv(2)


class Connection:
    def __init__(self, zxid=0, session=0, password=bytes(16), read_only=b"\0", timeout=30000):
        self.socket = socket.create_connection((host, int(port)))
        self.socket.settimeout(10)
        self.frame(struct.pack(">iqiq", 0, zxid, timeout, session) + text(password) + read_only)
        answer = self.read()
        self.session, self.password = struct.unpack_from(">q", answer, 8)[0], answer[20:36]

    def frame(self, payload):
        self.socket.sendall(struct.pack(">i", len(payload)) + payload)

    def read(self):
        length = struct.unpack(">i", self.exactly(4))[0]
        return self.exactly(length)

    def exactly(self, length):
        data = b""
        while len(data) < length:
            more = self.socket.recv(length - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def ask(self, xid, opcode, body=b""):
        """Sends a request, reads until its reply."""
        self.frame(struct.pack(">ii", xid, opcode) + body)
        while (reply := self.read())[:4] != struct.pack(">i", xid):
            pass
        return struct.unpack_from(">i", reply, 12)[0]

    def close(self, xid):
        self.ask(xid, -11)
        self.socket.close()


# The ConnectRequest of a client before 3.4: it ends with the password.
old = Connection(read_only=b"")
note("that one had no readOnly byte: nor has the answer")
old.close(1)

zk = Connection()
zk.ask(1, 1, text(b"/socket") + text(b"one") + OPEN + struct.pack(">i", 0))
note("setWatches with xid -8 and zxid 0, so that all is news: data, exist, child")
zk.ask(-8, 101, struct.pack(">q", 0) + vector(b"/socket", b"/gone") + vector(b"/socket") + vector(b"/socket", b"/gone"))
note("setWatches2 with xid -8 and a zxid of the future, so that nothing is news")
zk.ask(-8, 105, struct.pack(">q", 0x7FFFFFFF)
       + vector(b"/socket") + vector(b"/new") + vector(b"/socket") + vector(b"/socket") + vector(b"/socket"))  # fmt: skip
note("a watch that it set fires: setData")
zk.ask(2, 5, text(b"/socket") + text(b"two") + struct.pack(">i", -1))
note("the greatest xid, then 1, 0, and a negative one that means nothing special")
for xid in (0x7FFFFFFF, 1, 0, -77):
    zk.ask(xid, 3, text(b"/socket") + b"\0")
note("check outside a multi, version 7 (bad): answered; version 1 (good): never; then exists")
zk.ask(3, 13, text(b"/socket") + struct.pack(">i", 7))
zk.frame(struct.pack(">ii", 4, 13) + text(b"/socket") + struct.pack(">i", 1))
zk.ask(5, 3, text(b"/socket") + b"\0")

# The same session a second time, on the same server.
twin = Connection(session=zk.session, password=zk.password)
note("the session of the connection before, which is still open")
twin.ask(1, 3, text(b"/socket") + b"\0")
twin.close(2)

bad = Connection()
note("auth with an unknown scheme: its reply is an error, and the server closes")
try:
    bad.ask(-4, 100, struct.pack(">i", 0) + text(b"nosuch") + text(b"user"))
    bad.read()
    raise AssertionError
except EOFError:
    pass
