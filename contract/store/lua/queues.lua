-- QUEUES: how every queue stands.
-- KEYS   none
-- ARGV   1 lease in ms
-- RETURN rows of {queue, its JSON, pending, following, retrying, running, hints, live workers,
--        slots, finished per second or ''}
local now, rows = now_ms(), {}
for _, queue in ipairs(redis.call('HKEYS', key.queues())) do
  local live, free, slots = capacity(queue, now, tonumber(ARGV[1]))
  local rate = drain_rate(queue, now)
  local running = 0
  for _, worker in ipairs(redis.call('ZRANGE', key.serving(queue), 0, -1)) do
    for _, id in ipairs(redis.call('SMEMBERS', key.running(worker))) do
      if get(id, 'queue')[1] == queue then running = running + 1 end
    end
  end
  rows[#rows + 1] = {queue, redis.call('HGET', key.queues(), queue),
    redis.call('ZCARD', key.pending(queue)) + redis.call('ZCARD', key.suspects(queue)),
    redis.call('ZCARD', key.following(queue)), redis.call('ZCARD', key.retrying(queue)),
    running, redis.call('LLEN', queue), live, slots, rate and tostring(rate) or ''}
end
return rows
