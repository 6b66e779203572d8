-- PRELUDE: shared by every script, after the key functions. Times are ms of Redis's own clock.
-- A job's rank (priority, then submission order) is its score in every waiting set.

local WEEK_MS = 7 * 24 * 3600 * 1000
local BUCKET_MS = 5000
local RATE_BUCKETS = 12
local FEW_WORKERS = 8
local NEWCOMER = 'a worker that is idle' -- holds `isolating` for whoever takes a lost one's place

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function count(name) redis.call('HINCRBY', key.counters(), name, 1) end

local function get(id, ...) return redis.call('HMGET', key.job(id), ...) end

local function losses_of(id) return tonumber(get(id, 'losses')[1] or '0') end

-- Append to the job's stream. Whoever follows it is woken when the script is done, by one message
-- for all jobs that it touched (connection.py ends every script with `ring`). A job that has ended has
-- a mark there: who waits for the end alone need not look at every token.
local rung = {}

local function emit(id, kind, attempt, data)
  redis.call('XADD', key.events(id), '*', 'kind', kind, 'attempt', attempt, 'data', data)
  rung[#rung + 1] = kind == 'done' and id .. '!' or id
end

local function ring()
  if #rung > 0 then redis.call('PUBLISH', key.wake(), table.concat(rung, ' ')) end
end

local function move(id, sequence, from, to)
  redis.call('ZREM', key.state(from), id)
  redis.call('ZADD', key.state(to), sequence, id)
  redis.call('HSET', key.job(id), 'state', to)
end

-- Whether a job is in `state` by this attempt of this worker. The number alone would not do: after a
-- failover that forgot a claim, another worker's claim has the same.
local function is_by(id, state, attempt, worker)
  local job = get(id, 'state', 'attempt', 'worker')
  return job[1] == state and job[2] == attempt and job[3] == worker
end

-- Whether it is the attempt that may write to the job.
local function holds(id, attempt, worker) return is_by(id, 'in_progress', attempt, worker) end

-- Put a job that is in no waiting set into the right one.
local function enqueue(id)
  local job = get(id, 'queue', 'rank', 'losses')
  local waiting = tonumber(job[3]) > 0 and key.suspects(job[1]) or key.pending(job[1])
  redis.call('ZADD', waiting, job[2], id)
end

-- Take a job out of whatever it waits in or runs on.
local function withdraw(id)
  local job = get(id, 'queue', 'worker', 'leader', 'state')
  if job[4] == 'in_progress' then
    redis.call('ZREM', key.leases(), id)
    if job[2] then redis.call('SREM', key.running(job[2]), id) end
    return
  end
  redis.call('ZREM', key.pending(job[1]), id)
  redis.call('ZREM', key.suspects(job[1]), id)
  redis.call('ZREM', key.following(job[1]), id)
  redis.call('ZREM', key.retrying(job[1]), id)
  if job[3] then redis.call('ZREM', key.followers(job[3]), id) end
end

-- A running job goes back to waiting (released, retried or lost).
local function requeue(id, cause)
  local job = get(id, 'sequence', 'attempt')
  withdraw(id)
  redis.call('HDEL', key.job(id), 'worker', 'progress', 'started_ms')
  move(id, job[1], 'in_progress', 'queued')
  emit(id, 'status', job[2], cjson.encode({status = 'queued', cause = cause}))
end

-- The one terminal record of a job. `fields` is a flat list for HSET. False when there is no
-- record: what somebody deleted by hand must not stop the others.
local function close(id, state, now, ttl_ms, fields)
  local job = get(id, 'state', 'sequence', 'attempt', 'leader')
  redis.call('ZREM', key.deadlines(), id)
  if not job[1] then return false end
  withdraw(id)
  move(id, job[2], job[1], state)
  if state ~= 'failed' then redis.call('DEL', key.input(id)) end -- a dead letter may be redriven
  redis.call('HDEL', key.job(id), 'leader', 'error') -- that of a retried attempt
  redis.call('HSET', key.job(id), 'finished_ms', now, 'expires_ms', now + ttl_ms, unpack(fields))
  redis.call('ZADD', key.expiring(), now + ttl_ms, id)
  emit(id, 'done', job[3], cjson.encode({status = state}))
  count('jobs_' .. state)
  return true
end

-- The best follower of a leader that ended without a result runs in its place.
local function hand_over(id)
  local print = get(id, 'fingerprint')[1]
  if not print or redis.call('GET', key.leader(print)) ~= id then return nil end
  local heirs, followers = {}, redis.call('ZRANGE', key.followers(id), 0, -1, 'WITHSCORES')
  for i = 1, #followers, 2 do
    if redis.call('EXISTS', key.job(followers[i])) == 1 then
      heirs[#heirs + 1], heirs[#heirs + 2] = followers[i], followers[i + 1]
    end
  end
  redis.call('DEL', key.followers(id), key.leader(print))
  local heir = heirs[1]
  if not heir then return nil end
  redis.call('SET', key.leader(print), heir)
  redis.call('HDEL', key.job(heir), 'leader')
  redis.call('ZREM', key.following(get(heir, 'queue')[1]), heir)
  enqueue(heir)
  for i = 3, #heirs, 2 do
    redis.call('HSET', key.job(heirs[i]), 'leader', heir)
    redis.call('ZADD', key.followers(heir), heirs[i + 1], heirs[i])
  end
  return heir
end

-- A dead letter: failed for good, kept aside with its cause until it is redriven.
local function bury(id, now, ttl_ms, err)
  local job = get(id, 'sequence')
  if not close(id, 'failed', now, math.max(ttl_ms, WEEK_MS), {'error', err, 'dead', '1'}) then
    return
  end
  redis.call('ZADD', key.dead(), job[1], id)
  count('jobs_dead')
end

-- Finished jobs per second over the last minute, or nil.
local function drain_rate(queue, now)
  local bucket, names, sum, oldest = math.floor(now / BUCKET_MS), {}, 0, nil
  for i = 1, RATE_BUCKETS do names[i] = key.finished(queue, bucket + 1 - i) end
  for i, n in ipairs(redis.call('MGET', unpack(names))) do
    if n then sum, oldest = sum + n, bucket + 1 - i end
  end
  if not oldest then return nil end
  return sum * 1000 / math.max(now - oldest * BUCKET_MS, 1000)
end

-- Jobs that a claim may take.
local function claimable(queue)
  return redis.call('ZCARD', key.pending(queue)) + redis.call('ZCARD', key.suspects(queue))
end

local function backlog(queue)
  return claimable(queue) + redis.call('ZCARD', key.following(queue))
    + redis.call('ZCARD', key.retrying(queue))
end

-- Let the reaper and the lists know of a queue.
local function name_queue(queue, model, version, digest)
  if redis.call('HEXISTS', key.queues(), queue) == 1 then return end
  redis.call('HSET', key.queues(), queue,
    cjson.encode({model = model, version = tonumber(version), digest = digest}))
end

-- How many of a worker's slots for a queue are taken. `all` and `own` are its slots in all and
-- for this queue: they differ where it serves several.
local function taken(worker, queue, all, own)
  if own == all then return redis.call('SCARD', key.running(worker)) end
  local n = 0
  for _, id in ipairs(redis.call('SMEMBERS', key.running(worker))) do
    if get(id, 'queue')[1] == queue then n = n + 1 end
  end
  return n
end

-- Workers that take jobs of a queue, how many of their slots for it are free, and how many they
-- have. A worker that drains takes none any more.
local function count_capacity(queue, now, lease_ms)
  local ready, free, slots = 0, 0, 0
  for _, worker in ipairs(redis.call('ZRANGEBYSCORE', key.serving(queue), now - lease_ms, '+inf')) do
    local row = redis.call('HMGET', key.worker(worker), 'slots', 'state', 'slots:' .. queue)
    if row[1] and row[2] == 'ready' then
      local own = row[3] or row[1]
      ready, slots = ready + 1, slots + own
      free = free + math.max(own - taken(worker, queue, row[1], own), 0)
    end
  end
  return ready, free, slots
end

-- The same as of the last 0.1 s where workers are many: to look at 100 of them takes longer than all
-- the rest of a submit. Slots that are free may so be too many for a moment, but never too few: a
-- slot that is left free says so (`left_free`), and so does a worker that registers.
local function capacity(queue, now, lease_ms)
  if redis.call('ZCARD', key.serving(queue)) <= FEW_WORKERS then
    return count_capacity(queue, now, lease_ms)
  end
  local known = redis.call('GET', key.capacity(queue))
  local ready, free, slots = string.match(known or '', '(%d+) (%d+) (%d+)')
  if ready then return tonumber(ready), tonumber(free), tonumber(slots) end
  ready, free, slots = count_capacity(queue, now, lease_ms)
  -- A reader that only asks is answered by a full Redis too.
  redis.pcall('SET', key.capacity(queue), string.format('%d %d %d', ready, free, slots), 'PX', 100)
  return ready, free, slots
end

local function left_free(queue) redis.call('DEL', key.capacity(queue)) end

-- How many plain jobs of a queue a worker may start now: its free slots, none while it drains,
-- isolates a suspect or is about to.
local function room(worker, queue)
  local row = redis.call('HMGET', key.worker(worker), 'slots', 'state', 'slots:' .. queue)
  if row[2] ~= 'ready' then return 0 end
  local own = row[3] or row[1]
  local free = own - taken(worker, queue, row[1], own)
  if free <= 0 then return 0 end
  local batch = redis.call('SMEMBERS', key.running(worker))
  if #batch > 0 and redis.call('GET', key.isolating(queue)) == worker then return 0 end
  for _, id in ipairs(batch) do
    if losses_of(id) > 1 then return 0 end
  end
  return free
end

-- How many hints a queue lacks when so many slots are free. More than the slots, or than the jobs
-- that wait, would wake nobody for anything. One is kept while any job waits (docs/adr/0012).
local function lacks_hints(queue, free)
  return math.min(claimable(queue), math.max(free, 1)) - redis.call('LLEN', queue)
end
