// Work for benchmarks: `/transform` sums up the orders in its body, which is JSON, and answers in JSON; `/primes` counts
// the primes below 30000. The servers that are measured beside this one do the same work.

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

async function work(request) {
  let answer;
  switch (new URL(request.url).pathname) {
    case "/transform":
      answer = transform(await request.json());
      break;
    case "/primes":
      answer = primes();
      break;
    default:
      return new Response(null, { status: 404 });
  }
  return new Response(JSON.stringify(answer), { headers: { "content-type": "application/json" } });
}

addEventListener("fetch", (event) => event.respondWith(work(event.request)));
