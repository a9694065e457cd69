import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.retry.RetryOneTime;

/**
 * Curator's locks, controlled by a test: one command per line of input, one answer per line of output, after
 * "> ".
 *
 * <pre>
 * acquire KIND PATH MILLIS           held, or timeout
 * release KIND PATH                  released
 * contend KIND PATH THREADS ROUNDS DIRECTORY     number of entries, and of overlaps
 * lease PATH LEASES                  held
 * </pre>
 */
public final class CuratorClient {
    private static CuratorFramework client;
    private static final Map<String, InterProcessLock> HELD = new HashMap<>();
    private static final List<Lease> LEASES = new ArrayList<>();

    public static void main(String[] args) throws Exception {
        client = CuratorFrameworkFactory.newClient(args[0], 30_000, 15_000, new RetryOneTime(100));
        client.start();
        client.blockUntilConnected();
        answer("ready");
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in));
        String line;
        while ((line = commands.readLine()) != null) {
            try {
                answer(run(line.split(" ")));
            } catch (Exception error) {
                answer("failed: " + error);
            }
        }
        System.exit(0);
    }

    private static void answer(String text) {
        System.out.println("> " + text);
        System.out.flush();
    }

    private static String run(String[] words) throws Exception {
        String key = words[1] + " " + words[2];
        switch (words[0]) {
            case "acquire":
                InterProcessLock lock = lock(words[1], words[2]);
                if (!lock.acquire(Long.parseLong(words[3]), TimeUnit.MILLISECONDS)) {
                    return "timeout";
                }
                HELD.put(key, lock);
                return "held";
            case "release":
                HELD.remove(key).release();
                return "released";
            case "contend":
                return contend(words[1], words[2], Integer.parseInt(words[3]), Integer.parseInt(words[4]),
                        new File(words[5]));
            case "lease":
                LEASES.add(new InterProcessSemaphoreV2(client, words[1], Integer.parseInt(words[2])).acquire());
                return "held";
            default:
                throw new IllegalArgumentException(words[0]);
        }
    }

    private static InterProcessLock lock(String kind, String path) {
        switch (kind) {
            case "mutex":
                return new InterProcessMutex(client, path);
            case "read":
                return new InterProcessReadWriteLock(client, path).readLock();
            case "write":
                return new InterProcessReadWriteLock(client, path).writeLock();
            default:
                throw new IllegalArgumentException(kind);
        }
    }

    /** Kind "sides" uses read and write locks in turn. */
    private static String contend(String kind, String path, int threads, int rounds, File directory)
            throws InterruptedException {
        AtomicInteger entries = new AtomicInteger();
        AtomicInteger overlaps = new AtomicInteger();
        List<Thread> all = new ArrayList<>();
        for (int n = 0; n < threads; n++) {
            String name = kind.equals("sides") ? (n % 2 == 0 ? "write" : "read") : kind;
            Thread thread = new Thread(() -> {
                for (int round = 0; round < rounds; round++) {
                    try {
                        InterProcessLock lock = lock(name, path);
                        lock.acquire();
                        try {
                            if (!visit(directory, !name.equals("read"))) {
                                overlaps.incrementAndGet();
                            }
                            entries.incrementAndGet();
                        } finally {
                            lock.release();
                        }
                    } catch (Exception error) {
                        System.err.println(error);
                    }
                }
            });
            all.add(thread);
            thread.start();
        }
        for (Thread thread : all) {
            thread.join();
        }
        return entries + " " + overlaps;
    }

    /** Enters and leaves the critical section. Returns whether no other holder was there. The test does the same. */
    private static boolean visit(File directory, boolean alone) throws IOException, InterruptedException {
        File own = new File(directory, alone ? "alone" : "shared-" + UUID.randomUUID());
        boolean made = own.createNewFile();
        boolean others = false;
        for (String name : directory.list()) {
            others |= alone ? name.startsWith("shared-") : name.equals("alone");
        }
        Thread.sleep(1);
        if (made) {
            own.delete();
        }
        return made && !others;
    }
}
