import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.URLDecoder;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.Executors;

/** The common contract on the JDK's own server: a pool of blocking threads. */
public final class Hop {
    private static final String SERVICE = environment("SERVICE", "java");

    private interface Route {
        void serve(HttpExchange exchange, String[] parts) throws Exception;
    }

    public static void main(String[] arguments) throws IOException {
        InetSocketAddress address = new InetSocketAddress(
                environment("HOST", "127.0.0.1"), Integer.parseInt(environment("PORT", "8080")));
        HttpServer server = HttpServer.create(address, 1024);
        server.setExecutor(Executors.newFixedThreadPool(64));
        route(server, "/hop/", 1, Hop::hop);
        route(server, "/slow/", 2, Hop::slow);
        route(server, "/fail/", 1, (exchange, parts) -> json(exchange, 500, parts[0], "\"next\":null"));
        route(server, "/body/", 2, (exchange, parts) -> bytes(exchange, Integer.parseInt(parts[0]), true));
        route(server, "/chunked/", 2, (exchange, parts) -> bytes(exchange, Integer.parseInt(parts[0]), false));
        route(server, "/upload/", 1, Hop::upload);
        server.start();
    }

    private static void hop(HttpExchange exchange, String[] parts) throws IOException {
        String via = "";
        String query = exchange.getRequestURI().getRawQuery();
        if (query != null && query.startsWith("via=")) {
            via = URLDecoder.decode(query.substring(4), StandardCharsets.UTF_8);
        }
        if (via.isEmpty()) {
            json(exchange, 200, parts[0], "\"next\":null");
            return;
        }
        int comma = via.indexOf(',');
        String target = (comma < 0 ? via : via.substring(0, comma)) + "/hop/" + parts[0];
        if (comma >= 0) {
            target += "?via=" + URLEncoder.encode(via.substring(comma + 1), StandardCharsets.UTF_8);
        }
        HttpURLConnection connection = (HttpURLConnection) URI.create(target).toURL().openConnection();
        try (InputStream body = connection.getInputStream()) {
            String inner = new String(body.readAllBytes(), StandardCharsets.UTF_8);
            json(exchange, 200, parts[0], "\"next\":" + inner);
        }
    }

    private static void slow(HttpExchange exchange, String[] parts) throws Exception {
        Thread.sleep(Long.parseLong(parts[0]));
        json(exchange, 200, parts[1], "\"next\":null");
    }

    private static void upload(HttpExchange exchange, String[] parts) throws IOException {
        long received = exchange.getRequestBody().transferTo(OutputStream.nullOutputStream());
        json(exchange, 200, parts[0], "\"received\":" + received);
    }

    private static void bytes(HttpExchange exchange, int size, boolean known) throws IOException {
        exchange.getResponseHeaders().set("Content-Type", "application/octet-stream");
        exchange.sendResponseHeaders(200, known ? (size == 0 ? -1 : size) : 0);
        byte[] piece = new byte[1000];
        java.util.Arrays.fill(piece, (byte) 'x');
        try (OutputStream body = exchange.getResponseBody()) {
            for (int left = size; left > 0; left -= piece.length) {
                body.write(piece, 0, Math.min(left, piece.length));
            }
        }
    }

    private static void json(HttpExchange exchange, int status, String id, String more) throws IOException {
        byte[] body = String.format("{\"service\":\"%s\",\"pid\":%d,\"id\":\"%s\",%s}",
                SERVICE, ProcessHandle.current().pid(), id, more).getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", "application/json");
        exchange.sendResponseHeaders(status, body.length);
        try (OutputStream out = exchange.getResponseBody()) {
            out.write(body);
        }
    }

    private static void route(HttpServer server, String prefix, int count, Route route) {
        server.createContext(prefix, exchange -> {
            String[] parts = exchange.getRequestURI().getPath().substring(prefix.length()).split("/");
            try {
                if (parts.length == count) {
                    route.serve(exchange, parts);
                } else {
                    exchange.sendResponseHeaders(404, -1);
                }
            } catch (IOException error) {
                exchange.sendResponseHeaders(502, -1);
            } catch (Exception error) {
                exchange.sendResponseHeaders(400, -1);
            } finally {
                exchange.close();
            }
        });
    }

    private static String environment(String name, String fallback) {
        String value = System.getenv(name);
        return value == null || value.isEmpty() ? fallback : value;
    }
}
