#!/usr/bin/env python3
"""A TCP proxy on 127.0.0.1 that records ZooKeeper frames.

    proxy.py --server HOST:PORT --out FILE [--title TEXT] -- COMMAND...

It listens on a free port, runs COMMAND with every argument `PROXY` replaced by
the address it listens on, and when COMMAND has ended well writes what it saw to
FILE. The format of that file is told by HEADER below.

Everything runs in one thread, and a frame is noted before it is passed on. So a
reply never stands before its request.

COMMAND can steer the proxy: it connects, sends four letters and (for `note`) a
text, shuts its side down, and reads "ok".

    note TEXT  write `# TEXT` into the newest connection
    cut!       close all connections; the next one goes through again
    hold       close all connections, and drop new ones without recording them
    open       end of `hold`
"""

import argparse
import asyncio
import signal
import sys

HEADER = """\
# {title}
#
# One frame a line, in the order in which a proxy between the two saw them.
# `> hex` is client to server, `< hex` server to client. The hex is the frame's
# payload alone: the four bytes of length before it are left out. `= connection`
# starts each TCP connection; its first `>` is the ConnectRequest, its first `<`
# the ConnectResponse. `#` is a comment, also between the frames.
"""

CONTROL = (b"note", b"cut!", b"hold", b"open")


class Recorder:
    def __init__(self, server):
        self.server = server
        self.connections = []  # the lines of each connection, in order of accept
        self.live = {}  # lines' id -> the writers of that connection
        self.held = False

    async def accept(self, reader, writer):
        first = b""
        try:
            if not self.held:
                first = await reader.readexactly(4)
            elif (word := await asyncio.wait_for(reader.readexactly(4), 1)) in CONTROL:
                first = word
        except (asyncio.IncompleteReadError, asyncio.TimeoutError, ConnectionError):
            pass
        # None of these words can be a length: they would be over 1.6 GB.
        if first in CONTROL:
            self.control(first, (await reader.read()).decode())
            writer.write(b"ok")
        elif first:
            await self.relay(first, reader, writer)
        writer.close()

    def control(self, word, text):
        if word == b"note":
            if self.connections:
                self.connections[-1].append(f"# {text.strip()}")
            return
        self.held = {b"hold": True, b"open": False}.get(word, self.held)
        if word != b"open":
            for lines, writers in list(self.live.values()):
                self.closed(lines, "proxy")
                for writer in writers:
                    writer.close()

    async def relay(self, first, reader, writer):
        lines = ["= connection"]
        if first[0] < 0x20:  # else it is a four-letter word such as `isro`
            self.connections.append(lines)
        up_reader, up_writer = await asyncio.open_connection(*self.server)
        self.live[id(lines)] = (lines, (writer, up_writer))
        await asyncio.gather(
            self.pump(">", "client", reader, up_writer, lines, first),
            self.pump("<", "server", up_reader, writer, lines, b""),
        )

    async def pump(self, sign, name, reader, writer, lines, data):
        pending = b""
        try:
            while True:
                pending += data
                while len(pending) >= 4:
                    end = 4 + int.from_bytes(pending[:4], "big")
                    if len(pending) < end:
                        break
                    lines.append(f"{sign} {pending[4:end].hex()}")
                    pending = pending[end:]
                writer.write(data)
                await writer.drain()
                data = await reader.read(65536)
                if not data:
                    break
        except ConnectionError:
            pass
        if pending:
            lines.append(f"# {len(pending)} bytes of an unfinished frame from the {name}")
        self.closed(lines, name)
        writer.close()

    def closed(self, lines, by):
        if self.live.pop(id(lines), None):
            lines.append(f"# closed by the {by}")

    def write(self, path, title):
        with open(path, "w", encoding="utf-8") as out:
            out.write(HEADER.format(title=title))
            for lines in self.connections:
                out.write("\n" + "\n".join(lines) + "\n")


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--title", default="A recorded exchange.")
    parser.add_argument("--limit", type=float, default=40, help="seconds for COMMAND")
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()

    host, port = args.server.rsplit(":", 1)
    recorder = Recorder((host, int(port)))
    listener = await asyncio.start_server(recorder.accept, "127.0.0.1", 0)
    address = "127.0.0.1:%d" % listener.sockets[0].getsockname()[1]
    command = [address if arg == "PROXY" else arg for arg in args.command]

    child = await asyncio.create_subprocess_exec(*command)

    def stop():
        if child.returncode is None:
            child.kill()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
    try:
        code = await asyncio.wait_for(child.wait(), args.limit)
    except asyncio.TimeoutError:
        stop()
        code = await child.wait()
    listener.close()
    recorder.control(b"hold", "")  # close what the command left open
    if code == 0:
        recorder.write(args.out, args.title)
    else:
        print(f"{args.out}: the command failed ({code})", file=sys.stderr)
        recorder.write("/dev/stderr", args.title)
    return 1 if code else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
