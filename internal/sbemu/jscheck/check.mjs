// What Microsoft's JavaScript SDK does against the double, one line per check:
// "ok NAME" or "failed NAME: why". It is a second, independent client: it notices
// what the Go SDK lets pass.
//
//   SB_CONNECTION   connection string; queues: orders, sessions (with sessions),
//                   twice (duplicate detection), expiring (time to live ends in
//                   dead letters), few (max. delivery 2), short (lock of 1 s)
//   SB_SECURE       connection string of a double with TLS, SB_SECURE_ADDR its port
import assert from "node:assert/strict";
import tls from "node:tls";
import { ServiceBusClient } from "@azure/service-bus";
import WebSocket from "ws";

const options = { retryOptions: { maxRetries: 2, retryDelayInMs: 50, timeoutInMs: 10000 } };
const once = { retryOptions: { maxRetries: 0, timeoutInMs: 10000 } }; // shows the error itself, not that of several tries
const client = new ServiceBusClient(process.env.SB_CONNECTION, options);
const checks = [];
const check = (name, run) => checks.push({ name, run });
const wait = { maxWaitTimeInMs: 5000 };

async function one(receiver) {
  const [m] = await receiver.receiveMessages(1, wait);
  assert.ok(m, "no message came");
  return m;
}

async function gone(queue) {
  const receiver = client.createReceiver(queue);
  assert.equal((await receiver.peekMessages(10)).length, 0, "messages are left");
  await receiver.close();
}

// with opens a sender and a receiver of a queue and closes them.
const using = (queue, run, o) => async () => {
  const sender = client.createSender(queue);
  const receiver = client.createReceiver(queue, o);
  try {
    await run(sender, receiver);
  } finally {
    await receiver.close();
    await sender.close();
  }
};

check("send, receive, complete", using("orders", async (s, r) => {
  await s.sendMessages({ body: { n: 1 }, messageId: "m-1", correlationId: "c", subject: "s", contentType: "application/json", applicationProperties: { a: 1 } });
  const m = await one(r);
  assert.deepEqual(m.body, { n: 1 });
  assert.equal(m.messageId, "m-1");
  assert.equal(m.correlationId, "c");
  assert.equal(m.applicationProperties.a, 1);
  assert.ok(m.lockedUntilUtc > new Date());
  await r.completeMessage(m);
  await gone("orders");
}));

check("the delivery count is there when it is 0", using("orders", async (s, r) => {
  await s.sendMessages({ body: "x" });
  const m = await one(r);
  assert.equal(m.deliveryCount, 0);
  await r.abandonMessage(m);
  const again = await one(r);
  assert.equal(again.deliveryCount, 1);
  await r.completeMessage(again);
}));

check("a message without an id gets one, and is settled", using("orders", async (s, r) => {
  await s.sendMessages({ bodyType: "data", body: Buffer.from("raw") });
  const m = await one(r);
  assert.ok(m.messageId);
  await r.completeMessage(m);
  await gone("orders");
}));

check("a dead letter is settled without an error", using("orders", async (s, r) => {
  await s.sendMessages({ body: "x", messageId: "d-1" });
  await r.deadLetterMessage(await one(r), { deadLetterReason: "Rejected", deadLetterErrorDescription: "no such account", code: "E7" });
  const dead = client.createReceiver("orders", { subQueueType: "deadLetter" });
  const [peeked] = await dead.peekMessages(1);
  assert.equal(peeked.deadLetterReason, "Rejected");
  const m = await one(dead);
  assert.equal(m.deadLetterReason, "Rejected");
  assert.equal(m.deadLetterErrorDescription, "no such account");
  assert.equal(m.applicationProperties.code, "E7");
  await dead.completeMessage(m);
  await dead.close();
}));

check("replies find the link that reply-to names", using("orders", async (s, r) => {
  await s.sendMessages({ body: "x" });
  assert.equal((await r.peekMessages(1)).length, 1);
  await r.completeMessage(await one(r));
}));

