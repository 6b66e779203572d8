-- AUDIT_HINTS: queues in which a job waits although a worker could start it and would have to be
-- told. The reaper tells it within about a second.
-- KEYS   none
-- ARGV   1 lease in ms
-- RETURN rows of {'hints', queue and the best job that waits there}
local now, lease_ms, found = now_ms(), tonumber(ARGV[1]), {}

local function head(set) return redis.call('ZRANGE', set, 0, 0)[1] end

local function could_start(worker, queue, plain)
  if not has_room(worker, queue) then return false end
  local row = redis.call('HMGET', key.worker(worker), 'slots', 'slots:' .. queue)
  local own = row[2] or row[1]
  if taken(worker, queue, row[1], own) >= tonumber(own) then return false end
  return plain or redis.call('SCARD', key.running(worker)) == 0
end

for _, queue in ipairs(redis.call('HKEYS', key.queues())) do
  local plain = head(key.pending(queue))
  local best = plain or head(key.suspects(queue))
  local waiting = redis.call('ZCARD', key.pending(queue)) + redis.call('ZCARD', key.suspects(queue))
  if waiting > redis.call('LLEN', queue) then
    local live = redis.call('ZRANGEBYSCORE', key.serving(queue), now - lease_ms, '+inf')
    for _, worker in ipairs(live) do
      if could_start(worker, queue, plain) then
        found[#found + 1] = {'hints', queue .. ' ' .. best}
        break
      end
    end
  end
end
return found
