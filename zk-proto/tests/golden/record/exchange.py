#!/usr/bin/env python3
"""Drives kazoo through the recording proxy.

    exchange.py PROXY NAME

NAME is `guide` (the steps of kazoo's "Basic Usage"), `resume` (the connection is
cut) or `edge` (what the Java client would refuse to send). Each works under the
node "/kazoo-NAME".
"""

import socket
import sys
import threading

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import BadVersionError, KazooException, NoNodeError, RolledBackError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.security import make_digest_acl

proxy, name = sys.argv[1:]
root = "/kazoo-" + name


def tell(text):
    """A command to the proxy, see there."""
    host, port = proxy.split(":")
    with socket.create_connection((host, int(port))) as control:
        control.sendall(text.encode())
        control.shutdown(socket.SHUT_WR)
        control.recv(2)


def note(text):
    tell("note" + text)


def guide():
    zk = KazooClient(hosts=proxy, timeout=4)
    zk.start()
    note("ensure_path, create, create with makepath, ephemeral, sequence")
    zk.ensure_path(root + "/my/favorite")
    zk.create(root + "/my/favorite/node", b"a value")
    zk.create(root + "/deep/er/node", b"", makepath=True)
    zk.create(root + "/e", b"", ephemeral=True)
    zk.create(root + "/s-", b"", ephemeral=True, sequence=True)
    zk.create(root + "/stat", b"x", include_data=True)

    note("exists, get, get_children, with Stat, missing")
    assert zk.exists(root + "/my/favorite")
    assert zk.get(root + "/my/favorite/node")[0] == b"a value"
    assert zk.get_children(root + "/my/favorite") == ["node"]
    zk.get_children(root, include_data=True)
    assert zk.exists(root + "/missing") is None
    try:
        zk.get(root + "/missing")
        raise AssertionError
    except NoNodeError:
        pass

    note("set, set with a bad version")
    zk.set(root + "/my/favorite/node", b"some data")
    try:
        zk.set(root + "/my/favorite/node", b"other", version=7)
        raise AssertionError
    except BadVersionError:
        pass

    note("a watch function for get_children, then for exists")
    fired = threading.Event()
    zk.get_children(root + "/my", watch=lambda event: fired.set())
    zk.create(root + "/my/new")
    assert fired.wait(10)
    fired.clear()
    zk.exists(root + "/my/new", watch=lambda event: fired.set())
    zk.delete(root + "/my/new")
    assert fired.wait(10)

    note("ChildrenWatch and DataWatch")
    seen = []
    full = threading.Event()
    gone = threading.Event()

    @zk.ChildrenWatch(root + "/my")
    def on_children(children):
        seen.append(children)

    @zk.DataWatch(root + "/my")
    def on_data(data, stat):
        seen.append(data)
        if data == b"changed":
            full.set()
        elif full.is_set() and stat is None:
            gone.set()

    zk.create(root + "/my/second")
    zk.set(root + "/my", b"changed")
    assert full.wait(10)

    note("transaction: check and create, then one that fails")
    transaction = zk.transaction()
    transaction.check(root + "/my/favorite/node", version=1)
    transaction.create(root + "/t", b"a value")
    transaction.set_data(root + "/t", b"b")
    transaction.delete(root + "/my/second")
    transaction.commit()
    transaction = zk.transaction()
    transaction.check(root + "/my/favorite/node", version=7)
    transaction.create(root + "/u", b"a value")
    results = transaction.commit()
    assert isinstance(results[0], BadVersionError)
    assert isinstance(results[1], (RolledBackError, KazooException))

    note("add_auth, set_acls, get_acls, sync")
    zk.add_auth("digest", "user:secret")
    zk.set_acls(root + "/t", [make_digest_acl("user", "secret", all=True)])
    zk.get_acls(root + "/t")
    zk.sync(root)

    note("delete, delete recursive, stop")
    zk.delete(root + "/t")
    zk.delete(root + "/my", recursive=True)
    assert gone.wait(10)  # the DataWatch has looked again
    zk.stop()
    zk.close()


def resume():
    zk = KazooClient(hosts=proxy, timeout=10)
    states = []
    back = threading.Event()

    def listener(state):
        states.append(state)
        if state == KazooState.CONNECTED:
            back.set()

    zk.start()
    zk.add_auth("digest", "user:secret")
    zk.create(root, b"one")
    zk.get(root, watch=lambda event: None)
    zk.add_listener(listener)
    tell("cut!")
    assert back.wait(10)
    note("kazoo sends its credentials again, and no setWatches")
    zk.set(root, b"two")
    zk.stop()
    zk.close()


def edge():
    zk = KazooClient(hosts=proxy, timeout=4)
    zk.start()
    zk.create(root)
    note("a name outside the basic multilingual plane; a control character; null data")
    for node, value in (("/\U0001f600", b""), ("/\x01", b""), ("/null", None)):
        try:
            zk.create(root + node, value)
        except (KazooException, TypeError) as error:
            note("that gave " + type(error).__name__)
    zk.stop()
    zk.close()

    # a client that has seen more than this server: no answer, the server closes
    zk = KazooClient(hosts=proxy, timeout=4)
    zk.last_zxid = 0x7FFFFFFF
    try:
        zk.start(timeout=1)
        raise AssertionError
    except KazooTimeoutError:
        pass
    zk.stop()


{"guide": guide, "resume": resume, "edge": edge}[name]()
