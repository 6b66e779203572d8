-- CLAIMING: hand a worker the best job that it may run now. Repeating it with the same nonce
-- returns the same job, as long as the worker has it.
--
-- A job that lost its worker is a suspect. After one loss it starts wherever few suspects run,
-- after two it runs alone. An idle worker takes it directly; of the busy ones one per queue (the
-- holder of `isolating`) takes nothing that is behind it in rank until its batch is empty. While
-- others wait, at most half of the workers run such jobs (at least one does), and for half a lease
-- after a loss (REAP holds `isolating`) it is not the last worker and no busy one: a new one comes.

-- A job's losses; nil when somebody deleted its record by hand.
local function losses(id) return tonumber(get(id, 'losses')[1] or '') end

local function better(found, id, rank, queue, set)
  if not id or found and found.rank <= tonumber(rank) then return found end
  return {id = id, rank = tonumber(rank), queue = queue, set = set}
end

local function best_plain(queues)
  local found
  for _, queue in ipairs(queues) do
    local set = key.pending(queue)
    local head = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
    while head[1] and not losses(head[1]) do
      redis.call('ZREM', set, head[1])
      head = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
    end
    found = better(found, head[1], head[2], queue, set)
  end
  return found
end

-- The best suspect that may share a batch, and the best that may not, among the first hundred.
local function best_suspects(queues)
  local suspect, loner
  for _, queue in ipairs(queues) do
    local set = key.suspects(queue)
    local head = redis.call('ZRANGE', set, 0, 99, 'WITHSCORES')
    for i = 1, #head, 2 do
      local id, rank = head[i], head[i + 1]
      if suspect and loner and tonumber(rank) >= math.max(suspect.rank, loner.rank) then break end
      local lost = losses(id)
      if not lost then
        redis.call('ZREM', set, id)
      elseif lost == 1 then
        suspect = better(suspect, id, rank, queue, set)
      else
        loner = better(loner, id, rank, queue, set)
      end
    end
  end
  return suspect, loner
end

-- Whether jobs that must be alone have all the workers of the queue that they may have now.
local function loners_have_enough(queue, now, lease_ms)
  local ready, alone = 0, 0
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', key.serving(queue), now - lease_ms, '+inf')) do
    if redis.call('HGET', key.worker(other), 'state') == 'ready' then ready = ready + 1 end
    if redis.call('SCARD', key.running(other)) == 1
      and (losses(redis.call('SMEMBERS', key.running(other))[1]) or 0) > 1 then
      alone = alone + 1
    end
  end
  local awaited = redis.call('GET', key.isolating(queue)) == NEWCOMER
  return alone >= math.max(awaited and 0 or 1, math.floor(ready / 2))
end

-- The losses of the jobs that a worker runs: how many in all, and whether one of them must be alone.
-- They are looked at only while `shares` says that there may be any.
local function suspects_of(worker)
  local row = redis.call('HMGET', key.worker(worker), 'state', 'shares')
  if row[1] and not row[2] then return 0, false end
  local shared, alone = 0, false
  for _, id in ipairs(redis.call('SMEMBERS', key.running(worker))) do
    local lost = losses(id) or 0
    shared, alone = shared + lost, alone or lost > 1
  end
  if shared == 0 then redis.call('HDEL', key.worker(worker), 'shares') end
  return shared, alone
end

local function as_claimed(id, attempt, queue, task, priority)
  return {'claimed', id, attempt, queue, task, priority, redis.call('GET', key.input(id))}
end

-- As `claim`, without a word on what stays free.
local function try_claim(worker, nonce, lease_ms, few, queues)
  local now = now_ms()

  local function take(best)
    local id = best.id
    local attempt, task, priority, sequence = unpack(
      get(id, 'attempt', 'task', 'priority', 'sequence'))
    attempt = attempt + 1
    redis.call('ZREM', best.set, id)
    redis.call('ZREM', key.state('queued'), id)
    redis.call('ZADD', key.state('in_progress'), sequence, id)
    redis.call('HSET', key.job(id), 'state', 'in_progress', 'attempt', attempt, 'worker', worker,
      'nonce', nonce, 'started_ms', now)
    redis.call('SET', key.claimed(nonce), id, 'EX', 60)
    redis.call('ZADD', key.leases(), now + lease_ms, id)
    redis.call('SADD', key.running(worker), id)
    if best.set ~= key.pending(best.queue) and redis.call('EXISTS', key.worker(worker)) == 1 then
      redis.call('HSET', key.worker(worker), 'shares', 1)
    end
    emit(id, attempt == 1 and 'status' or 'restarted', attempt, '{"status":"in_progress"}')
    return as_claimed(id, attempt, best.queue, task, priority)
  end

  -- Whether this worker may be the one of the queue that lets its batch run empty.
  local function may_isolate(queue)
    local holder = redis.call('GET', key.isolating(queue))
    if not holder then redis.call('SET', key.isolating(queue), worker, 'PX', lease_ms) end
    return not holder or holder == worker
  end

  local earlier = redis.call('GET', key.claimed(nonce))
  if earlier then
    local job = get(earlier, 'state', 'worker', 'nonce', 'attempt', 'queue', 'task', 'priority')
    if job[1] == 'in_progress' and job[2] == worker and job[3] == nonce then
      redis.call('ZADD', key.leases(), now + lease_ms, earlier) -- nobody could renew it until now
      return as_claimed(earlier, unpack(job, 4, 7))
    end
  end
  -- After its last words a worker is given nothing more to take down with it.
  if redis.call('HEXISTS', key.worker(worker), 'cause') == 1 then return {'empty'} end
  -- Nor is one that has left, whose call came late.
  if not redis.call('ZSCORE', key.workers(), worker) then return {'empty'} end
  local shared, alone = suspects_of(worker)
  if alone then return {'blocked'} end

  local plain, suspect, loner = best_plain(queues), best_suspects(queues)
  local next_one = plain
  if suspect and shared < few and (not plain or suspect.rank < plain.rank) then next_one = suspect end
  if loner and (not next_one
      or loner.rank < next_one.rank and not loners_have_enough(loner.queue, now, lease_ms)) then
    if redis.call('SCARD', key.running(worker)) == 0 then return take(loner) end
    if may_isolate(loner.queue) or not next_one then return {'blocked'} end
  end
  if not next_one then return {suspect and 'blocked' or 'empty'} end
  if redis.call('GET', key.isolating(next_one.queue)) == worker then
    redis.call('DEL', key.isolating(next_one.queue))
  end
  return take(next_one)
end

-- RETURN {'claimed', id, attempt, queue, task, priority, its input as JSON} | {'empty'}
--        | {'blocked'}: jobs wait, but not for a batch such as this worker's
local function claim(worker, nonce, lease_ms, few, queues)
  local answer = try_claim(worker, nonce, lease_ms, few, queues)
  if answer[1] ~= 'claimed' then
    for _, queue in ipairs(queues) do left_free(queue) end
  end
  return answer
end
