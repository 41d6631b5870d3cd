import { connect, headers, createInbox } from "@nats-io/transport-node";

const nc = await connect({ servers: "nats://127.0.0.1:4222", inboxPrefix: "_INBOX.alice" });
const id = crypto.randomUUID();              // chosen and kept before the first sending
const inbox = createInbox("_INBOX.alice");
const replies = nc.subscribe(inbox, { max: 1 });
await nc.flush();                            // subscribed before anything is published
const h = headers();
h.set("Nats-Msg-Id", id);
h.set("Hapax-Reply-To", inbox);
nc.publish("cmd.alice.account.42.deposit", '{"amount":100}', { headers: h });
const timer = setTimeout(() => replies.unsubscribe(), 5000);
let reply;
for await (const message of replies) reply = message;
clearTimeout(timer);                         // no reply: decided, waiting or lost, so ask
reply ??= await nc.request(`qry.alice.outcome.account.42.${id}`,
    '{"wait_ms":5000,"command":"deposit","data":{"amount":100}}', { timeout: 6000 });
console.log(reply.json());
await nc.close();
