import asyncio, json, uuid
import nats

async def main():
    nc = await nats.connect("nats://127.0.0.1:4222", inbox_prefix=b"_INBOX.alice")
    command_id = str(uuid.uuid4())           # chosen and kept before the first sending
    inbox = nc.new_inbox()
    replies = await nc.subscribe(inbox)
    await nc.flush()                         # subscribed before anything is published
    await nc.publish("cmd.alice.account.42.deposit", b'{"amount":100}',
                     headers={"Nats-Msg-Id": command_id, "Hapax-Reply-To": inbox})
    try:
        reply = await replies.next_msg(timeout=5)
    except nats.errors.TimeoutError:         # decided, waiting or lost: ask
        reply = await nc.request(f"qry.alice.outcome.account.42.{command_id}",
                                 json.dumps({"wait_ms": 5000, "command": "deposit",
                                             "data": {"amount": 100}}).encode(), timeout=6)
    print(json.loads(reply.data))
    await nc.close()

asyncio.run(main())
