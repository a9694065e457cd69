"""kazoo's part in the benchmark `locks`: many contenders for one lock.

    kazoo_lock.py HOSTS PATH CLIENTS CONTENDERS

Prints "ready" once all contenders wait. After a line of input, the first holder releases the lock. Then prints, for each
holder in the order of acquisition, "ACQUIRED RELEASING" in nanoseconds of the monotonic clock.
"""

import sys
import threading
import time

from kazoo.client import KazooClient
from kazoo.recipe.lock import Lock


def main():
    hosts, path, clients, contenders = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    threading.stack_size(256 * 1024)
    zks = [KazooClient(hosts=hosts, timeout=30) for _ in range(clients)]
    for zk in zks:
        zk.start()
    zks[0].ensure_path(path)
    held = []
    first = Lock(zks[0], path)
    first.acquire()

    def contend(zk):
        lock = Lock(zk, path)
        lock.acquire()
        acquired = time.monotonic_ns()
        held.append((acquired, time.monotonic_ns()))
        lock.release()

    threads = [
        threading.Thread(target=contend, args=(zks[number % clients],)) for number in range(contenders)
    ]
    for thread in threads:
        thread.start()
    while len(zks[0].get_children(path)) <= contenders:
        time.sleep(0.05)
    # Lets the last contenders set their watches.
    time.sleep(1)
    print("ready", flush=True)
    sys.stdin.readline()
    now = time.monotonic_ns()
    first.release()
    for thread in threads:
        thread.join()
    print(now, now)
    for acquired, releasing in held:
        print(acquired, releasing)
    for zk in zks:
        zk.stop()


main()
