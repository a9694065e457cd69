"""A pytest plugin that runs kazoo's own tests on a given server instead of the cluster that kazoo starts.

SERVER_BIN is the path of the program `controlled-server`, and SERVER its argument, `real` or `embedded`.
The result of each test is written to the file RESULTS, one per line: `passed NAME`.
"""

import os
import subprocess
import sys
import types

# kazoo makes certificates with these, for servers with TLS.
for module in ("OpenSSL", "jks"):
    sys.modules.setdefault(module, types.ModuleType(module))

import kazoo.testing.harness as harness  # noqa: E402

# Tests that need more than one server without TLS and SASL, by file, class or test, and why.
EXCLUDED = {
    "test_update_host_list": "stops one of several servers",
    "TestReadOnlyMode": "stops two of three servers",
    "TestSSLClient": "wants TLS",
    "test_sasl.py": "wants SASL",
}


class Server:
    """The server, with the interface of kazoo's ManagedZooKeeper."""

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
    """The server, with the interface of kazoo's ZookeeperCluster."""

    def start(self):
        for server in self:
            server.run()

    def terminate(self):
        """Does nothing, because kazoo calls it after each class of tests."""

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
    # A test has passed if its setup, call and teardown have all passed.
    if results.get(name) in (None, "passed"):
        results[name] = report.outcome
