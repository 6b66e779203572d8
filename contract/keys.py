"""Every Redis key, once: a callable that makes it, and the row that documents it.

The Lua scripts get the same table as functions (:func:`lua_functions`), so a key is spelled in
no other place.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Key:
    """One family of keys; call it with the parts that fill its template."""

    name: str
    template: str
    type: str
    writer: str
    reader: str
    ttl: str

    def __call__(self, *parts: str) -> str:
        return self.template.format(*parts)

    @property
    def lua(self) -> str:
        """The same key as a Lua function of the same name."""
        pieces = self.template.split("{}")
        names = [f"p{i}" for i in range(1, len(pieces))]
        body = f"'{pieces[0]}'"
        for name, piece in zip(names, pieces[1:], strict=True):
            body += f" .. {name}" + (f" .. '{piece}'" if piece else "")
        return f"function key.{self.name}({', '.join(names)}) return {body} end"


UNTIL_REAPED = "until the reaper removes it"

STORE = Key("store", "mr:store", "string", "IDENTIFY", "IDENTIFY, SUBMIT", "none")
SEQUENCE = Key("sequence", "mr:sequence", "counter", "SUBMIT", "SUBMIT, IDENTIFY", "none")
JOB = Key("job", "mr:job:{}", "hash", "every transition", "all", "RESULT_TTL_S after its end")
INPUT = Key("input", "mr:input:{}", "string of JSON", "SUBMIT", "CLAIM", "until its job ends well")
GONE = Key("gone", "mr:gone:{}", "string", "REAP", "VIEW", "7 days")
IDEMPOTENCY = Key("idempotency", "mr:idempotency:{}", "hash", "SUBMIT", "SUBMIT", "24 hours")
INDEX = Key("index", "mr:index", "zset by submission", "SUBMIT, REAP", "lists", UNTIL_REAPED)
STATE = Key("state", "mr:state:{}", "zset by submission", "transitions", "lists", UNTIL_REAPED)
DEAD = Key("dead", "mr:dead", "zset by submission", "FAIL, REAP, REDRIVE", "lists", UNTIL_REAPED)
EVENTS = Key("events", "mr:events:{}", "stream", "transitions, PUBLISH", "readers", "as its job")
EXPIRING = Key("expiring", "mr:expiring", "zset by ms", "transitions", "REAP", "none")
DEADLINES = Key("deadlines", "mr:deadlines", "zset by ms", "SUBMIT, transitions", "REAP", "none")

QUEUES = Key("queues", "mr:queues", "hash of JSON", "SUBMIT, REGISTER", "lists, REAP", UNTIL_REAPED)
PENDING = Key("pending", "mr:pending:{}", "zset by rank", "transitions", "CLAIM", "none")
SUSPECTS = Key("suspects", "mr:suspects:{}", "zset by rank", "REAP", "CLAIM", "none")
FOLLOWING = Key("following", "mr:following:{}", "zset by rank", "SUBMIT", "backlog", "none")
RETRYING = Key("retrying", "mr:retrying:{}", "zset by ms", "FAIL", "REAP", "none")
ISOLATING = Key("isolating", "mr:isolating:{}", "string", "CLAIM, BEAT, REAP", "CLAIM", "one lease")
STARVED = Key("starved", "mr:starved", "hash", "REAP", "REAP", "none")
FINISHED = Key("finished", "mr:finished:{}:{}", "counter per 5 s", "FINISH", "rates", "90 s")
SERVICE = Key("service", "mr:service:{}", "hash", "FINISH, SUBMIT", "rates, REAP", UNTIL_REAPED)
TURNS = Key("turns", "mr:turns:{}", "zset by ms", "SUBMIT", "SUBMIT", "2 minutes")
TURN_HOLDERS = Key("turn_holders", "mr:turn_holders:{}", "hash", "SUBMIT", "SUBMIT", "2 minutes")

LEASES = Key("leases", "mr:leases", "zset by ms", "CLAIM, BEAT", "REAP", "none")
CLAIMED = Key("claimed", "mr:claimed:{}", "string", "CLAIM", "CLAIM", "60 s")
CAPACITY = Key("capacity", "mr:capacity:{}", "string", "SUBMIT, VIEW", "SUBMIT, VIEW", "0.1 s")
RUNNING = Key("running", "mr:running:{}", "set", "CLAIM, BEAT, transitions", "CLAIM, REAP", "none")
WORKERS = Key("workers", "mr:workers", "zset by ms", "REGISTER, BEAT", "lists, REAP", "none")
WORKER = Key(
    "worker", "mr:worker:{}", "hash", "REGISTER, BEAT, ABANDON", "lists, REAP", "three leases"
)
SERVING = Key("serving", "mr:serving:{}", "zset by ms", "REGISTER, BEAT", "all", "none")
MISSING = Key("missing", "mr:missing", "hash", "REAP", "REAP", "none")
WRECKS = Key("wrecks", "mr:wrecks", "hash", "REAP", "REAP", "60 s after the last")
REAPED = Key("reaped", "mr:reaped", "hash", "REAP", "REAP", "none")
DEVICE = Key("device", "mr:device:{}", "string", "device lease", "device lease", "one lease")

CACHE = Key("cache", "mr:cache:{}", "hash", "FINISH", "SUBMIT", "CACHE_TTL_S")
CACHED = Key("cached", "mr:cached", "zset by ms", "FINISH", "FINISH", "none")
LEADER = Key("leader", "mr:leader:{}", "string", "SUBMIT, transitions", "SUBMIT", "none")
FOLLOWERS = Key("followers", "mr:followers:{}", "zset by rank", "SUBMIT", "transitions", "none")
COUNTERS = Key("counters", "mr:counters", "hash", "transitions", "metrics", "none")

FILE_SEQUENCE = Key("file_sequence", "mr:file_sequence", "counter", "PUT_FILE", "PUT_FILE", "none")
FILE = Key("file", "mr:file:{}", "hash", "PUT_FILE", "lists", "until it is deleted or expires")
FILES = Key("files", "mr:files", "zset by creation", "PUT_FILE, DROP_FILE", "lists", "none")
FILES_EXPIRING = Key(
    "files_expiring", "mr:files_expiring", "zset by ms", "PUT_FILE", "feeder", "none"
)
BATCH_SEQUENCE = Key(
    "batch_sequence", "mr:batch_sequence", "counter", "CREATE_BATCH", "CREATE_BATCH", "none"
)
BATCH = Key("batch", "mr:batch:{}", "hash", "*_BATCH", "fronts, feeder", "FILE_TTL_S after its end")
BATCHES = Key("batches", "mr:batches", "zset by creation", "*_BATCH", "lists", "none")
OPEN_BATCHES = Key(
    "open_batches", "mr:open_batches", "zset by end of lease", "*_BATCH", "LEASE_BATCH", "none"
)

RESPONSE = Key("response", "mr:response:{}", "string of JSON", "fronts", "fronts", "RESULT_TTL_S")

TAKEN = Key("taken", "mr:taken:{}", "string of JSON", "fronts", "fronts", "1 hour")

WAKE = Key("wake", "mr:wake", "channel", "transitions, PUBLISH", "producers", "none")
CONTROL = Key("control", "mr:control:{}", "channel", "CANCEL, REAP", "one worker", "none")
BARRIER = Key("barrier", "mr:barrier", "channel", "submits that wait for replicas", "none", "none")

ALL = tuple(value for value in list(globals().values()) if isinstance(value, Key))


def lua_functions() -> str:
    """The table ``key`` of Lua functions, one per family."""
    return "\n".join(["local key = {}", *(family.lua for family in ALL)]) + "\n"