check("a plain session filter: accept named", async () => {
  const s = client.createSender("sessions");
  await s.sendMessages([{ body: "1", sessionId: "a" }, { body: "2", sessionId: "a" }, { body: "3", sessionId: "b" }]);
  const r = await client.acceptSession("sessions", "a");
  assert.equal(r.sessionId, "a");
  assert.ok(r.sessionLockedUntilUtc > new Date());
  for (const want of ["1", "2"]) {
    const m = await one(r);
    assert.equal(m.body, want);
    await r.completeMessage(m);
  }
  await assert.rejects(client.acceptSession("sessions", "a"), { code: "SessionCannotBeLocked" });
  await r.close();
  await s.close();
});

check("accept the next session, state, renewal", async () => {
  const r = await client.acceptNextSession("sessions");
  assert.equal(r.sessionId, "b");
  assert.equal(await r.getSessionState(), null);
  await r.setSessionState(Buffer.from("half"));
  assert.equal((await r.getSessionState()).toString(), "half");
  await r.setSessionState(null);
  const before = r.sessionLockedUntilUtc;
  await new Promise((done) => setTimeout(done, 20));
  assert.ok((await r.renewSessionLock()) > before);
  await r.completeMessage(await one(r));
  await r.close();
});

check("no session comes", async () => {
  const impatient = new ServiceBusClient(process.env.SB_CONNECTION, { retryOptions: { maxRetries: 0, timeoutInMs: 1000 } });
  await assert.rejects(impatient.acceptNextSession("sessions"), (e) => e.code === "ServiceTimeout" || e.code === "SessionCannotBeLocked");
  await impatient.close();
});

check("batch", using("orders", async (s, r) => {
  const batch = await s.createMessageBatch();
  for (let i = 0; i < 20; i++) assert.ok(batch.tryAddMessage({ body: i, messageId: `b-${i}` }));
  await s.sendMessages(batch);
  const got = [];
  while (got.length < 20) {
    for (const m of await r.receiveMessages(20 - got.length, wait)) {
      got.push(m.body);
      await r.completeMessage(m);
    }
  }
  assert.deepEqual(got, [...Array(20).keys()]);
}));

check("scheduled, cancelled", using("orders", async (s, r) => {
  const due = new Date(Date.now() + 500);
  const [a, b] = await s.scheduleMessages([{ body: "a" }, { body: "b" }], due);
  await s.cancelScheduledMessages(b);
  const m = await one(r);
  assert.equal(m.body, "a");
  assert.ok(m.sequenceNumber.greaterThanOrEqual(a));
  assert.ok(Date.now() >= due.getTime() - 50);
  await r.completeMessage(m);
  await gone("orders");
}));

check("receive and delete", using("orders", async (s, r) => {
  await s.sendMessages({ body: "x" });
  assert.equal((await one(r)).body, "x");
  await gone("orders");
}, { receiveMode: "receiveAndDelete" }));

check("abandon with properties", using("orders", async (s, r) => {
  await s.sendMessages({ body: "x", applicationProperties: { a: "1" } });
  await r.abandonMessage(await one(r), { a: "2", b: true });
  const m = await one(r);
  assert.deepEqual(m.applicationProperties, { a: "2", b: true });
  await r.completeMessage(m);
}));

check("defer, receive deferred", using("orders", async (s, r) => {
  await s.sendMessages({ body: "x" });
  const m = await one(r);
  await r.deferMessage(m, { why: "later" });
  const [d] = await r.receiveDeferredMessages(m.sequenceNumber);
  assert.equal(d.state, "deferred");
  assert.equal(d.applicationProperties.why, "later");
  await r.completeMessage(d);
  await gone("orders");
}));

check("renew a lock, lose a lock", using("short", async (s, r) => {
  await s.sendMessages({ body: "x" });
  const m = await one(r);
  const before = m.lockedUntilUtc;
  await new Promise((done) => setTimeout(done, 300));
  assert.ok((await r.renewMessageLock(m)) > before);
  const again = await one(r); // once the lock is over
  await assert.rejects(r.completeMessage(m), { code: "MessageLockLost" });
  await r.completeMessage(again);
}, { maxAutoLockRenewalDurationInMs: 0 }));

