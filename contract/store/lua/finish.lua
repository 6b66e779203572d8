-- FINISH: store a result, if the attempt still holds the job. The same attempt twice is fine.
-- Completes the followers of the job with the same result, and caches it.
-- KEYS   none
-- ARGV   1 worker, 2 id, 3 attempt, 4 output, 5 usage, 6 result TTL in ms, 7 cache TTL in ms,
--        8 most cached results
-- RETURN 1 stored (now or by the same attempt before), 0 fenced
local worker, id, attempt, output, usage = unpack(ARGV, 1, 5)
local ttl_ms, cache_ms, cache_max = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local now = now_ms()

if is_by(id, 'completed', attempt, worker) then return 1 end
if not holds(id, attempt, worker) then return 0 end
local queue, print, started_ms = unpack(get(id, 'queue', 'fingerprint', 'started_ms'))

close(id, 'completed', now, ttl_ms, {'output', output, 'usage', usage})
local bucket = key.finished(queue, math.floor(now / BUCKET_MS))
redis.call('INCR', bucket)
redis.call('EXPIRE', bucket, 90)
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
