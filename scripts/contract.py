"""Runs the vectors with nats-py, as tests/vectors/README.md tells: contract.py VECTORS NATS_URL DATA_DIRECTORY HAPAX"""
import asyncio, collections, json, nats, re, shutil, sys

OFFERS = {None, "server"}  # What is here; lines that need something else are skipped, and counted.
LISTEN = ["_INBOX.alice.>", "_INBOX.alicent.>", "_INBOX.bob.>", "_INBOX.fence.>", "elsewhere.>"]

class Repeatable(dict):  # Headers, of which one may come twice: nats-py takes a dict, and only walks its items.
    items = lambda self: self["pairs"]

class Runner:
    def __init__(self, url, data, hapax):
        self.url, self.data, self.command = url, data, [hapax, "serve", "--server", url, "--data", data]
        self.fresh, self.inboxes, self.replies = 0, {}, {}
        self.heard, self.news = collections.defaultdict(collections.deque), asyncio.Event()

    async def start(self):
        self.processor = await asyncio.create_subprocess_exec(*self.command, stdout=asyncio.subprocess.PIPE)
        assert (await self.processor.stdout.readline()).startswith(b"ready"), "the processor did not start"

    async def end(self):
        self.processor.kill()  # -9: whatever it has said must be true all the same.
        await self.processor.wait()

    async def on_message(self, message):
        self.heard[message.subject].append((message.data, (message.headers or {}).get("Hapax-Replayed") == "true"))
        self.news.set()

    async def reply(self, inbox):
        while not self.heard[inbox]:
            self.news.clear()
            await asyncio.wait_for(self.news.wait(), 20)
        return self.heard[inbox].popleft()

    async def send(self, subject, headers, body):
        while True:
            ack = json.loads((await self.nc.request(subject, body, 10, headers=Repeatable(pairs=headers))).data)
            assert "error" not in ack, ack
            if not ack.get("duplicate"):
                return
            await asyncio.sleep(0.05)  # The stream swallows a copy that comes within 100 ms of another.

    async def fence(self):
        # A command and a query of our own are answered behind everything that was sent before them.
        command, query = f"_INBOX.fence.command{self.fresh}", f"_INBOX.fence.query{self.fresh}"
        headers = [("Nats-Msg-Id", f"fence-{self.fresh:010}"), ("Hapax-Reply-To", command)]
        await self.send("cmd.fence.account.fence.close", headers, b"")
        await self.nc.publish("qry.fence.health", reply=query)
        return await self.reply(command), await self.reply(query)

    def filled_in(self, text):
        value = lambda place: str(json.loads(self.replies[place[2]][0])[{"time": "decided_at"}.get(place[1], place[1])])
        return re.sub(r"\{(position|time) of (.*?)\}", value, text.replace("{fresh}", f"fresh{self.fresh}"))

    def bytes(self, text):
        one = lambda part: (self.filled_in(part).encode() if isinstance(part, str) else
                            bytes.fromhex(part["hex"]) if "hex" in part else part["repeat"].encode() * part["times"])
        return b"".join(map(one, text if isinstance(text, list) else [text]))

    async def line(self, line):
        self.fresh += 1
        text, inbox = lambda value: self.bytes(value).decode(), "nowhere"
        if "restart" in line:
            await self.end()
            if line["restart"] == "without_index":
                shutil.rmtree(f"{self.data}/p0/sled")
            return await self.start()
        if send := line.get("send"):
            headers = [(name, text(value)) for name, value in send["headers"]]
            inbox = dict(reversed(headers)).get("Hapax-Reply-To", inbox)
            await self.send(text(send["subject"]), headers, self.bytes(send["body"]))
        elif ask := line.get("ask"):
            inbox = text(ask["reply_to"])
            await self.nc.publish(text(ask["subject"]), self.bytes(ask["body"]), reply=inbox)
        else:
            inbox = self.inboxes[line["reply_of"]]
        self.inboxes[line["name"]], expect = inbox, line["expect"]
        if "nothing" in expect:
            await self.fence()
            assert not self.heard[inbox], f"nothing may come, it was {self.heard[inbox]}"
        elif "later" not in expect:
            body, replayed = self.replies[line["name"]] = await self.reply(inbox)
            assert replayed == expect["replayed"], f"Hapax-Replayed is {replayed}: {body}"
            first, _ = self.replies.get(expect.get("same_as"), (None, None))
            is_right = like(expect["json"], json.loads(body)) if "json" in expect else body == first
            assert is_right, f"{body}, it should be {expect} {first}"

def like(pattern, value):
    """Exact, members and types too, but for the places."""
    places = {"{any}": r"(?s).*", "{position}": r"[1-9]\d*", "{text}": r'(?s)".+"',
              "{time}": r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"'}
    if isinstance(pattern, str) and pattern in places:
        return re.fullmatch(places[pattern], json.dumps(value)) is not None
    if type(pattern) is not type(value):
        return False
    if isinstance(pattern, dict):
        return pattern.keys() == value.keys() and all(like(pattern[name], value[name]) for name in pattern)
    return len(pattern) == len(value) and all(map(like, pattern, value)) if type(value) is list else pattern == value

async def run(vectors, *place):
    runner, passed, failed, skipped = Runner(*place), 0, 0, collections.Counter()
    runner.nc = await nats.connect(runner.url, inbox_prefix=b"_ACKS")
    for subject in LISTEN:
        await runner.nc.subscribe(subject, cb=runner.on_message)
    await runner.start()
    for line in map(json.loads, open(vectors, encoding="utf-8")):
        try:
            if line.get("needs") in OFFERS:
                await runner.line(line)
                passed += 1
            else:
                skipped[line["needs"]] += 1
        except Exception as error:  # A line that cannot be run is not fulfilled either.
            failed += 1
            print(f"{line['name']}: {type(error).__name__} {error}")
    await runner.end()
    print(f"{passed} lines fulfilled, {failed} not; not run, since what they need is not here: {dict(skipped)}")
    return failed > 0

sys.exit(asyncio.run(run(*sys.argv[1:])))
