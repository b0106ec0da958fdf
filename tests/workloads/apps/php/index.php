<?php
// The common contract on PHP: Apache prefork and PHP-FPM give each request a process of its own.

function answer(string $id, array $more, int $status = 200): void
{
    http_response_code($status);
    header('Content-Type: application/json');
    $service = getenv('SERVICE') ?: ($_SERVER['SERVICE'] ?? 'php');
    $body = json_encode(['service' => $service, 'pid' => getmypid(), 'id' => $id] + $more, JSON_UNESCAPED_SLASHES);
    header('Content-Length: ' . strlen($body));
    echo $body;
}

function hop(string $id): void
{
    [$first, $rest] = explode(',', $_GET['via'] ?? '', 2) + ['', ''];
    if ($first === '') {
        answer($id, ['next' => null]);
        return;
    }
    $call = curl_init("$first/hop/$id" . ($rest === '' ? '' : '?via=' . urlencode($rest)));
    curl_setopt($call, CURLOPT_RETURNTRANSFER, true);
    $body = curl_exec($call);
    if ($body === false || curl_getinfo($call, CURLINFO_RESPONSE_CODE) !== 200) {
        answer($id, ['error' => curl_error($call)], 502);
        return;
    }
    answer($id, ['next' => json_decode($body)]);
}

function body(int $size, bool $known): void
{
    header('Content-Type: application/octet-stream');
    if ($known) {
        header("Content-Length: $size");
    }
    for ($left = $size; $left > 0; $left -= 1000) {
        echo str_repeat('x', min($left, 1000));
        if (!$known) {
            flush();
        }
    }
}

$parts = explode('/', trim(parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH), '/'));
switch ($parts[0] . ':' . count($parts)) {
    case 'hop:2':
        hop($parts[1]);
        break;
    case 'slow:3':
        usleep(1000 * (int) $parts[1]);
        answer($parts[2], ['next' => null]);
        break;
    case 'fail:2':
        answer($parts[1], ['next' => null], 500);
        break;
    case 'body:3':
        body((int) $parts[1], true);
        break;
    case 'chunked:3':
        body((int) $parts[1], false);
        break;
    case 'upload:2':
        answer($parts[1], ['received' => strlen(file_get_contents('php://input'))]);
        break;
    default:
        http_response_code(404);
}
