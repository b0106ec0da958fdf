import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.URL;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.Semaphore;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;

/** As gate.py, on the JDK's own server with a virtual thread for each request. */
public final class Gate {
    private static final String BACKEND = System.getenv("BACKEND");
    private static final Semaphore CONNECTIONS = new Semaphore(8);
    private static final ExecutorService VIRTUAL = virtual();
    private static final ExecutorService POOL = Executors.newFixedThreadPool(8);

    public static void main(String[] arguments) throws IOException {
        InetSocketAddress address = new InetSocketAddress(
                System.getenv("HOST"), Integer.parseInt(System.getenv("PORT")));
        HttpServer server = HttpServer.create(address, 1024);
        server.setExecutor(VIRTUAL);
        server.createContext("/", exchange -> {
            int status = 200;
            try {
                String[] parts = exchange.getRequestURI().getPath().split("/");
                work(parts[1], parts[2]);
            } catch (Exception error) {
                error.printStackTrace();
                status = 500;
            }
            answer(exchange, status);
        });
        server.start();
    }

    private static void work(String way, String id) throws Exception {
        switch (way) {
            case "three":
                Future<?>[] calls = new Future<?>[3];
                for (int number = 0; number < calls.length; number++) {
                    calls[number] = VIRTUAL.submit(get(way, number, id));
                }
                for (Future<?> call : calls) {
                    call.get(30, TimeUnit.SECONDS);
                }
                break;
            case "task":
                VIRTUAL.submit(get(way, 0, id)).get(30, TimeUnit.SECONDS);
                break;
            case "thread":
                POOL.submit(get(way, 0, id)).get(30, TimeUnit.SECONDS);
                break;
            case "two":
                get(way, 0, id).call();
                Thread.sleep(ThreadLocalRandom.current().nextInt(10));
                get(way, 1, id).call();
                break;
            default:
                get(way, 0, id).call();
        }
    }

    private static Callable<Void> get(String way, int number, String id) {
        return () -> {
            URL url = URI.create(BACKEND + "/" + way + "-" + number + "/" + id).toURL();
            CONNECTIONS.acquire();
            try (InputStream body = url.openStream()) {
                body.readAllBytes();
            } finally {
                CONNECTIONS.release();
            }
            return null;
        };
    }

    private static void answer(HttpExchange exchange, int status) throws IOException {
        byte[] body = "ok".getBytes();
        exchange.sendResponseHeaders(status, body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }

    /** What compilers before JDK 21 do not know. */
    private static ExecutorService virtual() {
        try {
            return (ExecutorService) Executors.class
                    .getMethod("newVirtualThreadPerTaskExecutor").invoke(null);
        } catch (ReflectiveOperationException error) {
            throw new IllegalStateException(error);
        }
    }
}
