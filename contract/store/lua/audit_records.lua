-- AUDIT_RECORDS: whether each job is where its record says, and nowhere else.
-- KEYS   none
-- ARGV   1 lease in ms, 2.. ids of the index
-- RETURN rows of {kind of finding, id}
local lease_ms, now, found, due = tonumber(ARGV[1]), now_ms(), {}, {}
local STATES = {'queued', 'in_progress', 'completed', 'failed', 'cancelled', 'expired'}
local PLACES = {'pending', 'suspects', 'retrying', 'following'}

-- How many ms past its time a member of a set by ms may be: the reaper looks twice a second and
-- takes 500 at a time.
local function patience_ms(set)
  if not due[set] then due[set] = 5000 + 3 * redis.call('ZCOUNT', set, '-inf', now) end
  return due[set]
end

local function score(set, id) return tonumber(redis.call('ZSCORE', set, id) or '') end

local function in_state_sets(id, job, say)
  for _, state in ipairs(STATES) do
    local at = score(key.state(state), id)
    if at ~= (state == job.state and job.sequence or nil) then return say('state_index') end
  end
end

local function follows(id, job, say)
  local leader = get(job.leader, 'state', 'fingerprint', 'leader', 'rank')
  if (leader[1] ~= 'queued' and leader[1] ~= 'in_progress') or leader[3]
    or leader[2] ~= job.fingerprint or not leader[4] or tonumber(leader[4]) > job.rank
    or redis.call('GET', key.leader(job.fingerprint or '')) ~= job.leader then
    say('leader')
  end
  if score(key.followers(job.leader), id) ~= job.rank then say('misplaced') end
end

local function waits(id, job, places, say)
  local place = next(places)
  if not place or next(places, place) then return say('misplaced') end
  if (place == 'following') ~= (job.leader ~= nil) then return say('misplaced') end
  if place == 'retrying' then
    local set = key.retrying(job.queue)
    if now - places[place] > patience_ms(set) then say('retry_overdue') end
  else
    if places[place] ~= job.rank then say('rank') end
    if place ~= 'following' and (place == 'suspects') ~= (job.losses > 0) then say('misplaced') end
  end
  if job.leader then follows(id, job, say) end
end

-- After an error of Redis the reaper spares leases for one lease and a second.
local function runs(id, job, lease, say)
  if not lease then
    say('unleased')
  elseif lease - now > lease_ms + 1000 then
    say('lease_long')
  else
    local gap_end = tonumber(redis.call('HGET', key.reaped(), 'gap_end') or '0')
    if now - math.max(lease, gap_end) > lease_ms + 3000 then say('lease_overdue') end
  end
  if not job.worker or redis.call('SISMEMBER', key.running(job.worker), id) == 0 then
    say('not_running')
  end
  if job.worker and not score(key.workers(), job.worker) then say('worker_unknown') end
end

local function has_ended(id, job, places, lease, say)
  local held = job.worker and redis.call('SISMEMBER', key.running(job.worker), id) == 1
  if next(places) or lease or held or job.leader or redis.call('EXISTS', key.followers(id)) == 1
    or score(key.deadlines(), id) then
    say('ended_but_kept')
  end
  local expires = tonumber(job.expires_ms)
  if not job.finished_ms or not expires or job.output ~= (job.state == 'completed') then
    say('incomplete')
  end
  local at = score(key.expiring(), id)
  if not at or at ~= expires and at > now then say('expiry') end
  if at and now - at > patience_ms(key.expiring()) then say('expiry_overdue') end
end

local function is_live(id, job, say)
  if job.finished_ms or job.expires_ms or job.output
    or redis.call('EXISTS', key.input(id)) == 0 then
    say('incomplete')
  end
  if score(key.expiring(), id) then say('expiry') end
  local deadline, at = tonumber(job.deadline_ms or ''), score(key.deadlines(), id)
  if at ~= deadline then say('deadline') end
  if at and now - at > patience_ms(key.deadlines()) then say('deadline_overdue') end
end

for i = 2, #ARGV do
  local id = ARGV[i]
  local function say(kind) found[#found + 1] = {kind, id} end
  local index = score(key.index(), id)
  local r = get(id, 'state', 'sequence', 'queue', 'rank', 'losses', 'worker', 'leader', 'fingerprint',
    'deadline_ms', 'finished_ms', 'expires_ms', 'dead')
  local job = {state = r[1], sequence = tonumber(r[2] or ''), queue = r[3],
    rank = tonumber(r[4] or ''), losses = tonumber(r[5] or ''), worker = r[6] or nil,
    leader = r[7] or nil, fingerprint = r[8] or nil, deadline_ms = r[9] or nil,
    finished_ms = r[10] or nil, expires_ms = r[11] or nil,
    output = redis.call('HEXISTS', key.job(id), 'output') == 1}
  if not job.state then
    if index then say('record_missing') end -- else it was removed in order since it was listed
  elseif not (job.sequence and job.queue and job.rank and job.losses) then
    say('incomplete')
  else
    local places, lease = {}, score(key.leases(), id)
    for _, place in ipairs(PLACES) do places[place] = score(key[place](job.queue), id) end
    if index ~= job.sequence then say('unindexed') end
    in_state_sets(id, job, say)
    if job.state == 'queued' or job.state == 'in_progress' then
      is_live(id, job, say)
      if job.state == 'queued' then waits(id, job, places, say) else runs(id, job, lease, say) end
      if job.state == 'queued' and lease or job.state == 'in_progress' and next(places) then
        say('misplaced')
      end
    else
      has_ended(id, job, places, lease, say)
    end
    local dead = r[12] == '1'
    if dead ~= (score(key.dead(), id) ~= nil) or dead and job.state ~= 'failed' then say('dead') end
  end
end
return found
