// Sends messages with Microsoft's JavaScript SDK, as a sender of its own does:
//
//   node send.mjs CONNECTION_STRING QUEUE COUNT REPEATS [REPLY_QUEUE]
//
// COUNT messages, the first REPEATS of which once more with the same messageId and
// body. With REPLY_QUEUE each asks for a reply, and all replies are waited for. The
// last line of the output is JSON: {"sent": …, "repeated": …, "replies": …}.
import { ServiceBusClient } from "@azure/service-bus";

const [connectionString, queue, count, repeats, replyQueue] = process.argv.slice(2);
if (!connectionString || !queue || !(Number(count) >= 0) || !(Number(repeats) >= 0)) {
  console.error("usage: node send.mjs CONNECTION_STRING QUEUE COUNT REPEATS [REPLY_QUEUE]");
  process.exit(2);
}

const message = (i) => ({
  messageId: `JS-${String(i).padStart(5, "0")}`,
  contentType: "application/json",
  subject: "invoice",
  correlationId: `case-${i % 10}`,
  replyTo: replyQueue,
  applicationProperties: { number: i, even: i % 2 === 0, sender: "javascript" },
  body: { number: `JS-${String(i).padStart(5, "0")}`, supplier: "Contoso", currency: "EUR", total: i },
});

// sendAll packs messages into as few batches as fit, in order.
async function sendAll(sender, numbers) {
  let batch = await sender.createMessageBatch();
  for (const i of numbers) {
    if (batch.tryAddMessage(message(i))) continue;
    await sender.sendMessages(batch);
    batch = await sender.createMessageBatch();
    if (!batch.tryAddMessage(message(i))) throw new Error(`message ${i} fits no batch`);
  }
  if (batch.count > 0) await sender.sendMessages(batch);
}

// awaitReplies returns the correlation ids of the replies, each once.
async function awaitReplies(client, wanted) {
  const receiver = client.createReceiver(replyQueue);
  const seen = new Set();
  const deadline = Date.now() + 120_000;
  while (seen.size < wanted && Date.now() < deadline) {
    for (const reply of await receiver.receiveMessages(100, { maxWaitTimeInMs: 5_000 })) {
      if (reply.subject !== "ferry.completed" && reply.subject !== "ferry.deadLettered") {
        throw new Error(`a reply with the subject ${reply.subject}`);
      }
      if (reply.body.id !== reply.applicationProperties.ferryId) throw new Error("the reply's body is not the envelope");
      seen.add(reply.correlationId);
      await receiver.completeMessage(reply);
    }
  }
  await receiver.close();
  return seen.size;
}

const numbers = Array.from({ length: Number(count) }, (_, i) => i);
const again = numbers.slice(0, Number(repeats));
const client = new ServiceBusClient(connectionString);
try {
  const sender = client.createSender(queue);
  await sendAll(sender, numbers);
  await sendAll(sender, again);
  await sender.close();
  const replies = replyQueue ? await awaitReplies(client, numbers.length) : 0;
  console.log(JSON.stringify({ sent: numbers.length, repeated: again.length, replies }));
} finally {
  await client.close();
}
