-- REAP: what nobody else does any more. Any number of processes may call it; it does its work
-- once per 0.4 s. In this order: deadlines, due retries, lost workers and leases, missing hints,
-- records past their retention.
-- A worker is lost when it has no named connection in two looks 0.35 s apart and no beat for
-- 0.75 s, when it said so itself (ABANDON), or when a lease of its ran out. While Redis is away
-- nobody can beat; so within one lease of its return no lease runs out, and only a worker that has
-- come back can be missed.
-- A long gap between two of these calls tells the same as an error: Redis stood still, or its
-- clock jumped, or no reaper was there to see. So does another server than at the last call: after
-- a failover nobody is connected to the new primary yet, however long it has been up.
-- KEYS   none
-- ARGV   1 lease in ms, 2 result TTL in ms, 3 ms since Redis was last seen to start or fail,
--        4 most hints per queue,
--        5 1 when the connections could be listed, 6 the server's run id or '',
--        7.. workers with a named connection
-- RETURN {{'lost', job, worker, cause, 'queued'|'dead'} | {'dead', job, cause} | {'expired', job}
--         | {'given_back', job} | {'retried', job} | {'worker', id, cause} | {'hints', queue, n}
--         | {'orphan', job}: its record was deleted by hand, …}
local lease_ms, ttl_ms, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[4])
local now, report, urgent = now_ms(), {}, {}
local WRECK_MS = 60000
local WORDLESS = {worker_disconnected = true, lease_expired = true}
local earlier = redis.call('HMGET', key.reaped(), 'at', 'gap_end', 'server')
local at, gap_end = tonumber(earlier[1] or ''), tonumber(earlier[2] or '') or 0
local set_back = at and at > now
if at and not set_back and now - at < 400 then return report end
local moved = at and earlier[3] ~= ARGV[6]
if set_back or moved or at and now - at > math.max(lease_ms / 2, 1500) then gap_end = now end
-- The first write: a full Redis refuses a script that begins with one that takes memory, and
-- this one makes room.
redis.call('PERSIST', key.reaped())
redis.call('HSET', key.reaped(), 'at', now, 'gap_end', gap_end, 'server', ARGV[6])
-- What was removed before it was counted has a number and no place in the index any more.
redis.call('HSETNX', key.counters(), 'jobs_removed',
  tonumber(redis.call('GET', key.sequence()) or '0') - redis.call('ZCARD', key.index()))
local steady_since = math.max(gap_end, now - tonumber(ARGV[3]))
local spare = now - steady_since < lease_ms + 1000

