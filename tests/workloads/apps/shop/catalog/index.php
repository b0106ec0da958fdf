<?php
// Names and prices; how many there are, the stock service knows.

$names = ['shuttle', 'loom', 'heddle', 'bobbin', 'warp', 'reed', 'treadle', 'spindle'];
if (!preg_match('#^/products/(\d+)$#', parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH), $match)) {
    http_response_code(404);
    return;
}
$product = (int) $match[1];
$call = curl_init(getenv('STOCK_URL') . "/stock/$product");
curl_setopt($call, CURLOPT_RETURNTRANSFER, true);
$stock = json_decode(curl_exec($call));
header('Content-Type: application/json');
echo json_encode(['name' => $names[$product % count($names)], 'price' => 10 + $product, 'stock' => $stock]);
