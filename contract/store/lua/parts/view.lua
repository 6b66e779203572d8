-- VIEW_ROW: what readers see of a job: its record without its input, and how its queue stands.
-- A row is 'gone' | 'unknown' | {JSON of the fields that are there and of the standing, output or ''}.
local FIELDS = {'state', 'queue', 'model', 'model_version', 'digest', 'task', 'priority', 'metadata',
  'created_ms', 'started_ms', 'finished_ms', 'deadline_ms', 'expires_ms', 'attempt', 'failures',
  'losses', 'worker', 'progress', 'usage', 'error', 'cached', 'dead', 'rank'}
local standings = {}

-- Live workers, free slots, slots, jobs finished per second, mean run in ms; read once in a script.
local function standing(queue, now, lease_ms)
  if not standings[queue] then
    local live, free, slots = capacity(queue, now, lease_ms)
    standings[queue] = {live = live, free = free, slots = slots, rate = drain_rate(queue, now),
      run_ms = tonumber(redis.call('HGET', key.service(queue), 'run_ms') or '')}
  end
  return standings[queue]
end

-- Its place in the line, if it has one, and why it waits.
local function waiting(id, queue, rank)
  local function ahead(set) return redis.call('ZCOUNT', set, '-inf', '(' .. rank) end
  local position = ahead(key.pending(queue)) + ahead(key.suspects(queue)) + 1
  if redis.call('ZSCORE', key.pending(queue), id) then return position, 'pending' end
  if redis.call('ZSCORE', key.suspects(queue), id) then return position, 'suspect' end
  if redis.call('ZSCORE', key.retrying(queue), id) then return nil, 'retrying' end
  return nil, 'following'
end

local function row(id, now, lease_ms, with_output)
  local job = {}
  for i, value in ipairs(redis.call('HMGET', key.job(id), unpack(FIELDS))) do
    job[FIELDS[i]] = value or nil
  end
  if not job.state then
    return redis.call('EXISTS', key.gone(id)) == 1 and 'gone' or 'unknown'
  end
  if job.expires_ms and tonumber(job.expires_ms) <= now then return 'gone' end
  for name, value in pairs(standing(job.queue, now, lease_ms)) do job[name] = value end
  job.now = now
  if job.state == 'queued' then job.position, job.waits_in = waiting(id, job.queue, job.rank) end
  local output = with_output and redis.call('HGET', key.job(id), 'output') or ''
  return {cjson.encode(job), output}
end
