-- QUEUES: how every queue stands.
-- KEYS   none
-- ARGV   1 lease in ms
-- RETURN rows of {queue, its JSON, pending, following, retrying, running, hints, live workers,
--        slots, finished per second or ''}
local now, rows = now_ms(), {}
for _, queue in ipairs(redis.call('HKEYS', key.queues())) do
  local live, free, slots = count_capacity(queue, now, tonumber(ARGV[1]))
  local rate = drain_rate(queue, now)
  local running = 0
  for _, worker in ipairs(redis.call('ZRANGE', key.serving(queue), 0, -1)) do
    local own = redis.call('HMGET', key.worker(worker), 'slots', 'slots:' .. queue)
    running = running + taken(worker, queue, own[1], own[2] or own[1])
  end
  rows[#rows + 1] = {queue, redis.call('HGET', key.queues(), queue),
    claimable(queue),
    redis.call('ZCARD', key.following(queue)), redis.call('ZCARD', key.retrying(queue)),
    running, redis.call('LLEN', queue), live, slots, rate and tostring(rate) or ''}
end
return rows
