-- CLAIM: hand this worker the best job that it may run now. Repeating it with the same nonce
-- returns the same job.
--
-- A job that lost its worker is a suspect. After one loss it starts wherever few suspects run,
-- after two it runs alone. An idle worker takes it directly; of the busy ones one per queue (the
-- holder of `isolating`) takes nothing that is behind it in rank until its batch is empty. While
-- others wait, at most half of the workers run such jobs (at least one does), and for half a lease
-- after a loss (REAP holds `isolating`) it is not the last worker and no busy one: a new one comes.
-- KEYS   none
-- ARGV   1 worker, 2 nonce, 3 lease in ms, 4 most suspects in one batch, 5.. queues with room
-- RETURN {'claimed', id, attempt, queue, task, input, parameters} | {'empty'}
--        | {'blocked'}: jobs wait, but not for a batch such as this worker's
local worker, nonce, lease_ms, few = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local now = now_ms()

local function answer(id)
  local job = get(id, 'attempt', 'queue', 'task', 'input', 'parameters')
  return {'claimed', id, job[1], job[2], job[3], job[4], job[5]}
end

local earlier = redis.call('GET', key.claimed(nonce))
if earlier then
  local job = get(earlier, 'state', 'nonce')
  if job[1] == 'in_progress' and job[2] == nonce then
    redis.call('ZADD', key.leases(), now + lease_ms, earlier) -- nobody could renew it until now
    return answer(earlier)
  end
  return {'empty'}
end

-- After its last words a worker is given nothing more to take down with it.
if redis.call('HEXISTS', key.worker(worker), 'cause') == 1 then return {'empty'} end
-- Nor is one that has left, whose call came late.
if not redis.call('ZSCORE', key.workers(), worker) then return {'empty'} end

local function losses(id) return tonumber(get(id, 'losses')[1] or '0') end

local batch, suspects = redis.call('SMEMBERS', key.running(worker)), 0
for _, id in ipairs(batch) do
  local lost = losses(id)
  if lost > 1 then return {'blocked'} end
  suspects = suspects + lost
end

-- The best over all queues of the first jobs in a waiting set with so many losses, from `least`
-- to `most`: id, rank, queue, set. It looks at the first hundred.
local function best(waiting, least, most)
  local id, rank, queue
  for i = 5, #ARGV do
    local head = redis.call('ZRANGE', waiting(ARGV[i]), 0, 99, 'WITHSCORES')
    for j = 1, #head, 2 do
      if rank and tonumber(head[j + 1]) >= rank then break end
      local lost = losses(head[j])
      if redis.call('EXISTS', key.job(head[j])) == 0 then
        redis.call('ZREM', waiting(ARGV[i]), head[j]) -- its record was deleted by hand
      elseif least <= lost and lost <= most then
        id, rank, queue = head[j], tonumber(head[j + 1]), ARGV[i]
        break
      end
    end
  end
  return id, rank, queue, waiting
end

-- Whether this worker may be the one of the queue that lets its batch run empty.
local function may_isolate(queue)
  local holder = redis.call('GET', key.isolating(queue))
  if not holder then redis.call('SET', key.isolating(queue), worker, 'PX', lease_ms) end
  return not holder or holder == worker
end

-- Whether jobs that must be alone have all the workers of the queue that they may have now.
local function loners_have_enough(queue)
  local ready, alone = 0, 0
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', key.serving(queue), now - lease_ms, '+inf')) do
    if redis.call('HGET', key.worker(other), 'state') == 'ready' then ready = ready + 1 end
    if redis.call('SCARD', key.running(other)) == 1
      and losses(redis.call('SMEMBERS', key.running(other))[1]) > 1 then
      alone = alone + 1
    end
  end
  local awaited = redis.call('GET', key.isolating(queue)) == NEWCOMER
  return alone >= math.max(awaited and 0 or 1, math.floor(ready / 2))
end

local function take(id, queue, waiting)
  redis.call('ZREM', waiting(queue), id)
  local attempt = redis.call('HINCRBY', key.job(id), 'attempt', 1)
  local sequence = get(id, 'sequence')[1]
  move(id, sequence, 'queued', 'in_progress')
  redis.call('HSET', key.job(id), 'worker', worker, 'nonce', nonce, 'started_ms', now)
  redis.call('SET', key.claimed(nonce), id, 'EX', 60)
  redis.call('ZADD', key.leases(), now + lease_ms, id)
  redis.call('SADD', key.running(worker), id)
  if attempt == 1 then
    emit(id, 'status', attempt, '{"status":"in_progress"}')
  else
    emit(id, 'restarted', attempt, '{"status":"in_progress"}')
  end
  return answer(id)
end

local id, rank, queue, waiting = best(key.pending, 0, 0)
local suspect, suspect_rank, suspect_queue = best(key.suspects, 1, 1)
if suspect and suspects < few and (not id or suspect_rank < rank) then
  id, rank, queue, waiting = suspect, suspect_rank, suspect_queue, key.suspects
end
local loner, loner_rank, loner_queue = best(key.suspects, 2, math.huge)
if loner and (not id or loner_rank < rank and not loners_have_enough(loner_queue)) then
  if #batch == 0 then return take(loner, loner_queue, key.suspects) end
  if may_isolate(loner_queue) or not id then return {'blocked'} end
end
if not id then return {suspect and 'blocked' or 'empty'} end
if redis.call('GET', key.isolating(queue)) == worker then
  redis.call('DEL', key.isolating(queue))
end
return take(id, queue, waiting)
