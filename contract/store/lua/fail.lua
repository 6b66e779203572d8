-- FAIL: an attempt raised. It is tried again after a backoff while the error is retryable and
-- attempts are left; else it fails, as a dead letter if it was retryable.
-- KEYS   none
-- ARGV   1 worker, 2 id, 3 attempt, 4 error as JSON, 5 1 if retryable, 6 most failed attempts,
--        7 backoff of the first retry in ms, 8 result TTL in ms
-- RETURN 'retrying' | 'failed' | 'dead' | 'fenced'
local worker, id, attempt, err = unpack(ARGV, 1, 4)
if is_by(id, 'failed', attempt, worker) then return 'failed' end
if not holds(id, attempt, worker) then return 'fenced' end
local now, queue = now_ms(), get(id, 'queue')[1]
redis.call('ZREM', key.leases(), id) -- before what takes memory, which a full Redis refuses
local failures = redis.call('HINCRBY', key.job(id), 'failures', 1)

if ARGV[5] == '1' and failures < tonumber(ARGV[6]) then
  requeue(id, 'retry')
  local backoff_ms = math.min(tonumber(ARGV[7]) * 2 ^ (failures - 1), 30000)
  redis.call('HSET', key.job(id), 'error', err)
  redis.call('ZADD', key.retrying(queue), now + backoff_ms, id)
  return 'retrying'
end
if ARGV[5] == '1' then
  bury(id, now, tonumber(ARGV[8]), err)
  hand_over(id)
  return 'dead'
end
close(id, 'failed', now, tonumber(ARGV[8]), {'error', err})
hand_over(id)
return 'failed'
