-- Shared by every script, after the key functions. Times are ms of Redis's own clock.
-- A job's rank (priority, then submission order) is its score in every waiting set.

local WEEK_MS = 7 * 24 * 3600 * 1000
local BUCKET_MS = 5000
local RATE_BUCKETS = 12
local NEWCOMER = 'a worker that is idle' -- holds `isolating` for whoever takes a lost one's place

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function count(name) redis.call('HINCRBY', key.counters(), name, 1) end

local function get(id, ...) return redis.call('HMGET', key.job(id), ...) end

-- Append to the job's stream and wake whoever follows it.
local function emit(id, kind, attempt, data)
  redis.call('XADD', key.events(id), '*', 'kind', kind, 'attempt', attempt, 'data', data)
  redis.call('PUBLISH', key.wake(), id)
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
  local job = get(id, 'queue', 'worker', 'leader')
  redis.call('ZREM', key.pending(job[1]), id)
  redis.call('ZREM', key.suspects(job[1]), id)
  redis.call('ZREM', key.following(job[1]), id)
  redis.call('ZREM', key.retrying(job[1]), id)
  redis.call('ZREM', key.leases(), id)
  if job[2] then redis.call('SREM', key.running(job[2]), id) end
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
  local bucket, sum, oldest = math.floor(now / BUCKET_MS), 0, nil
  for i = 0, RATE_BUCKETS - 1 do
    local n = tonumber(redis.call('GET', key.finished(queue, bucket - i)) or '0')
    if n > 0 then sum, oldest = sum + n, bucket - i end
  end
  if not oldest then return nil end
  return sum * 1000 / math.max(now - oldest * BUCKET_MS, 1000)
end

local function backlog(queue)
  return redis.call('ZCARD', key.pending(queue)) + redis.call('ZCARD', key.suspects(queue))
    + redis.call('ZCARD', key.following(queue)) + redis.call('ZCARD', key.retrying(queue))
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
local function capacity(queue, now, lease_ms)
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

-- Whether a worker may start a plain job of a queue now: it takes jobs, is not full, and neither
-- isolates a suspect nor is about to.
local function has_room(worker, queue)
  local row = redis.call('HMGET', key.worker(worker), 'slots', 'state')
  local batch = redis.call('SMEMBERS', key.running(worker))
  if row[2] ~= 'ready' or #batch >= tonumber(row[1]) then return false end
  if #batch > 0 and redis.call('GET', key.isolating(queue)) == worker then return false end
  for _, id in ipairs(batch) do
    if tonumber(get(id, 'losses')[1] or '0') > 1 then return false end
  end
  return true
end
