// What workerd and deno serve beside the guests: the same answers, work.js's work under the same paths.

function transform(input) {
  let all = 0;
  const orders = input.orders.map((order) => {
    let total = 0;
    for (const line of order.lines) total += line.quantity * line.price;
    all += total;
    return { id: order.id, customer: order.customer.name.toUpperCase(), total };
  });
  return { count: orders.length, total: all, orders };
}

function isPrime(n) {
  for (let d = 2; d * d <= n; d++) if (n % d === 0) return false;
  return true;
}

function primes() {
  let count = 0;
  for (let n = 2; n < 30000; n++) if (isPrime(n)) count++;
  return { primes: count };
}

const json = (value) =>
  new Response(JSON.stringify(value), { headers: { "content-type": "application/json" } });

export default {
  async fetch(request) {
    switch (new URL(request.url).pathname) {
      case "/":
        return new Response("hello from js\n", { headers: { "x-guest": "js/hello" } });
      case "/transform":
        return json(transform(await request.json()));
      case "/primes":
        return json(primes());
    }
    return new Response(null, { status: 404 });
  },
};