check("peek", using("orders", async (s, r) => {
  await s.sendMessages([{ body: 1 }, { body: 2 }, { body: 3 }]);
  const bodies = [...(await r.peekMessages(2)), ...(await r.peekMessages(2))].map((m) => m.body);
  assert.deepEqual(bodies, [1, 2, 3]);
  for (let i = 0; i < 3; i++) await r.completeMessage(await one(r));
}));

check("too many deliveries", using("few", async (s, r) => {
  await s.sendMessages({ body: "x" });
  for (let i = 0; i < 2; i++) await r.abandonMessage(await one(r));
  const dead = client.createReceiver("few", { subQueueType: "deadLetter" });
  assert.equal((await one(dead)).deadLetterReason, "MaxDeliveryCountExceeded");
  await dead.close();
}));

check("time to live", using("expiring", async (s) => {
  await s.sendMessages({ body: "x", timeToLive: 100 });
  const dead = client.createReceiver("expiring", { subQueueType: "deadLetter" });
  assert.equal((await one(dead)).deadLetterReason, "TTLExpiredException");
  await dead.close();
}));

check("duplicates", using("twice", async (s, r) => {
  for (let i = 0; i < 3; i++) await s.sendMessages({ body: i, messageId: "same" });
  await r.completeMessage(await one(r));
  await gone("twice");
}));

check("many frames", using("orders", async (s, r) => {
  const body = Buffer.alloc(200 * 1024, "ab");
  await s.sendMessages({ body });
  const m = await one(r);
  assert.ok(body.equals(m.body));
  await r.completeMessage(m);
}));

check("too large", using("orders", async (s) => {
  await assert.rejects(s.sendMessages({ body: Buffer.alloc(300 * 1024) }), { code: "MessageSizeExceeded" });
  await s.sendMessages({ body: "small" });
}));

check("subscribe", using("orders", async (s, r) => {
  const bodies = [];
  await new Promise((done, failed) => {
    r.subscribe({
      processMessage: async (m) => { bodies.push(m.body); if (bodies.length === 3) done(); },
      processError: async (e) => failed(e.error),
    }, { maxConcurrentCalls: 2 });
    s.sendMessages([{ body: "b" }, { body: "c" }]).catch(failed);
  });
  assert.deepEqual(bodies.sort(), ["b", "c", "small"]);
}));

check("no such queue", async () => {
  const s = client.createSender("nowhere");
  await assert.rejects(s.sendMessages({ body: "x" }), { code: "MessagingEntityNotFound" });
  await s.close();
});

check("a wrong key", async () => {
  const other = new ServiceBusClient(process.env.SB_CONNECTION.replace(/SharedAccessKey=[^;]*/, "SharedAccessKey=d3Jvbmc="), once);
  await assert.rejects(other.createSender("orders").sendMessages({ body: "x" }), { code: "UnauthorizedAccess" });
  await other.close();
});

check("AMQP over WebSockets, TLS", async () => {
  const [host, port] = process.env.SB_SECURE_ADDR.split(":");
  class Dialled extends WebSocket { // dials the double in the namespace's place
    constructor(url, protocols) {
      super(url, protocols, {
        rejectUnauthorized: false,
        createConnection: (o) => tls.connect({ ...o, host, port, servername: o.host }),
      });
    }
  }
  const secure = new ServiceBusClient(process.env.SB_SECURE, { ...options, webSocketOptions: { webSocket: Dialled } });
  const s = secure.createSender("orders");
  await s.sendMessages({ body: "over 443" });
  const r = secure.createReceiver("orders");
  const m = await one(r);
  assert.equal(m.body, "over 443");
  await r.completeMessage(m);
  await secure.close();
});

let failed = 0;
for (const { name, run } of checks) {
  try {
    await run();
    console.log(`ok ${name}`);
  } catch (e) {
    failed++;
    console.log(`failed ${name}: ${String(e.message ?? e).replaceAll("\n", " ")}`);
  }
}
await client.close();
process.exit(failed ? 1 : 0);
