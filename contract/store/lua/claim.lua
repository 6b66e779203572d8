-- CLAIM: hand this worker the best job that it may run now. Repeating it with the same nonce
-- returns the same job.
--
-- A job that lost its worker is a suspect. After one loss it runs among a few suspects only,
-- after two it runs alone. So a worker's batch is plain, or a few suspects, or one job alone.
-- One busy worker per queue (the holder of `isolating`) stops taking plain jobs to make room
-- for suspects that are next in rank; an idle worker takes them directly.
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

local batch = redis.call('SMEMBERS', key.running(worker))
local suspects, alone = 0, false
for _, id in ipairs(batch) do
  local losses = tonumber(get(id, 'losses')[1] or '0')
  if losses > 0 then suspects = suspects + 1 end
  if losses > 1 then alone = true end
end
if alone then return {'blocked'} end

-- The head of a waiting set over all queues: id, rank, queue.
local function best(waiting)
  local id, rank, queue
  for i = 5, #ARGV do
    local head = redis.call('ZRANGE', waiting(ARGV[i]), 0, 0, 'WITHSCORES')
    if head[1] and (not rank or tonumber(head[2]) < rank) then
      id, rank, queue = head[1], tonumber(head[2]), ARGV[i]
    end
  end
  return id, rank, queue
end

-- Whether this worker may stop taking plain jobs of the queue until its batch is empty.
local function may_isolate(queue)
  redis.call('SET', key.isolating(queue), worker, 'NX', 'PX', lease_ms)
  return redis.call('GET', key.isolating(queue)) == worker
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

local plain, plain_rank, plain_queue = best(key.pending)
local suspect, suspect_rank, suspect_queue = best(key.suspects)
if not plain and not suspect then return {'empty'} end

if suspects > 0 then
  if suspect and suspects < few and tonumber(get(suspect, 'losses')[1]) == 1 then
    return take(suspect, suspect_queue, key.suspects)
  end
  return {'blocked'}
end
if suspect and (not plain or suspect_rank < plain_rank) then
  if #batch == 0 then return take(suspect, suspect_queue, key.suspects) end
  if may_isolate(suspect_queue) or not plain then return {'blocked'} end
end
if redis.call('GET', key.isolating(plain_queue)) == worker then
  redis.call('DEL', key.isolating(plain_queue))
end
return take(plain, plain_queue, key.pending)
