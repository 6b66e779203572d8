-- DROP_BATCH: forget batches that ended long ago.
-- KEYS   none
-- ARGV   1 ms that a batch is kept after its end, 2 most to look at
-- RETURN how many were forgotten
local before, dropped = now_ms() - tonumber(ARGV[1]), 0
for _, id in ipairs(redis.call('ZRANGE', key.batches(), 0, tonumber(ARGV[2]) - 1)) do
  local last = redis.call('HMGET', key.batch(id), 'entered:completed', 'entered:failed',
    'entered:expired', 'entered:cancelled')
  local ended = tonumber(last[1] or last[2] or last[3] or last[4] or '')
  if ended and ended < before then
    redis.call('DEL', key.batch(id))
    redis.call('ZREM', key.batches(), id)
    dropped = dropped + 1
  end
end
return dropped
