"""A plugin for pytest that gives kazoo's own tests a server that is there already, in place of the
cluster that kazoo would start.

The server is that of `controlled-server`, whose path SERVER_BIN is, of the kind that SERVER is, `real` or `embedded`.
What became of each test goes to the file RESULTS, a line each: `passed NAME`.
"""

import os
import subprocess
import sys
import types

# kazoo makes certificates with these, for servers with TLS.
for module in ("OpenSSL", "jks"):
    sys.modules.setdefault(module, types.ModuleType(module))

import kazoo.testing.harness as harness  # noqa: E402

# What one server without TLS and SASL cannot be asked, by file, class or test, and why.
EXCLUDED = {
    "test_update_host_list": "stops one of several servers",
    "TestReadOnlyMode": "stops two of three servers",
    "TestSSLClient": "wants TLS",
    "test_sasl.py": "wants SASL",
}


class Server:
    """The server, in the terms of kazoo's ManagedZooKeeper."""

    def __init__(self):
        self.process = subprocess.Popen(
            [os.environ["SERVER_BIN"], os.environ["SERVER"]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.address = self.process.stdout.readline().strip()
        self.running = bool(self.address)
        if not self.running:
            raise RuntimeError("the server has not started")

    def tell(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        if self.process.stdout.readline() != "ok\n":
            raise RuntimeError("the server has ended")

    def stop(self):
        if self.running:
            self.tell("stop")
        self.running = False

    def run(self):
        if not self.running:
            self.tell("run")
        self.running = True

    def end(self):
        self.process.stdin.close()
        self.process.wait()


class Cluster(list):
    """The server, in the terms of kazoo's ZookeeperCluster."""

    def start(self):
        for server in self:
            server.run()

    def terminate(self):
        """Does nothing: kazoo does it after each class of tests."""

    def get_logs(self):
        return []


cluster = Cluster()
harness.get_global_cluster = lambda: cluster
results = {}


def pytest_sessionstart():
    cluster.append(Server())


def pytest_sessionfinish():
    for server in cluster:
        server.end()
    with open(os.environ["RESULTS"], "w") as file:
        file.writelines(f"{outcome} {name}\n" for name, outcome in sorted(results.items()))


def name_of(nodeid):
    file, _, test = nodeid.partition("::")
    return f"{os.path.basename(file)}::{test}"


def pytest_collection_modifyitems(config, items):
    excluded = [item for item in items if is_excluded(name_of(item.nodeid))]
    config.hook.pytest_deselected(items=excluded)
    items[:] = [item for item in items if item not in excluded]


def is_excluded(name):
    return any(part in EXCLUDED for part in name.split("::"))


def pytest_runtest_logreport(report):
    name = name_of(report.nodeid)
    # A test has passed if nothing of it has failed, be it in its preparation or afterwards.
    if results.get(name) in (None, "passed"):
        results[name] = report.outcome
