// Two of upstream's own clients, compiled to WebAssembly, exchange a plain and an anonymous message.
//
//   node exchange.cjs NYM_API_URL GATEWAY_IDENTITY_A GATEWAY_IDENTITY_B
//
// Prints one JSON object: what each side received. Exit code 0 when everything arrived.
"use strict";

require("fake-indexeddb/auto");
global.WebSocket = require("ws");
global.self = global;
global.window = global;

// The module frees closures that timers still hold; upstream's own programs live with it.
process.on("uncaughtException", (error) => {
  if (String(error).includes("closure invoked recursively or after being dropped")) return;
  console.error(error);
  process.exit(2);
});

const upstream = require("@nymproject/nym-client-wasm-node");
const { NymClient } = upstream;

const [nymApiUrl, gatewayA, gatewayB] = process.argv.slice(2);
const TIMEOUT_MS = 90_000;
const BIG = 40_000;

const BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const TAG_BYTES = 16;

// The callback hands over an opaque object, send_reply wants base58, and nothing in the package turns one into the
// other: read the 16 bytes behind the object's borrow counter.
function tagText(tag) {
  const bytes = new Uint8Array(upstream.__wasm.memory.buffer, tag.__wbg_ptr + 4, TAG_BYTES);
  let number = bytes.reduce((sum, byte) => sum * 256n + BigInt(byte), 0n);
  let text = "";
  for (; number > 0n; number /= 58n) text = BASE58[Number(number % 58n)] + text;
  return "1".repeat(bytes.findIndex((byte) => byte !== 0)) + text;
}

function inbox() {
  const messages = [];
  const waiting = [];
  return {
    deliver(...received) {
      const next = waiting.shift();
      if (next) next(received);
      else messages.push(received);
    },
    next() {
      if (messages.length) return Promise.resolve(messages.shift());
      return new Promise((resolve) => waiting.push(resolve));
    },
  };
}

async function client(clientId, preferredGateway) {
  const box = inbox();
  const nym = await new NymClient((...received) => box.deliver(...received), {
    clientId,
    nymApiUrl,
    preferredGateway,
    forceTls: false,
  });
  return { nym, box, address: nym.selfAddress() };
}

async function main() {
  const alice = await client("alice", gatewayA);
  const bob = await client("bob", gatewayB);
  const big = new Uint8Array(BIG).map((_, index) => (index * 31 + 7) % 251);

  await alice.nym.send_regular_message(big, bob.address);
  const [plain] = await bob.box.next();
  const plainIntact = plain.length === big.length && plain.every((byte, index) => byte === big[index]);

  await alice.nym.send_anonymous_message(new TextEncoder().encode("who is there?"), bob.address, 15);
  const [question, tag] = await bob.box.next();
  await bob.nym.send_reply(new TextEncoder().encode("somebody"), tagText(tag));
  const [answer] = await alice.box.next();

  const report = {
    plainIntact,
    question: new TextDecoder().decode(question),
    tagged: tag !== undefined,
    answer: new TextDecoder().decode(answer),
  };
  console.log(JSON.stringify(report));
  const good = plainIntact && report.question === "who is there?" && report.tagged && report.answer === "somebody";
  process.exit(good ? 0 : 1);
}

setTimeout(() => {
  console.error("nothing arrived in time");
  process.exit(3);
}, TIMEOUT_MS).unref();

main().catch((error) => {
  console.error(error);
  process.exit(2);
});
