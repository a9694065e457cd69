"""A kazoo client that a test controls: it reads one command per line and prints one answer per line.

Words are separated by blanks. Text and bytes are "x" and their hex digits, None is "-", a stat is its
eleven numbers joined by commas, and an ACL is its entries as PERMS:SCHEME:ID joined by commas. An answer
is "ok" and the results, or "error" and the name of the exception. The program ends with its input.

    client.py HOSTS
"""

import queue
import sys
import threading

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.security import ACL, Id, Permissions, make_digest_acl


def to_bytes(word):
    return None if word == "-" else bytes.fromhex(word[1:])


def to_text(word):
    return None if word == "-" else to_bytes(word).decode("utf-8")


def to_acl(word):
    acls = []
    for entry in word.split(","):
        perms, scheme, id = entry.split(":")
        acls.append(ACL(int(perms), Id(to_text(scheme), to_text(id))))
    return acls


def from_value(value):
    if value is None:
        return "-"
    if isinstance(value, str):
        value = value.encode("utf-8")
    return "x" + value.hex()


def from_stat(stat):
    return ",".join(str(number) for number in stat)


def from_acl(acl):
    return ",".join(f"{a.perms}:{from_value(a.id.scheme)}:{from_value(a.id.id)}" for a in acl)


def node_kind(letters):
    return {"ephemeral": "e" in letters, "sequence": "s" in letters}


class CommandClient:
    def __init__(self, hosts):
        self.zk = KazooClient(hosts=hosts, timeout=20)
        self.events = queue.Queue()
        self.acquires = {}
        self.zk.start(timeout=20)

    def session(self):
        return [str(self.zk.client_id[0])]

    def create(self, path, value, acl, kind):
        path, stat = self.zk.create(
            to_text(path), to_bytes(value), acl=to_acl(acl), include_data=True, **node_kind(kind)
        )
        return [from_value(path), from_stat(stat)]

    def create_without_stat(self, path, value, acl, kind):
        path = self.zk.create(to_text(path), to_bytes(value), acl=to_acl(acl), **node_kind(kind))
        return [from_value(path)]

    def get(self, path):
        value, stat = self.zk.get(to_text(path))
        return [from_value(value), from_stat(stat)]

    def exists(self, path):
        stat = self.zk.exists(to_text(path))
        return ["-" if stat is None else from_stat(stat)]

    def children(self, path):
        children, stat = self.zk.get_children(to_text(path), include_data=True)
        return [from_stat(stat)] + [from_value(child) for child in sorted(children)]

    def set(self, path, value, version):
        return [from_stat(self.zk.set(to_text(path), to_bytes(value), int(version)))]

    def delete(self, path, version):
        self.zk.delete(to_text(path), int(version))
        return []

    def sync(self, path):
        return [from_value(self.zk.sync(to_text(path)))]

    def acls(self, path):
        acl, stat = self.zk.get_acls(to_text(path))
        return [from_acl(acl), from_stat(stat)]

    def set_acls(self, path, acl, version):
        return [from_stat(self.zk.set_acls(to_text(path), to_acl(acl), int(version)))]

    def digest(self, user, password, perms):
        perms = int(perms)
        names = ("read", "write", "create", "delete", "admin")
        given = {name: bool(perms & getattr(Permissions, name.upper())) for name in names}
        return [from_acl([make_digest_acl(to_text(user), to_text(password), **given)])]

    def add_auth(self, scheme, credential):
        self.zk.add_auth(to_text(scheme), to_text(credential))
        return []

    def transaction(self, *words):
        """Operations are separated by "+"."""
        transaction = self.zk.transaction()
        for operation in " ".join(words).split(" + "):
            name, path, *rest = operation.split(" ")
            path = to_text(path)
            if name == "create":
                value, acl, kind = rest
                transaction.create(path, to_bytes(value), to_acl(acl), **node_kind(kind))
            elif name == "set":
                transaction.set_data(path, to_bytes(rest[0]), int(rest[1]))
            elif name == "delete":
                transaction.delete(path, int(rest[0]))
            elif name == "check":
                transaction.check(path, int(rest[0]))
            else:
                raise ValueError(name)
        return [self.result(result) for result in transaction.commit()]

    @staticmethod
    def result(result):
        if isinstance(result, Exception):
            return type(result).__name__
        if result is True:
            return "done"
        return from_value(result) if isinstance(result, str) else from_stat(result)

    def watch(self, path):
        """Watches a node for its creation, deletion and changes of its data."""
        return ["-" if self.zk.exists(to_text(path), watch=self.events.put) is None else "there"]

    def watch_children(self, path):
        self.zk.get_children(to_text(path), watch=self.events.put)
        return []

    def event(self):
        event = self.events.get(timeout=20)
        return [event.type, from_value(event.path)]

    def lock(self, name, kind, path, identifier, *patterns):
        """Makes a Lock, ReadLock or WriteLock, called `name` in later commands."""
        patterns = [to_text(pattern) for pattern in patterns]
        make = getattr(self.zk, kind)
        lock = make(to_text(path), to_text(identifier), extra_lock_patterns=patterns)
        self.acquires[name] = BackgroundAcquire(lock)
        return []

    def semaphore(self, name, path, identifier, leases):
        semaphore = self.zk.Semaphore(to_text(path), to_text(identifier), int(leases))
        self.acquires[name] = BackgroundAcquire(semaphore)
        return []

    def acquire(self, name, timeout):
        """Waits for some seconds, and returns whether the lock or semaphore is held."""
        return [yes(self.acquires[name].acquire(float(timeout)))]

    def release(self, name):
        self.acquires[name].recipe.release()
        return []

    def contenders(self, name):
        return [from_value(contender) for contender in self.acquires[name].recipe.contenders()]

    def lease_holders(self, name):
        return [from_value(holder) for holder in sorted(self.acquires[name].recipe.lease_holders())]


class BackgroundAcquire:
    """A lock or a semaphore, and the thread that waits for it."""

    def __init__(self, recipe):
        self.recipe = recipe
        self.waiter = None
        self.error = None

    def acquire(self, timeout):
        if self.waiter is None:
            self.waiter = threading.Thread(target=self.wait, daemon=True)
            self.waiter.start()
        self.waiter.join(timeout)
        if self.waiter.is_alive():
            return False
        self.waiter = None
        if self.error:
            raise self.error
        return self.recipe.is_acquired

    def wait(self):
        try:
            self.recipe.acquire()
        except (KazooException, ValueError) as error:
            self.error = error


def yes(answer):
    return "yes" if answer else "no"


def main():
    client = CommandClient(sys.argv[1])
    print("ok", flush=True)
    for line in sys.stdin:
        name, *words = line.split()
        try:
            answer = ["ok"] + getattr(client, name)(*words)
        except (KazooException, ValueError, queue.Empty) as error:
            answer = ["error", type(error).__name__]
        print(*answer, flush=True)
    client.zk.stop()


if __name__ == "__main__":
    main()
