import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.ArrayDeque;
import java.util.Queue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ThreadLocalRandom;

/**
 * As gate.py, on the JDK's own server with a pool of threads, and its HttpClient, whose threads send and read.
 * Fewer calls at once than requests: who is done sends for who waits.
 */
public final class Client {
    private static final String BACKEND = System.getenv("BACKEND");
    private static final HttpClient CLIENT =
            HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    private static final ExecutorService POOL = Executors.newFixedThreadPool(8);
    private static final Queue<Runnable> WAITING = new ArrayDeque<>();
    private static int free = 8;

    public static void main(String[] arguments) throws IOException {
        InetSocketAddress address = new InetSocketAddress(
                System.getenv("HOST"), Integer.parseInt(System.getenv("PORT")));
        HttpServer server = HttpServer.create(address, 1024);
        server.setExecutor(Executors.newFixedThreadPool(32));
        server.createContext("/", exchange -> {
            String[] parts = exchange.getRequestURI().getPath().split("/");
            try {
                work(exchange, parts[1], parts[2]);
            } catch (Exception error) {
                error.printStackTrace();
                answer(exchange, 500);
            }
        });
        server.start();
    }

    private static void work(HttpExchange exchange, String way, String id) throws Exception {
        switch (way) {
            case "three":
                CompletableFuture<?>[] calls = new CompletableFuture<?>[3];
                for (int number = 0; number < calls.length; number++) {
                    calls[number] = CLIENT.sendAsync(get(way, number, id), BodyHandlers.ofString());
                }
                CompletableFuture.allOf(calls).get();
                break;
            case "task":
                queued(get(way, 0, id)).whenComplete((ok, error) -> answer(exchange, error == null ? 200 : 500));
                return;
            case "thread":
                POOL.submit(() -> CLIENT.send(get(way, 0, id), BodyHandlers.ofString())).get();
                break;
            case "two":
                CLIENT.send(get(way, 0, id), BodyHandlers.ofString());
                Thread.sleep(ThreadLocalRandom.current().nextInt(10));
                CLIENT.sendAsync(get(way, 1, id), BodyHandlers.ofString()).get();
                break;
            default:
                CLIENT.send(get(way, 0, id), BodyHandlers.ofString());
        }
        answer(exchange, 200);
    }

    private static HttpRequest get(String way, int number, String id) {
        return HttpRequest.newBuilder(URI.create(BACKEND + "/" + way + "-" + number + "/" + id)).build();
    }

    private static CompletableFuture<Object> queued(HttpRequest request) {
        CompletableFuture<Object> done = new CompletableFuture<>();
        Runnable send = () -> CLIENT.sendAsync(request, BodyHandlers.ofString()).whenComplete((response, error) -> {
            next();
            if (error == null) {
                done.complete(response);
            } else {
                done.completeExceptionally(error);
            }
        });
        synchronized (WAITING) {
            if (free == 0) {
                WAITING.add(send);
                return done;
            }
            free--;
        }
        send.run();
        return done;
    }

    private static void next() {
        Runnable send;
        synchronized (WAITING) {
            send = WAITING.poll();
            if (send == null) {
                free++;
                return;
            }
        }
        send.run();
    }

    private static void answer(HttpExchange exchange, int status) {
        byte[] body = "ok".getBytes();
        try {
            exchange.sendResponseHeaders(status, body.length);
            exchange.getResponseBody().write(body);
        } catch (IOException error) {
            error.printStackTrace();
        }
        exchange.close();
    }
}
