-- FINISH: store a result, with the text that was not published yet, if the attempt still holds the
-- job; then claim the next one for the same slot. The same call twice is fine. Completes the
-- followers of the job with the same result, and caches it.
-- PARTS  claiming
-- KEYS   none
-- ARGV   1 worker, 2 id, 3 attempt, 4 output, 5 usage, 6 result TTL in ms, 7 cache TTL in ms,
--        8 most cached results, 9 last event's data or '', 10 completion tokens with it,
--        11 nonce of the claim, 12 lease in ms, 13 most suspects in one batch,
--        14.. queues with room; none: claim nothing
-- RETURN {1 stored (now or by the same attempt before) or 0 fenced, what CLAIM returns, if asked}
local worker, id, attempt, output, usage = unpack(ARGV, 1, 5)
local ttl_ms, cache_ms, cache_max = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local now = now_ms()

local function finish()
  local state, by, tried, queue, print, started_ms = unpack(
    get(id, 'state', 'worker', 'attempt', 'queue', 'fingerprint', 'started_ms'))
  if by ~= worker or tried ~= attempt then return 0 end
  if state ~= 'in_progress' then return state == 'completed' and 1 or 0 end

  redis.call('ZREM', key.leases(), id) -- before what takes memory, which a full Redis refuses
  if ARGV[9] ~= '' then
    emit(id, 'token', attempt, ARGV[9])
    redis.call('HSET', key.job(id), 'progress', ARGV[10])
  end
  close(id, 'completed', now, ttl_ms, {'output', output, 'usage', usage})
  local bucket = key.finished(queue, math.floor(now / BUCKET_MS))
  if redis.call('INCR', bucket) == 1 then redis.call('EXPIRE', bucket, 90) end
  local mean = tonumber(redis.call('HGET', key.service(queue), 'run_ms') or '')
  local run_ms = now - started_ms
  redis.call('HSET', key.service(queue), 'run_ms', mean and mean + 0.1 * (run_ms - mean) or run_ms)

  if print then
    for _, follower in ipairs(redis.call('ZRANGE', key.followers(id), 0, -1)) do
      close(follower, 'completed', now, ttl_ms,
        {'output', output, 'usage', usage, 'cached', '1', 'started_ms', now})
    end
    redis.call('DEL', key.followers(id))
    if redis.call('GET', key.leader(print)) == id then redis.call('DEL', key.leader(print)) end
    if cache_ms > 0 and cache_max > 0 then
      redis.call('HSET', key.cache(print), 'output', output, 'usage', usage)
      redis.call('PEXPIRE', key.cache(print), cache_ms)
      redis.call('ZADD', key.cached(), now, print)
      redis.call('ZREMRANGEBYSCORE', key.cached(), '-inf', now - cache_ms)
      local over = redis.call('ZCARD', key.cached()) - cache_max
      if over > 0 then
        for _, old in ipairs(redis.call('ZRANGE', key.cached(), 0, over - 1)) do
          redis.call('DEL', key.cache(old))
          redis.call('ZREM', key.cached(), old)
        end
      end
    end
  end
  return 1
end

local stored = finish()
if #ARGV < 14 then return {stored} end
return {stored, claim(worker, ARGV[11], tonumber(ARGV[12]), tonumber(ARGV[13]), {unpack(ARGV, 14)})}