local function say(...) report[#report + 1] = {...} end

local function end_with_heir(id)
  local heir = hand_over(id)
  if heir then urgent[get(heir, 'queue')[1]] = true end
  return heir
end

local function poisoned(how, worker, cause)
  return cjson.encode({code = 'poisoned', retryable = false, message =
    how .. '; last worker ' .. worker .. ', cause ' .. cause})
end

-- A job that was the end of every worker that ran it alone. Its input may wait under other ids:
-- the best of them is tried once, alone; if that costs a worker too, all of them are buried.
local function bury_poison(id, losses, worker, cause)
  local how = 'workers were lost as they ran this job alone, ' .. losses .. ' of them in all'
  if get(id, 'tainted')[1] == '1' then
    how = 'the worker was lost while it ran this job alone, as with an identical job before'
    local same = poisoned('an identical job was the end of several workers', worker, cause)
    for _, follower in ipairs(redis.call('ZRANGE', key.followers(id), 0, -1)) do
      bury(follower, now, ttl_ms, same)
      say('dead', follower, cause)
    end
  end
  bury(id, now, ttl_ms, poisoned(how, worker, cause))
  say('dead', id, cause)
  local heir = end_with_heir(id)
  if heir then
    withdraw(heir)
    redis.call('HSET', key.job(heir), 'tainted', 1, 'losses', 2, 'lone_losses', 1)
    enqueue(heir)
  end
end

-- What must be alone now may cost the next worker too. That should be one that takes the place of
-- the lost one, not one that is of use to others, unless none comes for half a lease.
local function await_newcomer(queue, lost)
  local holder = redis.call('GET', key.isolating(queue))
  if not holder or holder == lost or holder == NEWCOMER then
    redis.call('SET', key.isolating(queue), NEWCOMER, 'PX', math.ceil(lease_ms / 2))
  end
end

-- The workers that were lost without a word within the last minute, except those that ran one
-- isolated job: worker -> 'ms job job …'.
local function wrecks()
  local found, all = {}, redis.call('HGETALL', key.wrecks())
  for i = 1, #all, 2 do
    if now - tonumber(string.match(all[i + 1], '^%d+')) < WRECK_MS then
      found[all[i]] = all[i + 1]
    else
      redis.call('HDEL', key.wrecks(), all[i])
    end
  end
  return found
end

local function note_wreck(worker)
  local batch = redis.call('SMEMBERS', key.running(worker))
  if #batch == 1 and losses_of(batch[1]) >= 2 then return end
  local known = wrecks()[worker] or string.format('%.0f', now)
  redis.call('HSET', key.wrecks(), worker, known .. ' ' .. table.concat(batch, ' '))
  redis.call('PEXPIRE', key.wrecks(), WRECK_MS)
end

-- How many losses while it ran alone bury a job. Where workers that did not run it went without a
-- word as well, machines or networks fail, and the more of that, the less two losses prove; but of
-- a copy of a buried job, those of the other prove enough.
local function enough(id, cause)
  if not WORDLESS[cause] or get(id, 'tainted')[1] == '1' then return 2 end
  local others = 0
  for _, wreck in pairs(wrecks()) do
    if not string.find(wreck, id, 1, true) then others = others + 1 end
  end
  return others == 0 and 2 or math.min(3 + others, 6)
end

local function lose(id, worker, cause)
  local job = get(id, 'losses', 'queue', 'lone_losses', 'state')
  if job[4] ~= 'in_progress' then
    redis.call('ZREM', key.leases(), id)
    return
  end
  local alone = tonumber(job[1]) >= 2
  local losses = redis.call('HINCRBY', key.job(id), 'losses', 1)
  local lone = alone and redis.call('HINCRBY', key.job(id), 'lone_losses', 1) or tonumber(job[3])
  count('workers_lost_jobs')
  if lone >= 2 and lone >= enough(id, cause) then
    bury_poison(id, losses, worker, cause)
    say('lost', id, worker, cause, 'dead')
  else
    requeue(id, cause)
    enqueue(id)
    urgent[job[2]] = true
    if losses >= 2 then await_newcomer(job[2], worker) end
    say('lost', id, worker, cause, 'queued')
  end
end

-- A worker that beats renews all that it holds. A lease that runs out all the same is of a claim
-- whose answer never reached it: that costs the job nothing, unless it comes again and again.
local function give_back(id)
  local job = get(id, 'state', 'queue', 'unheard')
  if job[1] ~= 'in_progress' or tonumber(job[3] or '0') >= 3 then return false end
  redis.call('HINCRBY', key.job(id), 'unheard', 1)
  requeue(id, 'released')
  enqueue(id)
  urgent[job[2]] = true
  say('given_back', id)
  return true
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', key.deadlines(), '-inf', now, 'LIMIT', 0, 500)) do
  local worker = get(id, 'worker')[1]
  local ended = close(id, 'expired', now, ttl_ms, {'error', cjson.encode({retryable = false,
    code = 'deadline_exceeded', message = 'the deadline passed before the job was done'})})
  if worker then redis.call('PUBLISH', key.control(worker), id) end
  if ended then end_with_heir(id) end
  say(ended and 'expired' or 'orphan', id)
end

local queues = redis.call('HKEYS', key.queues())
for _, queue in ipairs(queues) do
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key.retrying(queue), '-inf', now, 'LIMIT', 0, 500)) do
    redis.call('ZREM', key.retrying(queue), id)
    if redis.call('EXISTS', key.job(id)) == 1 then
      enqueue(id)
      urgent[queue] = true
      say('retried', id)
    else
      say('orphan', id)
    end
  end
