-- KEEP_BATCH: renew a feeder's lease of a batch, or let it run out now.
-- KEYS   none
-- ARGV   1 id, 2 attempt, 3 ms that the lease lasts from now, 4 1 when the attempt ends by itself
-- RETURN {its state or '' when the attempt is stale or the batch has ended, open batches}
local id = ARGV[1]
local batch = redis.call('HMGET', key.batch(id), 'attempt', 'state')
local held = batch[1] == ARGV[2] and redis.call('ZSCORE', key.open_batches(), id)
if held then
  redis.call('ZADD', key.open_batches(), now_ms() + tonumber(ARGV[3]), id)
  if ARGV[4] == '1' then redis.call('HSET', key.batch(id), 'failures', 0) end
end
return {held and batch[2] or '', redis.call('ZCARD', key.open_batches())}
