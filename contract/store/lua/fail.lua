-- FAIL: an attempt raised. It is tried again after a backoff while the error is retryable and
-- attempts are left; else it fails, as a dead letter if it was retryable.
-- KEYS   none
-- ARGV   1 id, 2 attempt, 3 error as JSON, 4 1 if retryable, 5 most failed attempts,
--        6 backoff of the first retry in ms, 7 result TTL in ms
-- RETURN 'retrying' | 'failed' | 'dead' | 'fenced'
local id, attempt, err = ARGV[1], ARGV[2], ARGV[3]
local job = get(id, 'state', 'attempt', 'queue')
if job[1] == 'failed' and job[2] == attempt then return 'failed' end
if job[1] ~= 'in_progress' or job[2] ~= attempt then return 'fenced' end
local now = now_ms()
redis.call('ZREM', key.leases(), id) -- first: a full Redis refuses what begins with a write that takes memory
local failures = redis.call('HINCRBY', key.job(id), 'failures', 1)

if ARGV[4] == '1' and failures < tonumber(ARGV[5]) then
  requeue(id, 'retry')
  local backoff_ms = math.min(tonumber(ARGV[6]) * 2 ^ (failures - 1), 30000)
  redis.call('HSET', key.job(id), 'error', err)
  redis.call('ZADD', key.retrying(job[3]), now + backoff_ms, id)
  return 'retrying'
end
if ARGV[4] == '1' then
  bury(id, now, tonumber(ARGV[7]), err)
  hand_over(id)
  return 'dead'
end
close(id, 'failed', now, tonumber(ARGV[7]), {'error', err})
hand_over(id)
return 'failed'
