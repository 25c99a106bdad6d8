// Verifies callbacks, a JSON line each on stdin: {secret, headers, body (base64)}. A
// line with ok or the reason goes to stdout.
import { createInterface } from "node:readline";
import { Webhook } from "standardwebhooks";

for await (const line of createInterface({ input: process.stdin })) {
  const { secret, headers, body } = JSON.parse(line);
  try {
    new Webhook(secret).verify(Buffer.from(body, "base64").toString("utf8"), headers);
    console.log("ok");
  } catch (err) {
    console.log("refused: " + err.message);
  }
}