end

local present = {}
for i = 7, #ARGV do present[ARGV[i]] = true end
for _, worker in ipairs(redis.call('ZRANGE', key.workers(), 0, -1)) do
  local seen = tonumber(redis.call('ZSCORE', key.workers(), worker))
  if seen > now then
    redis.call('ZADD', key.workers(), now, worker) -- the clock was set back
    seen = now
  end
  local gone = now - seen > 3 * lease_ms and not spare
  if present[worker] then
    redis.call('HDEL', key.missing(), worker)
  elseif ARGV[5] == '1' and seen >= steady_since then
    local since = tonumber(redis.call('HGET', key.missing(), worker) or '')
    if not since then
      redis.call('HSET', key.missing(), worker, now)
    elseif now - since >= 350 and now - seen >= 750 then
      gone = true
    end
  end
  local last_words = redis.call('HGET', key.worker(worker), 'cause')
  if gone and not last_words then note_wreck(worker) end
  if gone or last_words then
    for _, id in ipairs(redis.call('SMEMBERS', key.running(worker))) do
      lose(id, worker, last_words or 'worker_disconnected')
    end
  end
  if gone then
    redis.call('DEL', key.worker(worker), key.running(worker))
    redis.call('ZREM', key.workers(), worker)
    redis.call('HDEL', key.missing(), worker)
    for _, queue in ipairs(queues) do
      redis.call('ZREM', key.serving(queue), worker)
      if redis.call('GET', key.isolating(queue)) == worker then
        redis.call('DEL', key.isolating(queue))
      end
    end
    say('worker', worker, last_words or 'worker_disconnected')
  end
end
if not spare then
  local noted = {} -- workers, each once: their batch shrinks as its jobs are lost
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key.leases(), '-inf', now, 'LIMIT', 0, 500)) do
    local worker = get(id, 'worker')[1] or 'unknown'
    local beat = tonumber(redis.call('ZSCORE', key.workers(), worker) or '')
    local beats = beat and now - beat < math.min(lease_ms / 2, 1000)
    if not (beats and give_back(id)) then
      if not noted[worker] then note_wreck(worker) end
      noted[worker] = true
      lose(id, worker, 'lease_expired')
    end
  end
end

-- A queue is short of hints when it was so at the last look too, or was just refilled here.
for _, queue in ipairs(queues) do
  local free = 0
  if claimable(queue) > 0 then
    local live = redis.call('ZRANGEBYSCORE', key.serving(queue), now - lease_ms, '+inf')
    for _, worker in ipairs(live) do free = free + room(worker, queue) end
  end
  local short = lacks_hints(queue, free)
  if short > 0 then
    if urgent[queue] or redis.call('HEXISTS', key.starved(), queue) == 1 then
      say('hints', queue, math.min(short, most))
    end
    redis.call('HSET', key.starved(), queue, 1)
  else
    redis.call('HDEL', key.starved(), queue)
  end
end

-- A queue without jobs and workers is forgotten when its history is a week old, or it has none.
for _, queue in ipairs(queues) do
  local idle = backlog(queue) == 0 and redis.call('ZCARD', key.serving(queue)) == 0
  local left_ms = redis.call('PTTL', key.service(queue))
  if idle and left_ms == -2 then
    redis.call('HDEL', key.queues(), queue)
  elseif idle and left_ms == -1 then
    redis.call('PEXPIRE', key.service(queue), WEEK_MS)
  elseif not idle and left_ms >= 0 then
    redis.call('PERSIST', key.service(queue))
  end
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', key.expiring(), '-inf', now, 'LIMIT', 0, 1000)) do
  local state = get(id, 'state')[1]
  redis.call('DEL', key.job(id), key.events(id), key.input(id))
  redis.call('SET', key.gone(id), 1, 'PX', WEEK_MS)
  redis.call('ZREM', key.expiring(), id)
  if redis.call('ZREM', key.index(), id) == 1 then count('jobs_removed') end
  redis.call('ZREM', key.dead(), id)
  if state then redis.call('ZREM', key.state(state), id) end
end
return report
