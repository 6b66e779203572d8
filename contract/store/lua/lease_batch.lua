-- LEASE_BATCH: hand an open batch that nobody holds to a feeder, the one that waits longest first.
-- KEYS   none
-- ARGV   1 lease in ms
-- RETURN {id, attempt, ms of now, attempts in a row that ended without a word, its record as a
--        flat list} | nil
local now = now_ms()
local id = redis.call('ZRANGEBYSCORE', key.open_batches(), '-inf', now, 'LIMIT', 0, 1)[1]
if not id then return nil end
redis.call('ZADD', key.open_batches(), now + tonumber(ARGV[1]), id)
local attempt = redis.call('HINCRBY', key.batch(id), 'attempt', 1)
local failures = redis.call('HINCRBY', key.batch(id), 'failures', 1) - 1
return {id, attempt, now, failures, redis.call('HGETALL', key.batch(id))}
